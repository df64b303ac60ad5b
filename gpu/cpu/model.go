package cpu

import (
	"fmt"
	"math"

	"stepflow/gpu"
)

// bind resolves a launch's operands once, so that a step only runs closures.
func (d *Device) bind(l *loaded, x *gpu.Launch) (func(), error) {
	for _, o := range append(append([]gpu.Operand(nil), x.In...), x.Out...) {
		if o.Type.DType == gpu.BF16 {
			return nil, fmt.Errorf("this device computes in f32 only, the operand is %v: set precision = \"fp32\"", o.Type)
		}
	}
	if f := binders[x.Kernel]; f != nil {
		return f(d, l, x), nil
	}
	if f := bindElementwise(d, l, x); f != nil {
		return f, nil
	}
	return nil, fmt.Errorf("the kernel is missing on this device")
}

var binders = map[string]func(*Device, *loaded, *gpu.Launch) func(){
	"matmul":             bindMatmul,
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
}

func bindEmbedding(d *Device, l *loaded, x *gpu.Launch) func() {
	ids, w, y := l.i32(x.In[0]), l.f32(x.In[1]), l.f32(x.Out[0])
	h := x.In[1].Type.Shape[1]
	return func() {
		d.rows(len(ids), func(lo, hi int) {
			for t := lo; t < hi; t++ {
				copy(y[t*h:(t+1)*h], w[int(ids[t])*h:][:h])
			}
		})
	}
}

// The columns are shared out, so each element of the gradient is summed in order of tokens.
func bindEmbeddingGrad(d *Device, l *loaded, x *gpu.Launch) func() {
	ids, dy, dw := l.i32(x.In[0]), l.f32(x.In[1]), l.f32(x.Out[0])
	h := x.In[1].Type.Shape.Cols()
	var acc []float32
	if len(x.In) == 3 && x.In[2].Offset != x.Out[0].Offset {
		acc = l.f32(x.In[2])
	}
	fresh := len(x.In) == 2
	const width = 32
	return func() {
		if fresh {
			clear(dw)
		} else if acc != nil {
			copy(dw, acc)
		}
		d.pool.each(blocksOf(h, width), func(_ *packs, b int) {
			lo, hi := b*width, min(h, (b+1)*width)
			for t, id := range ids {
				to, from := dw[int(id)*h+lo:int(id)*h+hi], dy[t*h+lo:t*h+hi]
				for c, v := range from {
					to[c] += v
				}
			}
		})
	}
}

func bindRMSNorm(d *Device, l *loaded, x *gpu.Launch) func() {
	a, w, y, rstd := l.f32(x.In[0]), l.f32(x.In[1]), l.f32(x.Out[0]), l.f32(x.Out[1])
	h, eps := len(w), x.Attrs.Eps
	return func() {
		d.rows(len(rstd), func(lo, hi int) {
			for r := lo; r < hi; r++ {
				row, to := a[r*h:][:h], y[r*h:][:h]
				s := float32(1 / math.Sqrt(float64(dot(row, row))/float64(h)+eps))
				rstd[r] = s
				for c, v := range row {
					to[c] = v * s * w[c]
				}
			}
		})
	}
}

func bindRMSNormGradX(d *Device, l *loaded, x *gpu.Launch) func() {
	dy, a, w, rstd, dx := l.f32(x.In[0]), l.f32(x.In[1]), l.f32(x.In[2]), l.f32(x.In[3]), l.f32(x.Out[0])
	h := len(w)
	return func() {
		d.rows(len(rstd), func(lo, hi int) {
			for r := lo; r < hi; r++ {
				g, row, to, s := dy[r*h:][:h], a[r*h:][:h], dx[r*h:][:h], rstd[r]
				var sum float32
				for c, v := range g {
					sum += v * w[c] * row[c]
				}
				k := s * s * sum / float32(h)
				for c, v := range g {
					to[c] = s * (v*w[c] - row[c]*k)
				}
			}
		})
	}
}

func bindRMSNormGradW(d *Device, l *loaded, x *gpu.Launch) func() {
	dy, a, rstd, dw, scratch := l.f32(x.In[0]), l.f32(x.In[1]), l.f32(x.In[2]), l.f32(x.Out[0]), l.f32(x.Scratch)
	h := len(dw)
	return func() {
		d.columnSums(len(rstd), h, scratch, dw, func(r int, to []float32) {
			row, s := a[r*h:][:h], rstd[r]
			for c, v := range dy[r*h:][:h] {
				to[c] += v * row[c] * s
			}
		})
	}
}

func bindRope(d *Device, l *loaded, x *gpu.Launch) func() {
	a, cos, sin, y := l.f32(x.In[0]), l.f32(x.In[1]), l.f32(x.In[2]), l.f32(x.Out[0])
	seq, width, heads := x.In[0].Type.Shape[1], x.In[0].Type.Shape[2], x.Attrs.Heads
	half := width / heads / 2
	sign := float32(1)
	if x.Attrs.Inverse {
		sign = -1
	}
	return func() {
		d.rows(len(a)/width, func(lo, hi int) {
			for r := lo; r < hi; r++ {
				cs, sn := cos[r%seq*half:][:half], sin[r%seq*half:][:half]
				for h := 0; h < heads; h++ {
					o := r*width + h*2*half
					p, q := a[o:][:half], a[o+half:][:half]
					yp, yq := y[o:][:half], y[o+half:][:half]
					for i, c := range cs {
						s, u, v := sign*sn[i], p[i], q[i]
						yp[i], yq[i] = u*c-v*s, v*c+u*s
					}
				}
			}
		})
	}
}

func bindCrossEntropy(d *Device, l *loaded, x *gpu.Launch) func() {
	logits, targets, nll, lse := l.f32(x.In[0]), l.i32(x.In[1]), l.f32(x.Out[0]), l.f32(x.Out[1])
	n := x.In[0].Type.Shape.Cols()
	return func() {
		d.rows(len(targets), func(lo, hi int) {
			for r := lo; r < hi; r++ {
				row := logits[r*n:][:n]
				most := maxOf(row)
				var s float64
				var e [expBlock]float32
				for i := 0; i < len(row); i += expBlock { // short fp32 sums, added in fp64
					part := row[i:min(i+expBlock, len(row))]
					d.variant.exp(e[:], part, 1, -most)
					s += float64(sum(e[:len(part)]))
				}
				z := float64(most) + math.Log(s)
				lse[r], nll[r] = float32(z), 0
				if t := targets[r]; t >= 0 {
					nll[r] = float32(z - float64(row[t]))
				}
			}
		})
	}
}

func bindCrossEntropyGrad(d *Device, l *loaded, x *gpu.Launch) func() {
	dnll, logits, targets, lse, dx := l.f32(x.In[0]), l.f32(x.In[1]), l.i32(x.In[2]), l.f32(x.In[3]), l.f32(x.Out[0])
	n := x.In[1].Type.Shape.Cols()
	return func() {
		d.rows(len(targets), func(lo, hi int) {
			for r := lo; r < hi; r++ {
				row, to, t := logits[r*n:][:n], dx[r*n:][:n], targets[r]
				if t < 0 {
					clear(to)
					continue
				}
				k, z := dnll[r], lse[r]
				d.variant.exp(to, row, 1, -z)
				for c := range to {
					to[c] *= k
				}
				to[t] -= k
			}
		})
	}
}

// dot sums in eight lanes, which the processor can overlap.
func dot(a, b []float32) float32 {
	var s [8]float32
	i := 0
	for ; i+8 <= len(a); i += 8 {
		x, y := a[i:i+8:i+8], b[i:i+8:i+8]
		s[0] += x[0] * y[0]
		s[1] += x[1] * y[1]
		s[2] += x[2] * y[2]
		s[3] += x[3] * y[3]
		s[4] += x[4] * y[4]
		s[5] += x[5] * y[5]
		s[6] += x[6] * y[6]
		s[7] += x[7] * y[7]
	}
	for ; i < len(a); i++ {
		s[0] += a[i] * b[i]
	}
	return (s[0] + s[1]) + (s[2] + s[3]) + ((s[4] + s[5]) + (s[6] + s[7]))
}

// sum adds in eight lanes.
func sum(a []float32) float32 {
	var s [8]float32
	i := 0
	for ; i+8 <= len(a); i += 8 {
		x := a[i : i+8 : i+8]
		s[0] += x[0]
		s[1] += x[1]
		s[2] += x[2]
		s[3] += x[3]
		s[4] += x[4]
		s[5] += x[5]
		s[6] += x[6]
		s[7] += x[7]
	}
	for ; i < len(a); i++ {
		s[0] += a[i]
	}
	return (s[0] + s[1]) + (s[2] + s[3]) + ((s[4] + s[5]) + (s[6] + s[7]))
}

func maxOf(v []float32) float32 {
	m := v[0]
	for _, x := range v {
		if x > m || x != x {
			m = x
		}
	}
	return m
}
