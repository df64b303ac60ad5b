package cpu

import (
	"math"
	"testing"
	"time"

	"stepflow/gpu"
)

// besideCopy runs the launches of a program in turn, and after each a copy that moves as many bytes of other memory, and
// reports how the fastest of one compares with the fastest of the other: taking turns, both find the machine as busy.
func besideCopy(b *testing.B, d *Device, l gpu.Loaded, p *gpu.Program, elems int) {
	const room = 16 << 20 // float32; no cache holds them
	from, to := make([]float32, room), make([]float32, room)
	for i := range from {
		from[i] = float32(i)
	}
	size := int(p.Launches[0].Bytes / 8)
	at := 0
	copies := &loop{body: func(_ *worker, i int) {
		lo, hi := at+i*gpu.SumBlock, at+min(size, (i+1)*gpu.SumBlock)
		copy(to[lo:hi], from[lo:hi])
	}}
	fastest, copied := math.Inf(1), math.Inf(1)
	timed := func(f func()) float64 {
		start := time.Now()
		f()
		return time.Since(start).Seconds()
	}
	b.SetBytes(p.Launches[0].Bytes)
	for i := 0; b.Loop(); i++ {
		at = i % (room / size) * size
		fastest = min(fastest, timed(func() {
			k := i % len(p.Launches)
			if err := l.Run(k, k+1, false); err != nil {
				b.Fatal(err)
			}
		}))
		copied = min(copied, timed(func() { d.pool.run(copies, blocksOf(size, gpu.SumBlock)) }))
	}
	b.ReportMetric(copied/fastest, "of_copy")
	b.ReportMetric(fastest*1e9/float64(elems), "ns/elem")
	b.ReportMetric(float64(p.Launches[0].Bytes)/fastest/1e9, "GB/s")
}
