package gputest

import "stepflow/gpu"

// sparse lists cases of the kernels for some elements of a matrix: few and many, and where all columns count or only some.
func sparse() (list []Case) {
	for _, n := range [][3]int{{1, 1, 1}, {3, 7, 2}, {65, 33, 5}, {130, 64, 3}, {200, 257, 1}} {
		rows, cols, every := n[0], n[1], n[2]
		for _, counted := range []int{0, (cols + 1) / 2} {
			a := gpu.Attrs{Cols: counted}
			at := map[int][]int{1: nil}
			for i := every / 2; i < rows*a.Counted(cols); i += every + i%3 {
				at[1] = append(at[1], i)
			}
			k := len(at[1])
			x, v := f32(rows, cols), f32(k)
			list = append(list,
				Case{Kernel: "scatter_add", Attrs: a, In: ops(x, i32(k), v), Values: at, Tol: 1e-7},
				Case{Kernel: "gather", Attrs: a, In: ops(x, i32(k)), Values: at},
				Case{Kernel: "gather", Attrs: a, In: ops(x, i32(k), v), Values: at, Tol: 1e-7})
		}
	}
	return list
}
