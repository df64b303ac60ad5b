package gputest

import "stepflow/gpu"

// channels lists the kernels of updates by channel and in subspaces.
func channels() (list []Case) {
	one, hyper := f32(1), f32(gpu.HyperLen)
	for _, n := range [][2]int{{1, 1}, {3, 7}, {65, 33}, {130, 264}, {7, 5000}, {1000, 3}} {
		x, rows, cols := f32(n[0], n[1]), f32(n[0]), f32(n[1])
		list = append(list,
			Case{Kernel: "row_squares", In: ops(x), Tol: 2e-6},
			Case{Kernel: "column_squares", In: ops(x), Tol: 2e-6},
			Case{Kernel: "scale_rows", In: ops(x, rows), Tol: 2e-7},
			Case{Kernel: "scale_columns", In: ops(x, cols), Tol: 2e-7},
			Case{Kernel: "adam", Attrs: gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-6}, In: ops(x, x, x, one, hyper),
				Positive: []int{2, 3, 4}, Tol: 2e-6},
			Case{Kernel: "align_rows", In: ops(x, x, one)},
			Case{Kernel: "align_rows", In: ops(x, bf16(n[0], n[1]), one)})
		for _, t := range []gpu.DType{gpu.F32, gpu.BF16} {
			a := gpu.Attrs{Rows: n[0], Cols: n[1], Alpha: 0.5, DType: t} // exact: the same on every device
			list = append(list, Case{Kernel: "random_matrix", Attrs: a, In: ops(one), Positive: []int{0}})
			a.Lo = max(1, n[1]-4)
			list = append(list, Case{Kernel: "random_matrix", Attrs: a, In: ops(one), Positive: []int{0}})
		}
	}
	for _, n := range []int{1, 7, 33, 300, 5000} {
		x := f32(n)
		counted := max(1, n-5)
		list = append(list,
			Case{Kernel: "inverse_rms", Attrs: gpu.Attrs{Cols: 7, Eps: 1e-8}, In: ops(x), Positive: []int{0}, Tol: 3e-7},
			Case{Kernel: "inverse_rms", Attrs: gpu.Attrs{Cols: 7, Eps: 0.3}, In: ops(x), Positive: []int{0}, Tol: 3e-7},
			Case{Kernel: "ema_squares", Attrs: gpu.Attrs{Cols: 9, Eps: 1e-3}, In: ops(x, x, one, hyper),
				Positive: []int{0, 1, 2, 3}, Tol: 5e-7},
			Case{Kernel: "ema_squares", Attrs: gpu.Attrs{Cols: 9, Rows: counted, Eps: 1e-3}, In: ops(x, x, one, hyper),
				Positive: []int{0, 1, 2, 3}, Tol: 5e-7},
			Case{Kernel: "row_factors", In: ops(x, one), Positive: []int{0, 1}, Tol: 1e-6},
			Case{Kernel: "row_factors", Attrs: gpu.Attrs{Rows: counted}, In: ops(x, one), Positive: []int{0, 1}, Tol: 1e-6})
		for _, a := range []gpu.Type{x, one} {
			in := ops(a, a, x, one, one, hyper)
			list = append(list, // the norm before is exceeded, or not
				Case{Kernel: "channel_factors", Attrs: gpu.Attrs{Alpha: 0.7}, In: in, Positive: []int{0, 1, 2, 3, 4, 5}, Tol: 2e-6},
				Case{Kernel: "channel_factors", Attrs: gpu.Attrs{Alpha: 0.7}, In: in, Positive: []int{0, 1, 2, 3, 4, 5},
					Large: []int{3}, Tol: 2e-6})
		}
	}
	for _, n := range []int{1, 2, 7, 32, 45, 64} { // vectors are as sure as eigenvalues lie apart
		list = append(list, Case{Kernel: "eigh", In: ops(f32(n, n)), Tol: 3e-4})
	}
	for _, eps := range []float64{1e-3, 2} { // the root counts, or the least one
		list = append(list, Case{Kernel: "scale_rate", Attrs: gpu.Attrs{Cols: 3, Eps: eps}, In: ops(one, hyper), Positive: []int{0, 1},
			Tol: 3e-7})
	}
	return list
}
