package cpu

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"stepflow/gpu"
)

// BenchmarkStored is products of 1,024 and of few rows with weights that are stored as they are multiplied, and with the same
// in fewer bits, which take turns: it reports the rates of the latter as shares of that of the former, of the fastest runs.
func BenchmarkStored(b *testing.B) {
	const n = 2048
	for _, threads := range slices.Compact([]int{1, runtime.GOMAXPROCS(0)}) {
		d := open(b, threads, "")
		for _, m := range []int{1024, 8, 1} {
			for _, trans := range []bool{true, false} {
				for _, x := range []gpu.DType{gpu.F32, gpu.BF16} {
					b.Run(fmt.Sprintf("%d/transposed=%t/%v/threads=%d", m, trans, x, threads), func(b *testing.B) {
						of := func(rows int, t gpu.DType) gpu.Type { return gpu.Type{Shape: gpu.Shape{rows, n}, DType: t} }
						p := &gpu.Program{}
						place := func(t gpu.Type) gpu.Operand {
							o := gpu.Operand{Offset: p.ArenaBytes, Type: t}
							p.ArenaBytes += gpu.Align(t.Bytes(), Alignment)
							return o
						}
						for _, w := range []gpu.DType{x, gpu.NF4, gpu.RowInt8} {
							p.Launches = append(p.Launches, gpu.Launch{Kernel: "matmul", Attrs: gpu.Attrs{TransB: trans, Alpha: 1},
								In: []gpu.Operand{place(of(m, x)), place(of(n, w))}, Out: []gpu.Operand{place(of(m, x))}})
						}
						l, err := d.Load(p)
						if err != nil {
							b.Fatal(err)
						}
						defer l.Close()
						r := rand.New(rand.NewPCG(1, 2))
						for _, x := range p.Launches {
							for _, o := range x.In {
								v := make([]float32, o.Type.Shape.Elems())
								for i := range v {
									v[i] = float32(r.NormFloat64())
								}
								if err := l.CopyIn(o, o.Type.Encode(v)); err != nil {
									b.Fatal(err)
								}
							}
						}
						fastest := []time.Duration{time.Hour, time.Hour, time.Hour}
						for b.Loop() {
							for i := range fastest {
								start := time.Now()
								if err := l.Run(i, i+1, false); err != nil {
									b.Fatal(err)
								}
								fastest[i] = min(fastest[i], time.Since(start))
							}
						}
						b.ReportMetric(2*float64(m)*n*n/fastest[0].Seconds()/1e9, "GFLOP/s")
						b.ReportMetric(fastest[0].Seconds()/fastest[1].Seconds(), "of_it_nf4")
						b.ReportMetric(fastest[0].Seconds()/fastest[2].Seconds(), "of_it_int8")
					})
				}
			}
		}
	}
}

// TestStoredElements: every variant gives the elements of a stored matrix that gpu decodes, from any number on, and as many
// as there are, and rounds them to bf16 as gpu does.
func TestStoredElements(t *testing.T) {
	const rows, cols = 137, 192
	r := rand.New(rand.NewPCG(3, 4))
	v := make([]float32, rows*cols)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	for _, d := range []gpu.DType{gpu.NF4, gpu.RowInt8} {
		stored := gpu.Type{Shape: gpu.Shape{rows, cols}, DType: d}
		b := stored.Encode(v)
		want := stored.Decode(b)
		for i := range variants {
			from := variants[i].decoder(stored, b)
			for range 300 {
				at := r.IntN(len(v))
				got := make([]float32, 1+r.IntN(len(v)-at))
				from.decode(got, at)
				for j, x := range got {
					if x != want[at+j] {
						t.Fatalf("%s: element %d of %v, read from element %d on, is %g, not %g", variants[i].name, at+j, d, at, x, want[at+j])
					}
				}
				if from.half == nil {
					continue
				}
				at -= at % from.step
				half := make([]uint16, from.step*(1+r.IntN((len(v)-at)/from.step)))
				from.half(half, at)
				for j, x := range half {
					if y := gpu.ToBF16(want[at+j]); x != y {
						t.Fatalf("%s: element %d of %v in bf16 is %#x, not %#x", variants[i].name, at+j, d, x, y)
					}
				}
			}
		}
	}
}
