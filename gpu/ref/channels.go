package ref

import (
	"maps"
	"math"

	"stepflow/gpu"
)

func init() { maps.Copy(kernels, channelKernels) }

// channelKernels computes the kernels of gpu's table of the same name.
var channelKernels = map[string]func(a gpu.Attrs, in, out []mat){
	"row_squares": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(_, r int) (s float64) {
			for c := range in[0].cols {
				s += in[0].at(r, c) * in[0].at(r, c)
			}
			return s
		})
	},
	"column_squares": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(_, c int) (s float64) {
			for r := range in[0].rows {
				s += in[0].at(r, c) * in[0].at(r, c)
			}
			return s
		})
	},
	"scale_rows": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(r, c int) float64 { return in[0].at(r, c) * in[1].v[r] })
	},
	"scale_columns": func(_ gpu.Attrs, in, out []mat) {
		out[0].each(func(r, c int) float64 { return in[0].at(r, c) * in[1].v[c] })
	},
	"inverse_rms": func(a gpu.Attrs, in, out []mat) {
		out[0].each(func(r, c int) float64 { return 1 / math.Max(math.Sqrt(in[0].at(r, c)/float64(a.Cols)), a.Eps) })
	},
	"channel_factors": func(a gpu.Attrs, in, out []mat) {
		p, coef, bias := in[3].v[0], in[4].v[0], in[5].v[1]
		f, n := make([]float64, len(in[2].v)), 0.0
		if !finite(coef) {
			fill(out[0], f)
			out[1].set(0, 0, p)
			return
		}
		for i, q := range in[2].v {
			at := min(i, len(in[0].v)-1)
			f[i] = coef * (math.Sqrt(in[0].v[at]) / bias) / (coef*math.Sqrt(in[1].v[at]) + 1e-8)
			n += f[i] * f[i] * q
		}
		n = math.Sqrt(n)
		limit := 1.0
		if p > 0 {
			limit = math.Max(1, n/(1.01*(p+1e-8)))
		}
		for i := range f {
			f[i] *= a.Alpha * bias / limit
		}
		fill(out[0], f)
		out[1].set(0, 0, n/limit)
	},
	"ema_squares": func(a gpu.Attrs, in, out []mat) {
		x, s, coef, beta := in[0], in[1], in[2].v[0], in[3].v[1]
		if !finite(coef) {
			out[0].each(x.at)
			return
		}
		out[0].each(func(r, c int) float64 {
			if a.Rows > 0 && r*x.cols+c >= a.Rows {
				return 0
			}
			return beta*x.at(r, c) + (1-beta)*(coef*coef*s.at(r, c)/float64(a.Cols)+a.Eps)
		})
	},
	"row_factors": func(a gpu.Attrs, in, out []mat) {
		x := in[0].v
		n, sum := len(x), 0.0
		if a.Rows > 0 {
			n = a.Rows
		}
		for _, v := range x[:n] {
			sum += v
		}
		out[0].each(func(r, c int) float64 {
			if v := in[0].at(r, c); v != 0 {
				return in[1].v[0] * math.Sqrt(sum/float64(n)/v)
			}
			return 0
		})
	},
	"scale_rate": func(a gpu.Attrs, in, out []mat) {
		out[0].each(func(_, c int) float64 {
			if c > 0 {
				return in[1].v[c]
			}
			return in[1].v[0] * math.Max(a.Eps, math.Sqrt(in[0].v[0]/float64(a.Cols)))
		})
	},
}
