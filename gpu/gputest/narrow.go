package gputest

import "stepflow/gpu"

// narrow lists products whose right operand is stored in fewer bits than the left one: of whole blocks and of parts of
// them, of odd rows, of one block and of several along the sum, of few rows and of few columns; alone, with what is fused
// into them, and with padded operands beside the quantised one.
func narrow() (list []Case) {
	for _, d := range []gpu.DType{gpu.NF4, gpu.RowInt8} {
		for _, s := range [][3]int{{1, 1, 1}, {3, 5, 7}, {15, 33, 385}, {64, 70, 128}, {9, 40, 2100}, {1, 300, 17}, {300, 1, 65},
			{70, 1100, 20}, {61, 130, 300}} {
			list = append(list, narrowProducts(s[0], s[1], s[2], d, 0)...)
		}
		list = append(list, narrowProducts(10, 30, 51, d, 13)...)
		list = append(list, narrowProducts(70, 65, 129, d, 63)...)
	}
	return list
}

// narrowProducts lists products of [m,k] by [k,n] in d, as it is and transposed. The other operands have more columns, and
// the left one more terms.
func narrowProducts(m, n, k int, d gpu.DType, more int) (list []Case) {
	of := func(s ...int) gpu.Type { return gpu.Type{Shape: s, DType: d} }
	for _, trans := range []bool{true, false} {
		w := of(k, n)
		if trans {
			w = of(n, k)
		}
		x, c := f32(m, k+more), f32(m, n+more)
		a := gpu.Attrs{TransB: trans, Alpha: 1}
		if more > 0 {
			a.Cols = n + more
		}
		list = append(list,
			Case{Kernel: "matmul", Attrs: a, In: ops(x, w), Tol: 2e-6},
			Case{Kernel: "matmul", Attrs: a, In: ops(x, w, c), Tol: 2e-6,
				Stride: []int{k + more + 3, 0, n + more + 5}, OutStride: n + more + 5},
			Case{Kernel: "matmul_swiglu", Attrs: a, In: ops(x, w, c), Tol: 3e-6})
	}
	return list
}

// widened lists products of f32 by bf16.
func widened() (list []Case) {
	for _, s := range [][3]int{{1, 1, 1}, {15, 33, 385}, {9, 40, 2100}, {300, 1, 65}, {70, 1100, 20}} {
		list = append(list, narrowProducts(s[0], s[1], s[2], gpu.BF16, 0)...)
	}
	return list
}
