package ref

import (
	"cmp"
	"math"

	"stepflow/gpu"
)

// kernels holds one plain function a row of gpu's table; inputs are copies, outputs the arena.
var kernels = map[string]func(a gpu.Attrs, in, out []mat){
	"zero": func(_ gpu.Attrs, _, out []mat) { out[0].each(func(int, int) float64 { return 0 }) },
	"copy": func(_ gpu.Attrs, in, out []mat) { out[0].each(in[0].at) },
	"cast": func(_ gpu.Attrs, in, out []mat) { out[0].each(in[0].at) },
	"cast_stochastic": func(_ gpu.Attrs, in, out []mat) {
		seed := uint32(in[1].v[0])
		out[0].each(func(r, c int) float64 {
			return float64(gpu.FromBF16(gpu.ToBF16Stochastic(float32(in[0].at(r, c)), seed, int64(r*in[0].cols+c))))
		})
	},
	"add": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(r, c int) float64 { return in[0].at(r, c) + in[1].at(r, c) })
	},
	"mul": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(r, c int) float64 { return in[0].at(r, c) * in[1].at(r, c) })
	},
	"scale": func(a gpu.Attrs, in, out []mat) {
		out[0].each(func(r, c int) float64 { return a.Alpha * in[0].at(r, c) })
	},
	"normalize": func(a gpu.Attrs, in, out []mat) {
		norm := math.Max(math.Sqrt(in[1].v[0]), a.Eps)
		out[0].each(func(r, c int) float64 { return in[0].at(r, c) / norm })
	},
	"uniform_noise": func(a gpu.Attrs, in, out []mat) {
		cols := cmp.Or(a.Cols, out[0].cols)
		seed, first := uint32(in[1].v[0]), int64(in[1].v[1])*int64(out[0].rows)
		out[0].each(func(r, c int) float64 {
			if c >= cols {
				return in[0].at(r, c)
			}
			return in[0].at(r, c) + a.Alpha*float64(gpu.Uniform(seed, (first+int64(r))*int64(cols)+int64(c)))
		})
	},
	"bias_add": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(r, c int) float64 { return in[0].at(r, c) + in[1].v[c] })
	},
	"sum_rows": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(_, c int) (s float64) {
			for r := 0; r < in[0].rows; r++ {
				s += in[0].at(r, c)
			}
			return s + optional(in, 1, 0, c)
		})
	},
	"slice": func(a gpu.Attrs, in, out []mat) {
		out[0].each(func(r, c int) float64 { return in[0].at(r, a.Lo+c) })
	},
	"slice_grad": func(a gpu.Attrs, in, out []mat) {
		dy := in[0]
		out[0].each(func(r, c int) (s float64) {
			if len(in) == 2 {
				s = in[1].at(r, c)
			}
			if c -= a.Lo; c >= 0 && c < dy.cols {
				s += dy.at(r, c)
			}
			return s
		})
	},
	"broadcast": func(_ gpu.Attrs, in, out []mat) { out[0].each(func(int, int) float64 { return in[0].v[0] }) },
	"sum": func(_ gpu.Attrs, in, out []mat) {
		var s float64
		for _, x := range in[0].v {
			s += x
		}
		out[0].set(0, 0, s)
	},
	"sum_squares": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(_, i int) (s float64) {
			for _, x := range in[i].v {
				s += x * x
			}
			return s
		})
	},
	"swiglu": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(r, c int) float64 { g := in[0].at(r, c); return g * sigmoid(g) * in[1].at(r, c) })
	},
	"swiglu_grad": func(_ gpu.Attrs, in, out []mat) {
		dy, g, u := in[0], in[1], in[2]
		out[0].each(func(r, c int) float64 {
			s := sigmoid(g.at(r, c))
			return dy.at(r, c) * u.at(r, c) * s * (1 + g.at(r, c)*(1-s))
		})
		out[1].each(func(r, c int) float64 { return dy.at(r, c) * g.at(r, c) * sigmoid(g.at(r, c)) })
	},
	"matmul": matmul,
	"matmul_swiglu": func(a gpu.Attrs, in, out []mat) {
		matmul(a, append(in[:2:2], in[3:]...), out[:1])
		out[1].each(func(r, c int) float64 { g := in[2].at(r, c); return g * sigmoid(g) * out[0].at(r, c) })
	},
	"embedding": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(r, c int) float64 { return in[1].at(int(in[0].v[r]), c) })
	},
	"embedding_grad": func(_ gpu.Attrs, in, out []mat) {
		sums := make([]float64, out[0].rows*out[0].cols)
		if len(in) == 3 {
			copy(sums, in[2].v)
		}
		for t, id := range in[0].v {
			for c := 0; c < in[1].cols; c++ {
				sums[int(id)*out[0].cols+c] += in[1].at(t, c)
			}
		}
		out[0].each(func(r, c int) float64 { return sums[r*out[0].cols+c] })
	},
	"rmsnorm": func(a gpu.Attrs, in, out []mat) {
		x, w := in[0], in[1]
		n := float64(a.Counted(x.cols))
		rstd := make([]float64, x.rows)
		for r := range rstd {
			var ss float64
			for c := 0; c < x.cols; c++ {
				ss += x.at(r, c) * x.at(r, c)
			}
			rstd[r] = 1 / math.Sqrt(ss/n+a.Eps)
		}
		out[0].each(func(r, c int) float64 { return x.at(r, c) * rstd[r] * w.v[c] })
		fill(out[1], rstd)
	},
	"rmsnorm_grad_x": func(a gpu.Attrs, in, out []mat) {
		dy, x, w, rstd := in[0], in[1], in[2], in[3]
		n := float64(a.Counted(x.cols))
		dot := make([]float64, x.rows)
		for r := range dot {
			for c := 0; c < x.cols; c++ {
				dot[r] += dy.at(r, c) * w.v[c] * x.at(r, c) / n
			}
		}
		out[0].each(func(r, c int) float64 {
			s := rstd.v[r]
			return s*(dy.at(r, c)*w.v[c]-x.at(r, c)*s*s*dot[r]) + optional(in, 4, r, c)
		})
	},
	"rmsnorm_grad_w": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(_, c int) (s float64) {
			for r := 0; r < in[0].rows; r++ {
				s += in[0].at(r, c) * in[1].at(r, c) * in[2].v[r]
			}
			return s + optional(in, 3, 0, c)
		})
	},
	"rope": func(a gpu.Attrs, in, out []mat) {
		x, cos, sin := in[0], in[1], in[2]
		d := x.cols / a.Heads
		out[0].each(func(r, c int) float64 {
			t, i := r%x.shape[1], c%d
			if len(in) == 4 {
				t = clamp(in[3].v[r], cos.rows-1)
			}
			if i < d/2 {
				s := sin.at(t, i)
				if a.Inverse {
					s = -s
				}
				return x.at(r, c)*cos.at(t, i) - x.at(r, c+d/2)*s
			}
			s := sin.at(t, i-d/2)
			if a.Inverse {
				s = -s
			}
			return x.at(r, c)*cos.at(t, i-d/2) + x.at(r, c-d/2)*s
		})
	},
	"attention": func(a gpu.Attrs, in, out []mat) {
		q, k, v := in[0], in[1], in[2]
		d := q.cols / a.Heads
		batch, seq := q.shape[0], q.shape[1]
		for b := 0; b < batch; b++ {
			for h := 0; h < a.Heads; h++ {
				for i := 0; i < seq; i++ {
					p, lse := scores(a, q, k, in[3:], b, h, i)
					out[1].set(b*a.Heads+h, i, lse)
					for c := 0; c < d; c++ {
						var s float64
						for j, w := range p {
							s += w * v.at(b*seq+j, h*a.KVHeads/a.Heads*d+c)
						}
						out[0].set(b*seq+i, h*d+c, s)
					}
				}
			}
		}
	},
	"attention_cached": func(a gpu.Attrs, in, out []mat) {
		q, k, v, kc, vc := in[0], in[1], in[2], in[3], in[4]
		d, n, capacity := q.cols/a.Heads, q.shape[1], kc.shape[1]
		for r := 0; r < q.rows; r++ {
			b := r / n
			slot, past := clamp(in[5].v[b], kc.shape[0]-1), clamp(in[6].v[b], capacity)
			// row is the key or value j that query r sees, by its cache and the new ones.
			row := func(kept, now mat, j, c int) float64 {
				if j < past {
					return kept.at(slot*capacity+j, c)
				}
				return now.at(b*n+j-past, c)
			}
			for h := 0; h < a.Heads; h++ {
				kv := h * a.KVHeads / a.Heads * d
				p := make([]float64, past+r%n+1)
				for j := range p {
					for c := 0; c < d; c++ {
						p[j] += q.at(r, h*d+c) * row(kc, k, j, kv+c)
					}
					p[j] /= math.Sqrt(float64(d))
				}
				lse := logSumExp(p)
				for c := 0; c < d; c++ {
					var s float64
					for j, x := range p {
						s += math.Exp(x-lse) * row(vc, v, j, kv+c)
					}
					out[0].set(r, h*d+c, s)
				}
			}
		}
	},
	"cache_write": func(_ gpu.Attrs, in, out []mat) {
		x, cache := in[0], in[1]
		out[0].each(cache.at)
		n, capacity := x.shape[1], cache.shape[1]
		for b := 0; b < x.shape[0]; b++ {
			slot, past, count := clamp(in[2].v[b], cache.shape[0]-1), clamp(in[3].v[b], capacity), clamp(in[4].v[b], n)
			for t := 0; t < min(count, capacity-past); t++ {
				for c := 0; c < x.cols; c++ {
					out[0].set(slot*capacity+past+t, c, x.at(b*n+t, c))
				}
			}
		}
	},
	"attention_grad": func(a gpu.Attrs, in, out []mat) {
		do, q, k, v, o := in[0], in[1], in[2], in[3], in[4]
		d := q.cols / a.Heads
		batch, seq := q.shape[0], q.shape[1]
		scale := 1 / math.Sqrt(float64(d))
		dq, dk, dv := zeros(out[0]), zeros(out[1]), zeros(out[2])
		for b := 0; b < batch; b++ {
			for h := 0; h < a.Heads; h++ {
				kv := h * a.KVHeads / a.Heads * d
				for i := 0; i < seq; i++ {
					p, lse := scores(a, q, k, in[6:], b, h, i)
					given := math.Exp(lse - in[5].at(b*a.Heads+h, i))
					var delta float64
					for c := 0; c < d; c++ {
						delta += do.at(b*seq+i, h*d+c) * o.at(b*seq+i, h*d+c)
					}
					for j, w := range p {
						w *= given
						var dp float64
						for c := 0; c < d; c++ {
							dp += do.at(b*seq+i, h*d+c) * v.at(b*seq+j, kv+c)
						}
						ds := w * (dp - delta) * scale
						for c := 0; c < d; c++ {
							dq[(b*seq+i)*q.cols+h*d+c] += ds * k.at(b*seq+j, kv+c)
							dk[(b*seq+j)*k.cols+kv+c] += ds * q.at(b*seq+i, h*d+c)
							dv[(b*seq+j)*k.cols+kv+c] += w * do.at(b*seq+i, h*d+c)
						}
					}
				}
			}
		}
		fill(out[0], dq)
		fill(out[1], dk)
		fill(out[2], dv)
	},
	"cross_entropy": func(a gpu.Attrs, in, out []mat) {
		x := in[0]
		nll, lse := make([]float64, x.rows), make([]float64, x.rows)
		for r := range nll {
			row := x.v[r*x.cols:][:a.Counted(x.cols)]
			lse[r] = logSumExp(row)
			if t := int(in[1].v[r]); t >= 0 {
				nll[r] = lse[r] - row[t]
			}
		}
		fill(out[0], nll)
		fill(out[1], lse)
	},
	"cross_entropy_grad": func(a gpu.Attrs, in, out []mat) {
		dnll, x, targets, lse := in[0], in[1], in[2], in[3]
		out[0].each(func(r, c int) float64 {
			t := int(targets.v[r])
			if t < 0 || c >= a.Counted(x.cols) {
				return 0
			}
			g := math.Exp(x.at(r, c) - lse.v[r])
			if c == t {
				g--
			}
			return g * dnll.v[r]
		})
	},
	"linear_cross_entropy": func(a gpu.Attrs, in, out []mat) {
		nll, lse, _ := head(a, in[0], in[1], in[2])
		fill(out[0], nll)
		fill(out[1], lse)
	},
	"linear_score": func(a gpu.Attrs, in, out []mat) {
		nll, _, x := head(a, in[0], in[1], in[2])
		fill(out[0], nll)
		out[1].each(func(r, c int) float64 {
			r = r*out[1].cols + c
			row, t := x[r*in[1].rows:][:a.Counted(in[1].rows)], int(in[2].v[r])
			for v := range row {
				if t < 0 || row[v] > row[t] || v < t && row[v] == row[t] {
					return 0
				}
			}
			return 1
		})
	},
	"linear_cross_entropy_grad": func(a gpu.Attrs, in, out []mat) {
		dnll, h, w, targets := in[0], in[1], in[2], in[3]
		nll, lse, x := head(a, h, w, targets)
		dh, dw := make([]float64, h.rows*h.cols), make([]float64, w.rows*w.cols)
		if len(in) == 5 {
			copy(dw, in[4].v)
		}
		for r := 0; r < h.rows; r++ {
			t := int(targets.v[r])
			for v := 0; v < a.Counted(w.rows) && t >= 0; v++ {
				g := math.Exp(x[r*w.rows+v] - lse[r])
				if v == t {
					g--
				}
				g *= dnll.v[r]
				for c := 0; c < h.cols; c++ {
					dh[r*h.cols+c] += g * w.at(v, c)
					dw[v*h.cols+c] += g * h.at(r, c)
				}
			}
		}
		fill(out[0], nll)
		fill(out[1], dh)
		if !a.Frozen {
			fill(out[2], dw)
		}
	},
	"clip": func(a gpu.Attrs, in, out []mat) {
		var ss float64
		for _, m := range in {
			for _, s := range m.v {
				ss += s
			}
		}
		norm := math.Sqrt(ss)
		coef := 1.0
		if !finite(norm) {
			coef = math.NaN()
		} else if a.MaxNorm > 0 {
			coef = math.Min(1, a.MaxNorm/(norm+1e-6))
		}
		out[0].set(0, 0, norm)
		out[1].set(0, 0, coef)
	},
	"ema": func(a gpu.Attrs, in, out []mat) {
		x, g, coef := in[0], in[1], in[2].v[0]
		if !finite(coef) {
			out[0].each(x.at)
			return
		}
		out[0].each(func(r, c int) float64 { return a.Beta1*x.at(r, c) + (1-a.Beta1)*coef*g.at(r, c) })
	},
	"sgdw": func(a gpu.Attrs, in, out []mat) {
		w, u, coef, lr := in[0], in[1], in[2].v[0], in[3].v[0]
		if !finite(coef) {
			out[0].each(w.at)
			return
		}
		out[0].each(func(r, c int) float64 {
			return w.at(r, c) - lr*a.WeightDecay*w.at(r, c) - lr*a.Alpha*u.at(r, c)
		})
	},
	"adamw": func(a gpu.Attrs, in, out []mat) {
		adamw(a, in[0], in[1], in[2], in[3], in[4], in[5], out[0], out[1], out[2])
	},
	"adamw_master": func(a gpu.Attrs, in, out []mat) {
		adamw(a, in[2], in[1], in[3], in[4], in[5], in[6], out[1], out[2], out[3])
		out[0].each(out[1].at)
	},
	"adamw_stochastic": func(a gpu.Attrs, in, out []mat) {
		// The new weight is kept apart: an output in bf16 would round it to nearest.
		w := mat{dtype: gpu.F32, rows: in[0].rows, cols: in[0].cols, step: 1, ld: in[0].cols,
			v: make([]float64, in[0].rows*in[0].cols)}
		adamw(a, in[0], in[1], in[2], in[3], in[4], in[5], w, out[1], out[2])
		seed := uint32(in[5].v[3])
		out[0].each(func(r, c int) float64 {
			return float64(gpu.FromBF16(gpu.ToBF16Stochastic(float32(w.at(r, c)), seed, int64(r*w.cols+c))))
		})
	},
}

// optional is an element of an optional input; 0 where the launch does not have it.
func optional(in []mat, i, r, c int) float64 {
	if len(in) <= i {
		return 0
	}
	return in[i].at(r, c)
}

// clamp is a whole number, or the nearest one of [0, most].
func clamp(x float64, most int) int { return int(max(0, min(x, float64(most)))) }

// head gives the losses of the logits h wᵀ, their log normalisers and the logits.
func head(a gpu.Attrs, h, w, targets mat) (nll, lse, x []float64) {
	x = make([]float64, h.rows*w.rows)
	nll, lse = make([]float64, h.rows), make([]float64, h.rows)
	for r := range nll {
		row := x[r*w.rows : (r+1)*w.rows]
		for v := range row {
			for c := 0; c < h.cols; c++ {
				row[v] += h.at(r, c) * w.at(v, c)
			}
		}
		lse[r] = logSumExp(row[:a.Counted(w.rows)])
		if t := int(targets.v[r]); t >= 0 {
			nll[r] = lse[r] - row[t]
		}
	}
	return nll, lse, x
}

func adamw(a gpu.Attrs, w, g, m, v, coef, hyper, ow, om, ov mat) {
	k, lr, bc1, bc2 := coef.v[0], hyper.v[0], hyper.v[1], hyper.v[2]
	if !finite(k) {
		ow.each(w.at)
		om.each(m.at)
		ov.each(v.at)
		return
	}
	om.each(func(r, c int) float64 { return a.Beta1*m.at(r, c) + (1-a.Beta1)*k*g.at(r, c) })
	ov.each(func(r, c int) float64 {
		x := k * g.at(r, c)
		return a.Beta2*v.at(r, c) + (1-a.Beta2)*x*x
	})
	ow.each(func(r, c int) float64 {
		return w.at(r, c) - lr*a.WeightDecay*w.at(r, c) - lr*(om.at(r, c)/bc1)/(math.Sqrt(ov.at(r, c)/bc2)+a.Eps)
	})
}

// scores gives the probabilities of query i over the keys up to i, 0 across documents, and their log normaliser.
func scores(a gpu.Attrs, q, k mat, seg []mat, b, h, i int) (p []float64, lse float64) {
	d := q.cols / a.Heads
	seq := q.shape[1]
	kv := h * a.KVHeads / a.Heads * d
	p = make([]float64, i+1)
	for j := range p {
		if len(seg) == 1 && seg[0].at(b, i) != seg[0].at(b, j) {
			p[j] = math.Inf(-1)
			continue
		}
		for c := 0; c < d; c++ {
			p[j] += q.at(b*seq+i, h*d+c) * k.at(b*seq+j, kv+c)
		}
		p[j] /= math.Sqrt(float64(d))
	}
	lse = logSumExp(p)
	for j := range p {
		p[j] = math.Exp(p[j] - lse)
	}
	return p, lse
}

func logSumExp(v []float64) float64 {
	most := math.Inf(-1)
	for _, x := range v {
		most = math.Max(most, x)
	}
	var s float64
	for _, x := range v {
		s += math.Exp(x - most)
	}
	return most + math.Log(s)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

func zeros(m mat) []float64 { return make([]float64, m.rows*m.cols) }

func fill(m mat, v []float64) { m.each(func(r, c int) float64 { return v[r*m.cols+c] }) }

func matmul(a gpu.Attrs, in, out []mat) {
	b := in[1]
	m, n, k, _ := gpu.MatmulDims(a, gpu.Type{Shape: in[0].shape}, gpu.Type{Shape: b.shape, DType: b.dtype})
	for i := 0; i < m; i++ {
		for j := 0; j < n; j++ {
			var s float64
			for l := 0; l < k; l++ {
				x, y := [2]int{i, l}, [2]int{l, j}
				if a.TransA {
					x = [2]int{l, i}
				}
				if a.TransB {
					y = [2]int{j, l}
				}
				if y[0] < b.rows && y[1] < b.cols { // zeros surround what is quantised
					s += in[0].at(x[0], x[1]) * round(b.at(y[0], y[1]), in[0].dtype)
				}
			}
			s *= a.Alpha
			if len(in) == 3 {
				s += in[2].at(i, j)
			}
			out[0].set(i, j, s)
		}
	}
}
