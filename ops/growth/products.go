package growth

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// subtractProducts subtracts a bᵀ from c [n, n], for a and b of n rows. Each element is summed up in one order, however many
// processors there are. It ends with ctx.
func subtractProducts(ctx context.Context, c, a, b []float32, n int) error {
	const block = 64 // rows of a that stay in a cache while those of b go by
	var at atomic.Int64
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), (n+block-1)/block) {
		wait.Go(func() {
			for lo := int(at.Add(block)) - block; lo < n; lo = int(at.Add(block)) - block {
				hi := min(lo+block, n)
				for j := 0; j < n; j += 4 {
					if ctx.Err() != nil {
						return
					}
					for i := lo; i < hi; i += 2 {
						if i+2 > hi || j+4 > n {
							products(c, a, b, n, i, min(i+2, hi), j, min(j+4, n))
						} else {
							products2x4(c, a, b, n, i, j)
						}
					}
				}
			}
		})
	}
	wait.Wait()
	return ctx.Err()
}

// products subtracts the products of rows i to i1 of a with rows j to j1 of b.
func products(c, a, b []float32, n, i, i1, j, j1 int) {
	width := len(a) / n
	for ; i < i1; i++ {
		x := a[i*width:][:width]
		for j := j; j < j1; j++ {
			y, s := b[j*width:][:len(x)], float32(0)
			for k, v := range x {
				s += v * y[k]
			}
			c[i*n+j] -= s
		}
	}
}

// products2x4 is products of two rows and four: eight sums at a time hide how long an addition takes.
func products2x4(c, a, b []float32, n, i, j int) {
	width := len(a) / n
	x0, x1 := a[i*width:][:width], a[(i+1)*width:][:width]
	y0, y1 := b[j*width:][:len(x0)], b[(j+1)*width:][:len(x0)]
	y2, y3 := b[(j+2)*width:][:len(x0)], b[(j+3)*width:][:len(x0)]
	x1 = x1[:len(x0)]
	var s0, s1, s2, s3, t0, t1, t2, t3 float32
	for k, v := range x0 {
		w := x1[k]
		b0, b1, b2, b3 := y0[k], y1[k], y2[k], y3[k]
		s0, t0 = s0+v*b0, t0+w*b0
		s1, t1 = s1+v*b1, t1+w*b1
		s2, t2 = s2+v*b2, t2+w*b2
		s3, t3 = s3+v*b3, t3+w*b3
	}
	s, t := c[i*n+j:][:4], c[(i+1)*n+j:][:4]
	s[0], s[1], s[2], s[3] = s[0]-s0, s[1]-s1, s[2]-s2, s[3]-s3
	t[0], t[1], t[2], t[3] = t[0]-t0, t[1]-t1, t[2]-t2, t[3]-t3
}
