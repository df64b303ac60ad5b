package cpu

import (
	"math"

	"stepflow/gpu"
)

func bindClip(_ *Device, l *loaded, x *gpu.Launch) func() {
	var in [][]float32
	for _, o := range x.In {
		in = append(in, l.f32(o))
	}
	norm, coef, most := l.f32(x.Out[0]), l.f32(x.Out[1]), x.Attrs.MaxNorm
	return func() {
		var ss float64
		for _, sums := range in {
			for _, s := range sums {
				ss += float64(s)
			}
		}
		n := math.Sqrt(ss)
		norm[0], coef[0] = float32(n), 1
		if !finite(n) {
			coef[0] = float32(math.NaN())
		} else if most > 0 {
			coef[0] = float32(min(1, most/(n+1e-6)))
		}
	}
}

// Inputs of adamw are w, g, m, v, coef, hyper; adamw_master updates the fp32 master after g and
// rounds it into w; adamw_stochastic rounds the new w itself.
func bindAdamW(d *Device, l *loaded, x *gpu.Launch) func() {
	in, out := l.buffers(x.In), l.buffers(x.Out)
	w, g, rest := in[0], in[1], in[2:]
	weight, states := out[0], out
	if x.Kernel == "adamw_master" {
		w, rest, states = in[2], in[3:], out[1:]
	}
	m, v, coef, hyper := rest[0], rest[1], rest[2].f, rest[3].f
	ow, om, ov := states[0], states[1], states[2]
	a := x.Attrs
	b1, b2, eps := float32(a.Beta1), float32(a.Beta2), float32(a.Eps)
	c1, c2 := float32(1-a.Beta1), float32(1-a.Beta2)
	put := d.store
	if x.Kernel == "adamw_stochastic" {
		put = func(wk *worker, out []buffer, lo int) {
			d.putStochastic(out[0], lo, wk.args[0], uint32(hyper[3]))
			for j, b := range out[1:] {
				d.variant.put(b, lo, wk.args[1+j])
			}
		}
	}
	update := d.flatTo([]buffer{ow, om, ov}, []buffer{w, g, m, v}, func(x [][]float32) {
		lr := hyper[0]
		d.variant.adamw(x[0], x[1], x[2], x[3], x[4], x[5], x[6], coef[0], b1, c1, b2, c2, 1/hyper[1], 1/hyper[2], eps,
			lr, 1-lr*float32(a.WeightDecay))
	}, put)
	round := func() {}
	if x.Kernel == "adamw_master" {
		round = d.flat([]buffer{weight}, []buffer{ow}, func(x [][]float32) { copy(x[0], x[1]) })
	}
	step := ifFinite(coef, update, func() {
		ow.copy(w)
		om.copy(m)
		ov.copy(v)
	})
	return func() {
		step()
		round()
	}
}

func bindEMA(d *Device, l *loaded, x *gpu.Launch) func() {
	from, to, coef := l.buffer(x.In[0]), l.buffer(x.Out[0]), l.f32(x.In[2])
	keep, take := float32(x.Attrs.Beta1), float32(1-x.Attrs.Beta1)
	return ifFinite(coef, d.flat([]buffer{to}, l.buffers(x.In[:2]), func(x [][]float32) {
		d.variant.blend(x[0], x[1], x[2], keep, take*coef[0])
	}), func() { to.copy(from) })
}

func bindSGDW(d *Device, l *loaded, x *gpu.Launch) func() {
	from, to, coef, hyper := l.buffer(x.In[0]), l.buffer(x.Out[0]), l.f32(x.In[2]), l.f32(x.In[3])
	alpha, decay := float32(x.Attrs.Alpha), float32(x.Attrs.WeightDecay)
	return ifFinite(coef, d.flat([]buffer{to}, l.buffers(x.In[:2]), func(x [][]float32) {
		lr := hyper[0]
		d.variant.blend(x[0], x[1], x[2], 1-lr*decay, -lr*alpha)
	}), func() { to.copy(from) })
}

// ifFinite runs the update where the clip coefficient is finite, and else what changes nothing.
func ifFinite(coef []float32, update, keep func()) func() {
	return func() {
		if finite(float64(coef[0])) {
			update()
		} else {
			keep()
		}
	}
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
