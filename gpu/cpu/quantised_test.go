package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"stepflow/gpu"
)

// BenchmarkStored is products of 1,024 and of few rows with weights that are stored as they are multiplied, and in fewer
// bits.
func BenchmarkStored(b *testing.B) {
	d := open(b, 0, "")
	defer d.Close()
	const n = 2048
	for _, m := range []int{1024, 8} {
		for _, trans := range []bool{true, false} {
			for _, x := range []gpu.DType{gpu.F32, gpu.BF16} {
				for _, w := range []gpu.DType{x, gpu.NF4, gpu.RowInt8} {
					b.Run(fmt.Sprintf("%d/transposed=%t/%v/%v", m, trans, x, w), func(b *testing.B) {
						of := func(rows int, t gpu.DType) gpu.Type { return gpu.Type{Shape: gpu.Shape{rows, n}, DType: t} }
						l := gpu.Launch{Kernel: "matmul", Attrs: gpu.Attrs{TransB: trans, Alpha: 1}}
						var at int64
						place := func(t gpu.Type) gpu.Operand {
							o := gpu.Operand{Offset: at, Type: t}
							at += gpu.Align(t.Bytes(), Alignment)
							return o
						}
						l.In = []gpu.Operand{place(of(m, x)), place(of(n, w))}
						l.Out = []gpu.Operand{place(of(m, x))}
						p := &gpu.Program{ArenaBytes: at, Launches: []gpu.Launch{l}}
						loaded, err := d.Load(p)
						if err != nil {
							b.Fatal(err)
						}
						defer loaded.Close()
						r := rand.New(rand.NewPCG(1, 2))
						for _, o := range l.In {
							v := make([]float32, o.Type.Shape.Elems())
							for i := range v {
								v[i] = float32(r.NormFloat64())
							}
							if err := loaded.CopyIn(o, o.Type.Encode(v)); err != nil {
								b.Fatal(err)
							}
						}
						fastest := time.Hour
						for b.Loop() {
							start := time.Now()
							if err := loaded.Run(0, 1, false); err != nil {
								b.Fatal(err)
							}
							fastest = min(fastest, time.Since(start))
						}
						b.ReportMetric(2*float64(m)*n*n/fastest.Seconds()/1e9, "GFLOP/s")
					})
				}
			}
		}
	}
}
