package ref

import (
	"math"

	"stepflow/gpu"
)

func init() {
	kernels["adamw_narrow"] = func(a gpu.Attrs, in, out []mat) {
		narrowAdamW(a, in[0], in[1], in[2], in[3], in[4], in[5], out[0], out[1], out[2])
	}
	kernels["adamw_narrow_master"] = func(a gpu.Attrs, in, out []mat) {
		narrowAdamW(a, in[2], in[1], in[3], in[4], in[5], in[6], out[1], out[2], out[3])
		out[0].take(in[0])
		if finite(in[5].v[0]) {
			in[3].places(func(r, c int) { out[0].set(r, c, out[1].at(r, c)) })
		}
	}
	kernels["ema_narrow"] = func(a gpu.Attrs, in, out []mat) {
		x, g, coef := in[0], in[1], in[2].v[0]
		y, u := out[0], out[1]
		u.each(func(int, int) float64 { return 0 })
		if !finite(coef) {
			y.take(x)
			x.places(func(r, c int) { u.set(r, c, x.at(r, c)) })
			return
		}
		m := x.wide()
		m.places(func(r, c int) {
			d := coef * g.at(r, c)
			mean := a.Beta1*x.at(r, c) + (1-a.Beta1)*d
			m.set(r, c, mean)
			u.set(r, c, a.Beta2*mean+(1-a.Beta2)*d)
		})
		y.keep(m, uint32(in[3].v[3]), gpu.DrawsOfM)
	}
	kernels["adam_narrow"] = func(a gpu.Attrs, in, out []mat) {
		y, hyper := out[0], in[4]
		y.each(func(int, int) float64 { return 0 })
		narrowMoments(a, in[0], in[1], in[2], in[3], hyper, out[1], out[2], func(r, c int, m, v float64) {
			y.set(r, c, hyper.v[1]*m/(math.Sqrt(v)+a.Eps))
		})
	}
}

// narrowAdamW is adamw with moments that have the tensor's shape, and are rounded when the weight has moved.
func narrowAdamW(a gpu.Attrs, w, g, m, v, coef, hyper, ow, om, ov mat) {
	ow.take(w)
	lr, bc1, bc2, seed := hyper.v[0], hyper.v[1], hyper.v[2], uint32(hyper.v[3])
	narrowMoments(a, g, m, v, coef, hyper, om, ov, func(r, c int, x, y float64) {
		z := w.at(r, c) - lr*a.WeightDecay*w.at(r, c) - lr*(x/bc1)/(math.Sqrt(y/bc2)+a.Eps)
		if ow.dtype == gpu.BF16 {
			z = float64(gpu.FromBF16(gpu.ToBF16Stochastic(float32(z), seed, int64(r*m.cols+c))))
		}
		ow.set(r, c, z)
	})
}

// narrowMoments rounds new moments of the gradient times coef into om and ov, and calls f with the moments of each element before
// rounding. If coef is not finite, they stay as they are.
func narrowMoments(a gpu.Attrs, g, m, v, coef, hyper, om, ov mat, f func(r, c int, m, v float64)) {
	om.take(m)
	ov.take(v)
	k, seed := coef.v[0], uint32(hyper.v[3])
	if !finite(k) {
		return
	}
	nm, nv := m.wide(), v.wide()
	m.places(func(r, c int) {
		d := k * g.at(r, c)
		x, y := a.Beta1*m.at(r, c)+(1-a.Beta1)*d, a.Beta2*v.at(r, c)+(1-a.Beta2)*d*d
		nm.set(r, c, x)
		nv.set(r, c, y)
		f(r, c, x, y)
	})
	om.keep(nm, seed, gpu.DrawsOfM)
	ov.keep(nv, seed, gpu.DrawsOfV)
}

// places calls f with the row and column of every element.
func (m mat) places(f func(r, c int)) {
	for r := range m.rows {
		for c := range m.cols {
			f(r, c)
		}
	}
}

// wide is room for the numbers of m in float64.
func (m mat) wide() mat {
	return mat{shape: m.shape, dtype: gpu.F32, rows: m.rows, cols: m.cols, step: 1, ld: m.cols,
		v: make([]float64, m.rows*m.cols)}
}

// take copies all of x, scales included.
func (m mat) take(x mat) {
	m.each(x.at)
	copy(m.scales, x.scales)
}

// keep rounds numbers to what m holds: stochastically to bf16, or to the nearest codes.
func (m mat) keep(x mat, seed uint32, draws int64) {
	codes := m.dtype.Codes()
	if codes == nil {
		m.each(func(r, c int) float64 {
			e := draws + int64(r*m.cols+c)
			return float64(gpu.FromBF16(gpu.ToBF16Stochastic(float32(x.at(r, c)), seed, e)))
		})
		return
	}
	m.quantize(x.v)
}

// quantize stores numbers as their nearest codes would.
func (m mat) quantize(x []float64) {
	codes := m.dtype.Codes()
	for b := range m.scales {
		lo, hi := b*gpu.CodeBlock, min(len(x), (b+1)*gpu.CodeBlock)
		var scale float64
		for _, v := range x[lo:hi] {
			scale = max(scale, math.Abs(v))
		}
		if scale < gpu.LeastScale {
			scale = 0
		}
		m.scales[b] = scale
		for i, v := range x[lo:hi] {
			m.v[lo+i] = 0
			if scale > 0 {
				m.v[lo+i] = scale * float64(codes.Values[codes.Of(float32(v/scale))])
			}
		}
	}
}

// load reads the bytes of codes and scales, and bytes writes them.
func (m mat) load(t gpu.Type, b []byte) {
	for i, x := range t.Decode(b) {
		m.v[i] = float64(x)
	}
	for i, x := range gpu.BytesFloat32(b[gpu.ScalesAt(t.Shape.Elems()):], gpu.F32) {
		m.scales[i] = float64(x)
	}
}

func (m mat) bytes(t gpu.Type, b []byte) {
	n := t.Shape.Elems()
	codes := t.DType.Codes()
	clear(b)
	scales := make([]float32, len(m.scales))
	for i, s := range m.scales {
		scales[i] = float32(s)
	}
	for i := range n {
		b[i] = codes.Zero
		if s := m.scales[i/gpu.CodeBlock]; s > 0 {
			b[i] = codes.Of(float32(m.v[i] / s))
		}
	}
	copy(b[gpu.ScalesAt(n):], gpu.Float32Bytes(scales, gpu.F32))
}
