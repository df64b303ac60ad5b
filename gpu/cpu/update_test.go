package cpu

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"stepflow/gpu"
)

// BenchmarkUpdates is the kernels of updates, of weights that no cache holds, each beside a copy of as many bytes.
func BenchmarkUpdates(b *testing.B) {
	const rows, cols, copies = 256, 2048, 16
	of := func(t gpu.DType) gpu.Type { return gpu.Type{Shape: gpu.Shape{rows, cols}, DType: t} }
	vector := func(n int) gpu.Type { return gpu.Type{Shape: gpu.Shape{n}, DType: gpu.F32} }
	f, h, one, hyper := of(gpu.F32), of(gpu.BF16), vector(1), vector(gpu.HyperLen)
	m, v := of(gpu.Dynamic8), of(gpu.UDynamic8)
	adam, mean := gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}, gpu.Attrs{Beta1: 0.95, Beta2: 0.95}
	for _, c := range []struct {
		name, kernel string
		attrs        gpu.Attrs
		in           []gpu.Type
	}{
		{"adamw/fp32", "adamw", adam, []gpu.Type{f, f, f, f, one, hyper}},
		{"adamw/fp32/master", "adamw_master", adam, []gpu.Type{h, h, f, f, f, one, hyper}},
		{"adamw/fp32/stochastic", "adamw_stochastic", adam, []gpu.Type{h, h, f, f, one, hyper}},
		{"adamw/int8", "adamw_narrow", adam, []gpu.Type{f, f, m, v, one, hyper}},
		{"adamw/int8/master", "adamw_narrow_master", adam, []gpu.Type{h, h, f, m, v, one, hyper}},
		{"adamw/int8/stochastic", "adamw_narrow", adam, []gpu.Type{h, h, m, v, one, hyper}},
		{"adamw/bf16", "adamw_narrow", adam, []gpu.Type{f, f, h, h, one, hyper}},
		{"adamw/bf16/master", "adamw_narrow_master", adam, []gpu.Type{h, h, f, h, h, one, hyper}},
		{"adamw/bf16/stochastic", "adamw_narrow", adam, []gpu.Type{h, h, h, h, one, hyper}},
		{"muon/fp32", "ema", gpu.Attrs{Beta1: 0.95}, []gpu.Type{f, h, one}},
		{"muon/int8", "ema_narrow", mean, []gpu.Type{of(gpu.Linear8), h, one, hyper}},
		{"muon/bf16", "ema_narrow", mean, []gpu.Type{h, h, one, hyper}},
		{"projected/adam", "adam", gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, []gpu.Type{f, f, f, one, hyper}},
		{"projected/adam/int8", "adam_narrow", gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}, []gpu.Type{f, m, v, one, hyper}},
		{"projected/random_matrix", "random_matrix", gpu.Attrs{Rows: rows, Cols: cols, Alpha: 0.1, DType: gpu.BF16}, []gpu.Type{one}},
		{"channels/sum_squares", "sum_squares", gpu.Attrs{}, []gpu.Type{h}},
		{"channels/row_squares", "row_squares", gpu.Attrs{}, []gpu.Type{h}},
		{"channels/column_squares", "column_squares", gpu.Attrs{}, []gpu.Type{h}},
		{"channels/scale_rows", "scale_rows", gpu.Attrs{}, []gpu.Type{h, vector(rows)}},
		{"channels/scale_columns", "scale_columns", gpu.Attrs{}, []gpu.Type{h, vector(cols)}},
		{"weights/cast", "cast", gpu.Attrs{DType: gpu.F32}, []gpu.Type{h}},
		{"weights/sgdw", "sgdw", gpu.Attrs{Alpha: 0.2, WeightDecay: 0.1}, []gpu.Type{f, f, one, hyper}},
		{"weights/cast_stochastic", "cast_stochastic", gpu.Attrs{}, []gpu.Type{f, one}},
	} {
		for _, threads := range slices.Compact([]int{1, runtime.GOMAXPROCS(0)}) {
			b.Run(fmt.Sprintf("%s/threads=%d", c.name, threads), func(b *testing.B) {
				d := open(b, threads, os.Getenv("STEPFLOW_CPU_ISA"))
				l, p := loadLaunches(b, d, c.kernel, c.attrs, c.in, copies)
				besideCopy(b, d, l, p, rows*cols)
			})
		}
	}
}

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
