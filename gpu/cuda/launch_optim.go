package cuda

import "stepflow/gpu"

// scalars mirrors Scalars of kernels/optim.cu.
type scalars struct{ At [256]Pointer }

func bindClip(b *binder, x *gpu.Launch) (w work) {
	in := x.In
	for first := 1; len(in) > 0; first = 0 {
		var s scalars
		n := min(len(in), len(s.At))
		for i, o := range in[:n] {
			s.At[i] = b.at(o)
		}
		in = in[n:]
		last := 0
		if len(in) == 0 {
			last = 1
		}
		w = append(w, newCall("clip", [3]int{1, 1, 1}, len(s.At), 4*len(s.At), n, first, last, float32(x.Attrs.MaxNorm),
			b.at(x.Out[0]), b.at(x.Out[1]), s))
	}
	return w
}

// tensor and tensors mirror those of kernels/optim.cu.
type tensor struct {
	W, G, Master, M, V, Hyper Pointer
	N, First                  int64
}
type tensors struct{ At [32]tensor }

const adamwBlock = 1024

// adamwTensor gives the tensor of an update, and the copies that bring its state to where it is updated.
func (b *binder) adamwTensor(x *gpu.Launch) (t tensor, before work) {
	state := x.In[2 : len(x.In)-2]
	t = tensor{W: b.at(x.Out[0]), G: b.at(x.In[1]), Hyper: b.at(x.In[len(x.In)-1]), N: elems(x.Out[0])}
	places := []*Pointer{&t.M, &t.V}
	if x.Kernel == "adamw_master" {
		places = []*Pointer{&t.Master, &t.M, &t.V}
	}
	before = b.copyOf(x.Out[0], x.In[0])
	for i, o := range x.Out[1:] {
		*places[i] = b.at(o)
		before = append(before, b.copyOf(o, state[i])...)
	}
	return t, before
}

func (b *binder) adamwCall(x *gpu.Launch, list []tensor) *Call {
	var all tensors
	var first int64
	for i, t := range list {
		t.First = first
		all.At[i] = t
		first += int64(blocks(t.N, adamwBlock))
	}
	a := x.Attrs
	kernel := x.Kernel + suffix(x.In[0].Type.DType) + suffix(x.In[1].Type.DType)
	return newCall(kernel, [3]int{int(first), 1, 1}, flatThreads, 0, len(list), b.at(x.In[len(x.In)-2]),
		float32(a.Beta1), float32(a.Beta2), float32(1-a.Beta1), float32(1-a.Beta2), float32(a.Eps),
		float32(a.WeightDecay), all)
}

func bindAdamW(b *binder, x *gpu.Launch) work {
	t, before := b.adamwTensor(x)
	return append(before, b.adamwCall(x, []tensor{t}))
}

func bindEMA(b *binder, x *gpu.Launch) work {
	y, g, beta := x.Out[0], x.In[1], x.Attrs.Beta1
	return work{flatCall("ema", g.Type.DType, elems(y), b.at(y), b.at(x.In[0]), b.at(g), b.at(x.In[2]),
		float32(beta), float32(1-beta))}
}

func bindSGDW(b *binder, x *gpu.Launch) work {
	y := x.Out[0]
	c := flatCall("sgdw", gpu.F32, elems(y), b.at(y), b.at(x.In[0]), b.at(x.In[1]), b.at(x.In[2]), b.at(x.In[3]),
		float32(x.Attrs.Alpha), float32(x.Attrs.WeightDecay))
	c.Kernel = "sgdw" // f32 only
	return work{c}
}
