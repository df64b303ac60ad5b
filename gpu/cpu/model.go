package cpu

import (
	"fmt"
	"math"
	"slices"

	"stepflow/gpu"
)

// bind resolves a launch's operands once: all that a step does is call what bind gave, and that
// allocates nothing.
func (d *Device) bind(l *loaded, x *gpu.Launch) (func(), error) {
	if f := binders[x.Kernel]; f != nil {
		return f(d, l, x), nil
	}
	if collectives[x.Kernel] != nil { // of one rank
		in, out := l.bytes(x.In[0]), l.bytes(x.Out[0])
		return func() { copy(out, in) }, nil
	}
	if f := elementwise[x.Kernel]; f != nil {
		return d.elementwise(l, x, f(d, x.Attrs)), nil
	}
	return nil, fmt.Errorf("the kernel is missing on this device")
}

var binders = map[string]func(*Device, *loaded, *gpu.Launch) func(){
	"zero":               bindZero,
	"broadcast":          bindBroadcast,
	"slice":              bindSlice,
	"slice_grad":         bindSliceGrad,
	"cast_stochastic":    bindCastStochastic,
	"bias_add":           bindBiasAdd,
	"uniform_noise":      bindUniformNoise,
	"sum_rows":           bindSumRows,
	"sum":                bindSum,
	"sum_squares":        bindSumSquares,
	"clip":               bindClip,
	"adamw":              bindAdamW,
	"adamw_master":       bindAdamW,
	"adamw_stochastic":   bindAdamW,
	"ema":                bindEMA,
	"normalize":          bindNormalize,
	"sgdw":               bindSGDW,
	"matmul":             bindMatmul,
	"matmul_swiglu":      bindMatmulSwiGLU,
	"embedding":          bindEmbedding,
	"embedding_grad":     bindEmbeddingGrad,
	"rmsnorm":            bindRMSNorm,
	"rmsnorm_grad_x":     bindRMSNormGradX,
	"rmsnorm_grad_w":     bindRMSNormGradW,
	"rope":               bindRope,
	"attention":          bindAttention,
	"attention_grad":     bindAttentionGrad,
	"cross_entropy":      bindCrossEntropy,
	"cross_entropy_grad": bindCrossEntropyGrad,

	"adamw_narrow":        bindNarrowAdamW,
	"adamw_narrow_master": bindNarrowAdamW,
	"ema_narrow":          bindNarrowEMA,
	"adam_narrow":         bindNarrowAdam,
	"row_squares":         bindRowSquares,
	"column_squares":      bindColumnSquares,
	"scale_rows":          bindScaleRows,
	"scale_columns":       bindScaleColumns,
	"inverse_rms":         bindInverseRMS,
	"channel_factors":     bindChannelFactors,
	"ema_squares":         bindEMASquares,
	"row_factors":         bindRowFactors,
	"scale_rate":          bindScaleRate,
	"adam":                bindAdam,
	"random_matrix":       bindRandomMatrix,
	"align_rows":          bindAlignRows,
	"eigh":                bindEigh,

	"scatter_add": bindScatterAdd,
	"gather":      bindGather,

	"attention_cached": bindAttentionCached,
	"cache_write":      bindCacheWrite,

	"linear_score":              bindLinearCrossEntropy,
	"linear_cross_entropy":      bindLinearCrossEntropy,
	"linear_cross_entropy_grad": bindLinearCrossEntropy,
}

// accumulator prepares output o of a launch that adds it to its last input, in, if there is one: cleared
// where there is none, copied where it lies elsewhere.
func (l *loaded) accumulator(x *gpu.Launch, o, in int) func() {
	to := l.buffer(x.Out[o])
	switch {
	case len(x.In) <= in:
		return to.clear
	case x.In[in].Offset == x.Out[o].Offset:
		return func() {}
	}
	from := l.buffer(x.In[in])
	return func() { to.copy(from) }
}

func bindEmbedding(d *Device, l *loaded, x *gpu.Launch) func() {
	ids, w, y := l.i32(x.In[0]), l.buffer(x.In[1]), l.buffer(x.Out[0])
	h := x.In[1].Type.Shape[1]
	body := &loop{body: func(_ *worker, i int) {
		for t := i * gpu.RowBlock; t < min(len(ids), (i+1)*gpu.RowBlock); t++ {
			at := int(ids[t]) * h
			y.sub(t*h, (t+1)*h).copy(w.sub(at, at+h))
		}
	}}
	return func() { d.pool.run(body, blocksOf(len(ids), gpu.RowBlock)) }
}

// The tokens are sorted by id, so that each row of the table is summed by one worker, in order of
// tokens, in fp32.
func bindEmbeddingGrad(d *Device, l *loaded, x *gpu.Launch) func() {
	ids, dy, dw := l.i32(x.In[0]), l.buffer(x.In[1]), l.buffer(x.Out[0])
	h := x.In[1].Type.Shape.Cols()
	before := l.accumulator(x, 0, 2)
	order := make([]int64, len(ids)) // id<<32 | token
	d.reserveBlocks(2, h)
	body := &loop{body: func(w *worker, i int) {
		t, end := i*gpu.RowBlock, min(len(order), (i+1)*gpu.RowBlock)
		for t > 0 && t < end && order[t]>>32 == order[t-1]>>32 { // belongs to the task before
			t++
		}
		for t < end {
			id := int(order[t] >> 32)
			to := d.variant.get(dw, id*h, (id+1)*h, w.room[0])
			for ; t < len(order) && int(order[t]>>32) == id; t++ {
				at := int(order[t]&0xffffffff) * h
				d.variant.add(to, to, d.variant.get(dy, at, at+h, w.room[1]))
			}
			d.variant.put(dw, id*h, to)
		}
	}}
	return func() {
		before()
		for t, id := range ids {
			order[t] = int64(id)<<32 | int64(t)
		}
		slices.Sort(order)
		d.pool.run(body, blocksOf(len(order), gpu.RowBlock))
	}
}

func bindRMSNorm(d *Device, l *loaded, x *gpu.Launch) func() {
	w, rstd, eps := l.row(x.In[1]), l.f32(x.Out[1]), x.Attrs.Eps
	h := x.In[1].Type.Shape.Cols()
	n := float64(x.Attrs.Counted(h))
	return w.before(d.rowwise(l, x.Out[:1], x.In[:1], func(r int, x [][]float32) {
		s := float32(1 / math.Sqrt(float64(d.variant.dot(x[1], x[1]))/n+eps))
		rstd[r] = s
		d.variant.mul3(x[0], x[1], w.f, s)
	}))
}

func bindRMSNormGradX(d *Device, l *loaded, x *gpu.Launch) func() {
	w, rstd := l.row(x.In[2]), l.f32(x.In[3])
	h := x.In[2].Type.Shape.Cols()
	n := float32(x.Attrs.Counted(h))
	return w.before(d.rowwise(l, x.Out, append(x.In[:2:2], x.In[4:]...), func(r int, x [][]float32) {
		s := rstd[r]
		k := s * s * d.variant.dot3(x[1], w.f, x[2]) / n
		if len(x) == 3 {
			d.variant.normGrad(x[0], x[1], x[2], w.f, s, k)
			return
		}
		for c, a := range x[3] { // which may be where the result goes, so it is read first; no program for the CPU has one
			x[0][c] = a + s*(x[1][c]*w.f[c]-x[2][c]*k)
		}
	}))
}

func bindRMSNormGradW(d *Device, l *loaded, x *gpu.Launch) func() {
	rstd := l.f32(x.In[2])
	return d.columnSums(l, x, l.buffers(x.In[:2]), l.buffers(x.In[3:]), func(r int, to []float32, x [][]float32) {
		d.variant.addMul(to, x[0], x[1], rstd[r])
	})
}

func bindRope(d *Device, l *loaded, x *gpu.Launch) func() {
	cos, sin := l.f32(x.In[1]), l.f32(x.In[2])
	seq, width, heads := x.In[0].Type.Shape[1], x.In[0].Type.Shape[2], x.Attrs.Heads
	half := width / heads / 2
	sign := float32(1)
	if x.Attrs.Inverse {
		sign = -1
	}
	var positions []int32
	if len(x.In) == 4 {
		positions = l.i32(x.In[3])
	}
	last := x.In[1].Type.Shape[0] - 1
	return d.rowwise(l, x.Out, x.In[:1], func(r int, x [][]float32) {
		at := r % seq * half
		if positions != nil {
			at = clamp(positions[r], last) * half
		}
		c, s := cos[at:at+half], sin[at:at+half]
		for o := 0; o < width; o += 2 * half {
			d.variant.rotate(x[0][o:o+half], x[0][o+half:o+2*half], x[1][o:o+half], x[1][o+half:o+2*half], c, s, sign)
		}
	})
}
