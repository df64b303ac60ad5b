package ref

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"stepflow/gpu"
)

func init() { maps.Copy(kernels, lowRankKernels) }

// lowRankKernels computes the kernels of gpu's table of the same name.
var lowRankKernels = map[string]func(a gpu.Attrs, in, out []mat){
	"adam": func(a gpu.Attrs, in, out []mat) {
		g, m, v, coef, bias := in[0], in[1], in[2], in[3].v[0], in[4].v[1]
		if !finite(coef) {
			out[0].each(func(int, int) float64 { return 0 })
			out[1].each(m.at)
			out[2].each(v.at)
			return
		}
		out[1].each(func(r, c int) float64 { return a.Beta1*m.at(r, c) + (1-a.Beta1)*coef*g.at(r, c) })
		out[2].each(func(r, c int) float64 {
			return a.Beta2*v.at(r, c) + (1-a.Beta2)*math.Pow(coef*g.at(r, c), 2)
		})
		out[0].each(func(r, c int) float64 { return bias * out[1].at(r, c) / (math.Sqrt(out[2].at(r, c)) + a.Eps) })
	},
	"random_matrix": func(a gpu.Attrs, in, out []mat) {
		seed := uint32(in[0].v[0])
		out[0].each(func(r, c int) float64 {
			if a.Lo > 0 && c >= a.Lo {
				return 0
			}
			return a.Alpha * float64(gpu.RandomElement(seed, r, c))
		})
	},
	"align_rows": func(_ gpu.Attrs, in, out []mat) {
		x, p := in[0], in[1]
		if !finite(in[2].v[0]) {
			out[0].each(p.at)
			return
		}
		sign := make([]float64, x.rows)
		for r := range sign {
			var s float64
			for c := range x.cols {
				s += x.at(r, c) * p.at(r, c)
			}
			if sign[r] = 1; s < 0 {
				sign[r] = -1
			}
		}
		out[0].each(func(r, c int) float64 { return 0 + sign[r]*x.at(r, c) })
	},
	"eigh": func(_ gpu.Attrs, in, out []mat) { fill(out[0], slices.Concat(eigh(in[0])...)) },
}

// eigh gives the eigenvectors of the symmetric part of x, by cyclic Jacobi (Golub & Van Loan, alg. 8.5.3).
func eigh(x mat) [][]float64 {
	n := x.cols
	size, a, v := 0.0, make([][]float64, n), make([][]float64, n) // the rows of v are the vectors
	for i := range a {
		a[i], v[i] = make([]float64, n), make([]float64, n)
		v[i][i] = 1
		for j := range a[i] {
			a[i][j] = (x.at(i, j) + x.at(j, i)) / 2
			size = math.Hypot(size, a[i][j])
		}
	}
	for turned := true; turned; {
		turned = false
		for p := range n {
			for q := p + 1; q < n; q++ {
				if !(math.Abs(a[p][q]) > 1e-14*size) { // nor of NaN
					continue
				}
				turned = true
				z := (a[q][q] - a[p][p]) / (2 * a[p][q])
				t := math.Copysign(1/(math.Abs(z)+math.Hypot(1, z)), z)
				c := 1 / math.Hypot(1, t)
				s := t * c
				turn := func(x, y *float64) { *x, *y = c**x-s**y, s**x+c**y }
				for k := range n {
					turn(&a[k][p], &a[k][q])
				}
				for k := range n {
					turn(&a[p][k], &a[q][k])
					turn(&v[p][k], &v[q][k])
				}
				a[p][q], a[q][p] = 0, 0
			}
		}
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(a[j][j], a[i][i]) })
	sorted := make([][]float64, n)
	for i, at := range order {
		sorted[i] = upright(v[at])
	}
	return sorted
}

// upright gives a vector the sign with which its largest element is positive.
func upright(v []float64) []float64 {
	most := 0.0
	for _, x := range v {
		if math.Abs(x) > math.Abs(most) {
			most = x
		}
	}
	if most < 0 {
		for i := range v {
			v[i] = -v[i]
		}
	}
	return v
}
