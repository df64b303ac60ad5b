package cpu

import (
	"cmp"
	"math"

	"stepflow/gpu"
)

func bindRowSquares(d *Device, l *loaded, x *gpu.Launch) func() {
	from, y := l.buffer(x.In[0]), l.f32(x.Out[0])
	cols := x.In[0].Type.Shape.Cols()
	body := &loop{body: func(_ *worker, i int) {
		for r := i * gpu.RowBlock; r < min(len(y), (i+1)*gpu.RowBlock); r++ {
			var s float64
			for lo, end := r*cols, (r+1)*cols; lo < end; lo += sumBlock {
				s += float64(d.variant.squaresOf(from, lo, min(end, lo+sumBlock)))
			}
			y[r] = float32(s)
		}
	}}
	return func() { d.pool.run(body, blocksOf(len(y), gpu.RowBlock)) }
}

func bindColumnSquares(d *Device, l *loaded, x *gpu.Launch) func() {
	return d.columnSums(l, x, l.buffers(x.In), nil, func(_ int, to []float32, x [][]float32) {
		d.variant.addMul(to, x[0], x[0], 1)
	})
}

func bindScaleRows(d *Device, l *loaded, x *gpu.Launch) func() {
	s := l.f32(x.In[1])
	return d.rowwise(l, x.Out, x.In[:1], func(r int, x [][]float32) { d.variant.scale(x[0], x[1], s[r]) })
}

func bindScaleColumns(d *Device, l *loaded, x *gpu.Launch) func() {
	s := l.f32(x.In[1])
	return d.rowwise(l, x.Out, x.In[:1], func(_ int, x [][]float32) { d.variant.mul(x[0], x[1], s) })
}

// The kernels below work on vectors, an element a row or a column of a matrix.

func bindInverseRMS(_ *Device, l *loaded, x *gpu.Launch) func() {
	from, y, n, least := l.f32(x.In[0]), l.f32(x.Out[0]), float64(x.Attrs.Cols), x.Attrs.Eps
	return func() {
		for i, s := range from {
			y[i] = float32(1 / max(math.Sqrt(float64(s)/n), least))
		}
	}
}

// Inputs of channel_factors are a, b, q, p, coef, hyper.
func bindChannelFactors(_ *Device, l *loaded, x *gpu.Launch) func() {
	a, b, q := l.f32(x.In[0]), l.f32(x.In[1]), l.f32(x.In[2])
	before, coef, hyper := l.f32(x.In[3]), l.f32(x.In[4]), l.f32(x.In[5])
	s, norm, alpha := l.f32(x.Out[0]), l.f32(x.Out[1]), x.Attrs.Alpha
	return ifFinite(coef, func() {
		k, bias, p, sum := float64(coef[0]), float64(hyper[1]), float64(before[0]), 0.0
		factor := func(i int) float64 {
			i = min(i, len(a)-1)
			return k * (math.Sqrt(float64(a[i])) / bias) / (k*math.Sqrt(float64(b[i])) + 1e-8)
		}
		for i, x := range q {
			f := factor(i)
			sum += f * f * float64(x)
		}
		n, limit := math.Sqrt(sum), 1.0
		if p > 0 {
			limit = max(1, n/(1.01*(p+1e-8)))
		}
		for i := range s {
			s[i] = float32(factor(i) * alpha * bias / limit)
		}
		norm[0] = float32(n / limit)
	}, func() {
		clear(s)
		norm[0] = before[0]
	})
}

// Inputs of ema_squares are x, s, coef, hyper.
func bindEMASquares(_ *Device, l *loaded, x *gpu.Launch) func() {
	from, s, coef, hyper, y := l.f32(x.In[0]), l.f32(x.In[1]), l.f32(x.In[2]), l.f32(x.In[3]), l.f32(x.Out[0])
	n, rows, eps := float64(x.Attrs.Cols), x.Attrs.Rows, x.Attrs.Eps
	return ifFinite(coef, func() {
		beta, k := float64(hyper[1]), float64(coef[0])
		for i, v := range from {
			if rows > 0 && i >= rows {
				y[i] = 0
				continue
			}
			y[i] = float32(beta*float64(v) + (1-beta)*(k*k*float64(s[i])/n+eps))
		}
	}, func() { copy(y, from) })
}

func bindRowFactors(_ *Device, l *loaded, x *gpu.Launch) func() {
	from, coef, y := l.f32(x.In[0]), l.f32(x.In[1]), l.f32(x.Out[0])
	n := cmp.Or(x.Attrs.Rows, len(from))
	return func() {
		var mean float64
		for _, v := range from[:n] {
			mean += float64(v) / float64(n)
		}
		for i, v := range from {
			if y[i] = 0; v != 0 {
				y[i] = float32(float64(coef[0]) * math.Sqrt(mean/float64(v)))
			}
		}
	}
}

func bindScaleRate(_ *Device, l *loaded, x *gpu.Launch) func() {
	s, hyper, y := l.f32(x.In[0]), l.f32(x.In[1]), l.f32(x.Out[0])
	return func() {
		copy(y, hyper)
		y[0] = float32(float64(hyper[0]) * max(x.Attrs.Eps, math.Sqrt(float64(s[0])/float64(x.Attrs.Cols))))
	}
}
