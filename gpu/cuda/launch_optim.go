package cuda

import "stepflow/gpu"

// vector and vectors mirror those of kernels/optim.cu.
type vector struct {
	X Pointer
	N int64
}
type vectors struct{ At [240]vector }

const clipThreads = 256

func bindClip(b *binder, x *gpu.Launch) (w work) {
	in := x.In
	for first := 1; len(in) > 0; first = 0 {
		var v vectors
		n := min(len(in), len(v.At))
		for i, o := range in[:n] {
			v.At[i] = vector{b.at(o), elems(o)}
		}
		in = in[n:]
		last := 0
		if len(in) == 0 {
			last = 1
		}
		w = append(w, newCall("clip", [3]int{1, 1, 1}, clipThreads, 8*clipThreads/32, n, first, last,
			float32(x.Attrs.MaxNorm), b.at(x.Out[0]), b.at(x.Out[1]), v))
	}
	return w
}

// tensor, tensors and betas mirror those of kernels/optim.cu.
type tensor struct {
	W, G, Master, M, V, Hyper Pointer
	N                         int64
	First                     int32
	Decay                     float32
}
type tensors struct{ At [63]tensor }
type betas struct{ Beta1, Beta2, Rest1, Rest2, Eps float32 }

const updateBlock = 4096 // UPDATE_BLOCK

// adamwTensor gives the tensor of an update, and the copies that bring its state to where it is updated.
func (b *binder) adamwTensor(x *gpu.Launch) (t tensor, before work) {
	state := x.In[2 : len(x.In)-2]
	t = tensor{W: b.at(x.Out[0]), G: b.at(x.In[1]), Hyper: b.at(x.In[len(x.In)-1]), N: elems(x.Out[0]),
		Decay: float32(x.Attrs.WeightDecay)}
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

// updates updates as many tensors as a call takes, of launches that differ in nothing but them and their decay.
func (b *binder) updates(list []*gpu.Launch) (w work) {
	var all tensors
	grid, x := 0, list[0]
	for i, l := range list {
		t, before := b.adamwTensor(l)
		t.First = int32(grid)
		all.At[i] = t
		w = append(w, before...)
		grid += blocks(t.N, updateBlock)
	}
	a := x.Attrs
	kernel := x.Kernel + suffix(x.In[0].Type.DType) + suffix(x.In[1].Type.DType)
	rule := betas{float32(a.Beta1), float32(a.Beta2), float32(1 - a.Beta1), float32(1 - a.Beta2), float32(a.Eps)}
	return append(w, newCall(kernel, [3]int{grid, 1, 1}, flatThreads, 0, len(list), b.at(x.In[len(x.In)-2]), rule, all))
}

func bindAdamW(b *binder, x *gpu.Launch) work { return b.updates([]*gpu.Launch{x}) }

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
