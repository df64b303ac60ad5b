package ref

import "stepflow/gpu"

func init() {
	kernels["scatter_add"] = func(a gpu.Attrs, in, out []mat) {
		out[0].each(in[0].at)
		for k, n := range places(a, in[0], in[1]) {
			out[0].set(n.row, n.col, in[0].at(n.row, n.col)+in[2].v[k])
		}
	}
	kernels["gather"] = func(a gpu.Attrs, in, out []mat) {
		y := make([]float64, len(in[1].v))
		for k, n := range places(a, in[0], in[1]) {
			y[k] = in[0].at(n.row, n.col) + optional(in, 2, 0, k)
		}
		fill(out[0], y)
	}
}

// place is where an element of a matrix lies.
type place struct{ row, col int }

// places finds elements of the matrix x by the numbers in at, which count only the first cols columns.
func places(a gpu.Attrs, x, at mat) (list []place) {
	cols := a.Counted(x.cols)
	for _, n := range at.v {
		list = append(list, place{int(n) / cols, int(n) % cols})
	}
	return list
}
