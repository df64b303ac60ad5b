package peft

import "stepflow/gpu"

// AddProduct adds scale B A to w [out, in] on the host, in fp32: A is [r, in] and B [out, r].
func AddProduct(w, b, a []float32, scale float64, r, in int) {
	const rows = 64
	gpu.InPieces(len(b)/r, rows, func(lo, hi int) {
		for o := lo; o < hi; o++ {
			to := w[o*in:][:in]
			for k := range r {
				f := float32(scale) * b[o*r+k]
				for i, x := range a[k*in:][:in] {
					to[i] += f * x
				}
			}
		}
	})
}
