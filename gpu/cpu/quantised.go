package cpu

import "stepflow/gpu"

// quantised is where the elements of a matrix come from that are decoded on the way into panels.
type quantised struct {
	codes decoder
	shape gpu.Shape
	round bool // to bf16, for a left operand of that type

	top, left int // row and column of the element that the view begins with
}

// place returns where row r of the view begins, and how many of its first n elements lie in the matrix.
func (q *quantised) place(r, n int) (at, count int) {
	r += q.top
	if r < q.shape[0] && q.left < q.shape[1] {
		return r*q.shape[1] + q.left, min(n, q.shape[1]-q.left)
	}
	return 0, 0
}

// packStored lays quantised elements out as pack does others. They are decoded a piece at a time, of rows where they lie:
// those become columns of a panel, or are cut into panels.
func (y layout) packStored(own *worker, dst []float32, m matrix, k, n, w int) {
	cols := packed * w // of a piece that is cut
	if m.trans {
		cols = w
	}
	steps := y.steps(k)
	for j0 := 0; j0 < n; j0 += cols {
		across := min(cols, n-j0)
		deep := len(own.codes) / cols &^ 1
		for l0 := 0; l0 < k; l0 += deep {
			piece := min(deep, k-l0)
			plain := y.decoded(own, m.sub(l0, j0), piece, across)
			for j := j0; j < j0+across; j += w {
				y.panel(own, dst[j*steps+y.steps(l0)*w:][:y.steps(piece)*w], plain.sub(0, j-j0), piece, min(w, j0+across-j), w)
			}
		}
	}
}

// decoded is k by n elements of the start of a quantised matrix.
func (y layout) decoded(own *worker, m matrix, k, n int) matrix {
	rows, cols := k, n
	if m.trans {
		rows, cols = n, k
	}
	plain := buffer{f: own.codes[:rows*cols]}
	if m.round {
		plain = buffer{h: own.rounded[:rows*cols]}
	}
	for r := range rows {
		at, count := m.place(r, cols)
		to := plain.sub(r*cols, (r+1)*cols)
		switch {
		case !m.round:
			m.codes.decode(to.f[:count], at)
		case m.codes.half != nil && at%m.codes.step == 0 && count%m.codes.step == 0:
			m.codes.half(to.h[:count], at)
		default:
			m.codes.decode(own.codes[:count], at)
			y.v.narrow(to.h[:count], own.codes[:count])
		}
		to.sub(count, cols).clear()
	}
	return dense(plain, cols, m.trans)
}

// storedMatrix is an operand that a product decodes for a left one of type t.
func (l *loaded) storedMatrix(o gpu.Operand, trans bool, t gpu.DType) matrix {
	if !o.Type.DType.Stored() {
		return l.matrix(o, trans)
	}
	rows, cols := o.Type.Shape.Rows(), o.Type.Shape.Cols()
	q := quantised{codes: l.device.variant.decoder(o.Type, l.bytes(o)), shape: gpu.Shape{rows, cols}, round: t == gpu.BF16}
	return matrix{ld: cols, trans: trans, quantised: q}
}
