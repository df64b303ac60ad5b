package peft

import (
	"runtime"
	"sync"
)

// AddProduct adds scale B A to w [out, in] on the host, in fp32: A is [r, in] and B [out, r].
func AddProduct(w, b, a []float32, scale float64, r, in int) {
	var all sync.WaitGroup
	const rows = 64
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	out := len(b) / r
	for lo := 0; lo < out; lo += rows {
		limit <- struct{}{}
		all.Go(func() {
			defer func() { <-limit }()
			for o := lo; o < min(lo+rows, out); o++ {
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
	all.Wait()
}
