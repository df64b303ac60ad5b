package cuda

import "stepflow/gpu"

// narrow mirrors Narrow of kernels/optim_narrow.cu.
type narrow struct {
	W, G, Master, M, V, MScales, VScales, Coef, Hyper Pointer
	N, Cols, Stride                                   int64
	Decay, None                                       float32
}

const (
	codesBytes  = 4 * (256 + 1 + 7 + 3*8) // Codes of kernels/codes.cu
	narrowWarps = flatThreads / lanes     // of a block of threads, a block of codes each
	narrowTurns = 4                       // blocks of codes that a warp has, unless there are maxBlocks blocks of threads
)

// scales is where the scales of an operand in codes lie; 0 for an operand that has none.
func (b *binder) scales(o gpu.Operand) Pointer {
	if !o.Type.DType.Quantized() {
		return 0
	}
	return b.at(o) + Pointer(gpu.ScalesAt(o.Type.Shape.Elems()))
}

// same is an operand's bytes, which are a multiple of 4, as numbers that can be copied.
func same(o gpu.Operand) gpu.Operand {
	if o.Type.DType.Quantized() {
		o.Type = gpu.Type{Shape: gpu.Shape{int(o.Type.Bytes() / 4)}, DType: gpu.F32}
	}
	return o
}

// narrowCall launches an update with a moment of a tensor that lies within an operand.
func (b *binder) narrowCall(kernel string, moment, within gpu.Operand, t narrow, a gpu.Attrs) *Call {
	at := moment.Type.Shape.In(within.Type.Shape)
	t.N, t.Cols, t.Stride = int64(at.Elems), int64(at.Cols), int64(at.Stride)
	shared := 0
	if moment.Type.DType.Quantized() {
		shared = 2 * codesBytes
	}
	grid := max(1, min(blocks(t.N, gpu.CodeBlock*narrowWarps*narrowTurns), maxBlocks))
	rule := betas{float32(a.Beta1), float32(a.Beta2), float32(1 - a.Beta1), float32(1 - a.Beta2), float32(a.Eps)}
	return newCall(kernel, [3]int{grid, 1, 1}, flatThreads, shared, t, rule)
}

// kept ends the name of a kernel by the type of a moment.
func kept(t gpu.DType) string {
	if t.Quantized() {
		return "_codes"
	}
	return "_bf16"
}

// keptAlone ends the name of a kernel with a single moment, whose codes may be Linear8 or Dynamic8.
func keptAlone(t gpu.DType) string {
	if t == gpu.Dynamic8 {
		return "_dynamic"
	}
	return kept(t)
}

func bindNarrowAdamW(b *binder, x *gpu.Launch) (w work) {
	n, last := len(x.In), len(x.Out)-1
	from := append([]gpu.Operand{x.In[0]}, x.In[2:n-2]...)
	for i, o := range x.Out {
		w = append(w, b.copyOf(same(o), same(from[i]))...)
	}
	m, v := x.Out[last-1], x.Out[last]
	t := narrow{W: b.at(x.Out[0]), G: b.at(x.In[1]), M: b.at(m), V: b.at(v), MScales: b.scales(m), VScales: b.scales(v),
		Coef: b.at(x.In[n-2]), Hyper: b.at(x.In[n-1]), Decay: float32(x.Attrs.WeightDecay)}
	if last == 3 {
		t.Master = b.at(x.Out[1])
	}
	kernel := x.Kernel + kept(m.Type.DType) + suffix(x.In[0].Type.DType) + suffix(x.In[1].Type.DType)
	return append(w, b.narrowCall(kernel, m, x.Out[0], t, x.Attrs))
}

func bindNarrowEMA(b *binder, x *gpu.Launch) (w work) {
	m, u, g := x.Out[0], x.Out[1], x.In[1]
	w = b.copyOf(same(m), same(x.In[0]))
	if elems(u) > elems(m) {
		w = append(w, flatCall("zero", u.Type.DType, elems(u), b.at(u)))
	}
	t := narrow{W: b.at(u), G: b.at(g), M: b.at(m), MScales: b.scales(m), Coef: b.at(x.In[2]), Hyper: b.at(x.In[3])}
	return append(w, b.narrowCall(x.Kernel+keptAlone(m.Type.DType)+suffix(g.Type.DType), m, u, t, x.Attrs))
}

func bindNarrowAdam(b *binder, x *gpu.Launch) (w work) {
	y, m, v := x.Out[0], x.Out[1], x.Out[2]
	w = append(b.copyOf(same(m), same(x.In[1])), b.copyOf(same(v), same(x.In[2]))...)
	if elems(y) > elems(m) {
		w = append(w, flatCall("zero", y.Type.DType, elems(y), b.at(y)))
	}
	t := narrow{W: b.at(y), G: b.at(x.In[0]), M: b.at(m), V: b.at(v), MScales: b.scales(m), VScales: b.scales(v),
		Coef: b.at(x.In[3]), Hyper: b.at(x.In[4])}
	return append(w, b.narrowCall(x.Kernel+kept(m.Type.DType), m, y, t, x.Attrs))
}
