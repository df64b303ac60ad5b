package cpu

import (
	"math"

	"stepflow/gpu"
)

// span calls f on blocks of a vector of n elements, in parallel.
func (d *Device) span(n int, f func(lo, hi int)) {
	d.pool.each(blocksOf(n, gpu.SumBlock), func(_ *packs, i int) {
		f(i*gpu.SumBlock, min(n, (i+1)*gpu.SumBlock))
	})
}

// rows calls f on blocks of rows, in parallel.
func (d *Device) rows(n int, f func(lo, hi int)) {
	d.pool.each(blocksOf(n, gpu.RowBlock), func(_ *packs, i int) {
		f(i*gpu.RowBlock, min(n, (i+1)*gpu.RowBlock))
	})
}

// partial sums blocks into scratch, then the scratch in order.
func (d *Device) partial(n int, scratch []float32, f func(lo, hi int) float64) float32 {
	d.pool.each(blocksOf(n, gpu.SumBlock), func(_ *packs, i int) {
		scratch[i] = float32(f(i*gpu.SumBlock, min(n, (i+1)*gpu.SumBlock)))
	})
	var s float64
	for _, x := range scratch[:blocksOf(n, gpu.SumBlock)] {
		s += float64(x)
	}
	return float32(s)
}

// columnSums adds the rows of f(r) into out: a partial row a block of rows, then the blocks in order.
func (d *Device) columnSums(rows, cols int, scratch, out []float32, add func(r int, to []float32)) {
	n := blocksOf(rows, gpu.RowBlock)
	d.pool.each(n, func(_ *packs, i int) {
		to := scratch[i*cols : (i+1)*cols]
		clear(to)
		for r := i * gpu.RowBlock; r < min(rows, (i+1)*gpu.RowBlock); r++ {
			add(r, to)
		}
	})
	clear(out)
	for i := 0; i < n; i++ {
		for c, x := range scratch[i*cols : (i+1)*cols] {
			out[c] += x
		}
	}
}

// expBlock is the number of exponentials computed ahead of the loop that uses them; it divides SumBlock.
const expBlock = 256

func bindElementwise(d *Device, l *loaded, x *gpu.Launch) func() {
	in := make([][]float32, len(x.In))
	for i, o := range x.In {
		in[i] = l.f32(o)
	}
	y := l.f32(x.Out[0])
	n := len(y)
	scratch := l.f32(x.Scratch)
	switch x.Kernel {
	case "zero":
		return func() { d.span(n, func(lo, hi int) { clear(y[lo:hi]) }) }
	case "copy", "cast":
		a := in[0]
		return func() { d.span(n, func(lo, hi int) { copy(y[lo:hi], a[lo:hi]) }) }
	case "add":
		a, b := in[0], in[1]
		return func() {
			d.span(n, func(lo, hi int) {
				y, a, b := y[lo:hi], a[lo:hi], b[lo:hi]
				for i := range y {
					y[i] = a[i] + b[i]
				}
			})
		}
	case "mul":
		a, b := in[0], in[1]
		return func() {
			d.span(n, func(lo, hi int) {
				y, a, b := y[lo:hi], a[lo:hi], b[lo:hi]
				for i := range y {
					y[i] = a[i] * b[i]
				}
			})
		}
	case "scale":
		a, alpha := in[0], float32(x.Attrs.Alpha)
		return func() {
			d.span(n, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					y[i] = alpha * a[i]
				}
			})
		}
	case "broadcast":
		s := in[0]
		return func() {
			d.span(n, func(lo, hi int) {
				for i := lo; i < hi; i++ {
					y[i] = s[0]
				}
			})
		}
	case "bias_add":
		a, b := in[0], in[1]
		cols := len(b)
		return func() {
			d.rows(len(a)/cols, func(lo, hi int) {
				for r := lo; r < hi; r++ {
					to, from := y[r*cols:][:cols], a[r*cols:][:cols]
					for c := range to {
						to[c] = from[c] + b[c]
					}
				}
			})
		}
	case "sum_rows":
		a := in[0]
		return func() {
			d.columnSums(len(a)/n, n, scratch, y, func(r int, to []float32) {
				for c, v := range a[r*n : (r+1)*n] {
					to[c] += v
				}
			})
		}
	case "sum":
		a := in[0]
		return func() {
			y[0] = d.partial(len(a), scratch, func(lo, hi int) (s float64) {
				for _, v := range a[lo:hi] {
					s += float64(v)
				}
				return s
			})
		}
	case "sum_squares":
		a := in[0]
		return func() {
			y[0] = d.partial(len(a), scratch, func(lo, hi int) (s float64) {
				for _, v := range a[lo:hi] {
					s += float64(v) * float64(v)
				}
				return s
			})
		}
	case "swiglu":
		g, u := in[0], in[1]
		return func() {
			d.span(n, func(lo, hi int) {
				var e [expBlock]float32
				for ; lo < hi; lo += expBlock {
					to := min(hi, lo+expBlock)
					y, g, u := y[lo:to], g[lo:to], u[lo:to]
					e := e[:len(g)]
					d.variant.exp(e, g, -1, 0)
					for i := range y {
						y[i] = g[i] / (1 + e[i]) * u[i]
					}
				}
			})
		}
	case "swiglu_grad":
		dy, g, u, du := in[0], in[1], in[2], l.f32(x.Out[1])
		return func() {
			d.span(n, func(lo, hi int) {
				var e [expBlock]float32
				for ; lo < hi; lo += expBlock {
					to := min(hi, lo+expBlock)
					dy, g, u, dg, du := dy[lo:to], g[lo:to], u[lo:to], y[lo:to], du[lo:to]
					e := e[:len(g)]
					d.variant.exp(e, g, -1, 0)
					for i, gi := range g {
						s := 1 / (1 + e[i])
						t := dy[i] * s
						dg[i], du[i] = t*u[i]*(1+gi*(1-s)), t*gi
					}
				}
			})
		}
	case "clip":
		coef := l.f32(x.Out[1])
		return func() {
			var ss float64
			for _, v := range in {
				ss += float64(v[0])
			}
			norm := math.Sqrt(ss)
			y[0], coef[0] = float32(norm), 1
			if math.IsNaN(norm) || math.IsInf(norm, 0) {
				coef[0] = float32(math.NaN())
			} else if x.Attrs.MaxNorm > 0 {
				coef[0] = float32(min(1, x.Attrs.MaxNorm/(norm+1e-6)))
			}
		}
	case "adamw":
		return bindAdamW(d, x, in[0], in[1], in[2:], y, l.f32(x.Out[1]), l.f32(x.Out[2]))
	case "adamw_master":
		master := l.f32(x.Out[1])
		update := bindAdamW(d, x, in[2], in[1], in[3:], master, l.f32(x.Out[2]), l.f32(x.Out[3]))
		return func() {
			update()
			d.span(n, func(lo, hi int) { copy(y[lo:hi], master[lo:hi]) })
		}
	}
	return nil
}

// bindAdamW takes the weight, its gradient and rest = m, v, coef, hyper.
func bindAdamW(d *Device, x *gpu.Launch, w, g []float32, rest [][]float32, ow, om, ov []float32) func() {
	m, v, coef, hyper := rest[0], rest[1], rest[2], rest[3]
	b1, b2, eps, wd := float32(x.Attrs.Beta1), float32(x.Attrs.Beta2), float32(x.Attrs.Eps), float32(x.Attrs.WeightDecay)
	c1, c2 := float32(1-x.Attrs.Beta1), float32(1-x.Attrs.Beta2)
	return func() {
		k, lr := coef[0], hyper[0]
		if k != k || math.IsInf(float64(k), 0) {
			copy(ow, w)
			copy(om, m)
			copy(ov, v)
			return
		}
		r1, r2 := 1/hyper[1], 1/hyper[2]
		d.span(len(w), func(lo, hi int) {
			for i := lo; i < hi; i++ {
				gi := k * g[i]
				mi := b1*m[i] + c1*gi
				vi := b2*v[i] + c2*gi*gi
				om[i], ov[i] = mi, vi
				ow[i] = w[i] - lr*wd*w[i] - lr*(mi*r1)/(float32(math.Sqrt(float64(vi*r2)))+eps)
			}
		})
	}
}
