package cuda

import "stepflow/gpu"

func bindCrossEntropy(b *binder, x *gpu.Launch) work {
	s := x.In[0].Type.Shape
	return work{rowCall("cross_entropy", x.In[0].Type.DType, s.Rows(), x.Attrs.Counted(s.Cols()), s.Cols(),
		b.at(x.Out[0]), b.at(x.Out[1]), b.at(x.In[0]), b.at(x.In[1]))}
}

func bindCrossEntropyGrad(b *binder, x *gpu.Launch) work {
	s := x.In[1].Type.Shape
	return work{rowCall("cross_entropy_grad", x.In[1].Type.DType, s.Rows(), x.Attrs.Counted(s.Cols()), s.Cols(),
		b.at(x.Out[0]), b.at(x.In[0]), b.at(x.In[1]), b.at(x.In[2]), b.at(x.In[3]))}
}

// part is an operand's pointer from row on.
func (b *binder) part(o gpu.Operand, row int) Pointer {
	return b.at(o) + Pointer(int64(row)*int64(o.Type.Shape.Cols())*o.Type.DType.Size())
}

// element is the pointer to an element of an operand with one a row.
func (b *binder) element(o gpu.Operand, row int) Pointer {
	return b.at(o) + Pointer(int64(row)*o.Type.DType.Size())
}

// logits is the product h wᵀ of some rows, into the scratch in fp32.
func (b *binder) logits(x *gpu.Launch, h, w gpu.Operand, at, rows int) *Product {
	hidden, vocab := h.Type.Shape.Cols(), w.Type.Shape.Rows()
	return &Product{M: rows, N: vocab, K: hidden, Alpha: 1, A: Matrix{b.part(h, at), h.Type.DType, hidden, false},
		B: b.matrix(w, true), D: Matrix{b.at(x.Scratch), gpu.F32, vocab, false}}
}

// bindHead binds a kernel of rows of logits, with two numbers a row, to the product that makes them.
func bindHead(kernel string) func(*binder, *gpu.Launch) work {
	return func(b *binder, x *gpu.Launch) (w work) {
		h, weight := x.In[0], x.In[1]
		vocab := weight.Type.Shape.Rows()
		for at, all := 0, h.Type.Shape.Rows(); at < all; at += x.Attrs.Chunk {
			rows := min(x.Attrs.Chunk, all-at)
			w = append(w, b.logits(x, h, weight, at, rows),
				rowCall(kernel, gpu.F32, rows, x.Attrs.Counted(vocab), vocab, b.element(x.Out[0], at),
					b.element(x.Out[1], at), b.at(x.Scratch), b.element(x.In[2], at)))
		}
		return w
	}
}

func bindLinearCrossEntropyGrad(b *binder, x *gpu.Launch) (w work) {
	h, weight, t := x.In[1], x.In[2], x.In[1].Type.DType
	hidden, vocab := h.Type.Shape.Cols(), weight.Type.Shape.Rows()
	var dw, before Matrix // its accumulator: none, the input, then what the last chunk left
	sums := x.Sums(Alignment)
	switch {
	case x.Attrs.Frozen:
	case sums.Span() > 0:
		dw = Matrix{b.at(sums), gpu.F32, hidden, false}
	default:
		dw = b.matrix(x.Out[2], false)
		if len(x.In) == 5 {
			before = b.matrix(x.In[4], false)
		}
	}
	for at, all := 0, h.Type.Shape.Rows(); at < all; at += x.Attrs.Chunk {
		rows := min(x.Attrs.Chunk, all-at)
		// The gradient of a row of logits begins where the row does: in bf16 it takes half the room.
		dx := Matrix{b.at(x.Scratch), t, vocab * int(4/t.Size()), false}
		w = append(w, b.logits(x, h, weight, at, rows),
			rowCall("logits_grad", t, rows, x.Attrs.Counted(vocab), vocab, b.element(x.Out[0], at), b.at(x.Scratch),
				b.element(x.In[0], at), b.element(x.In[3], at)),
			&Product{M: rows, N: hidden, K: vocab, Alpha: 1, A: dx, B: b.matrix(weight, false),
				D: Matrix{b.part(x.Out[1], at), t, hidden, false}})
		if !x.Attrs.Frozen {
			dx.Trans = true
			w = append(w, &Product{M: vocab, N: hidden, K: rows, Alpha: 1, A: dx,
				B: Matrix{b.part(h, at), t, hidden, false}, C: before, D: dw})
			before = dw
		}
	}
	if sums.Span() > 0 {
		w = append(w, b.rounded(x, dw.At)...)
	}
	return w
}

// rounded adds the gradient of the weight, summed in fp32, to its accumulator, and rounds once.
func (b *binder) rounded(x *gpu.Launch, sum Pointer) work {
	to := x.Out[2]
	if len(x.In) < 5 {
		return work{flatCall("cast_f32", to.Type.DType, elems(to), b.at(to), sum)}
	}
	n, cols := to.Type.Shape.Rows(), to.Type.Shape.Cols()
	return append(b.copyOf(to, x.In[4]),
		rowsCall("add_rows"+suffix(to.Type.DType), gpu.F32, n, cols, b.rows(to), rows{sum, cols}))
}
