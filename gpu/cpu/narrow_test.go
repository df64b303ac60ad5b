package cpu

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"

	"stepflow/gpu"
)

// BenchmarkNarrow is updates whose moments are narrow, of weights that no cache holds, beside the rate of a copy.
func BenchmarkNarrow(b *testing.B) {
	const rows, cols, copies = 256, 2048, 16
	for _, threads := range slices.Compact([]int{1, runtime.GOMAXPROCS(0)}) {
		d := open(b, threads, "")
		of := func(t gpu.DType) gpu.Type { return gpu.Type{Shape: gpu.Shape{rows, cols}, DType: t} }
		scalars := []gpu.Type{{Shape: gpu.Shape{1}, DType: gpu.F32}, {Shape: gpu.Shape{gpu.HyperLen}, DType: gpu.F32}}
		f, h := of(gpu.F32), of(gpu.BF16)
		adam := gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}
		for _, c := range []struct {
			name, kernel string
			attrs        gpu.Attrs
			in           []gpu.Type
		}{
			{"fp32", "adamw", adam, []gpu.Type{f, f, f, f}},
			{"fp32/master", "adamw_master", adam, []gpu.Type{h, h, f, f, f}},
			{"fp32/stochastic", "adamw_stochastic", adam, []gpu.Type{h, h, f, f}},
			{"int8", "adamw_narrow", adam, []gpu.Type{f, f, of(gpu.Dynamic8), of(gpu.UDynamic8)}},
			{"int8/master", "adamw_narrow_master", adam, []gpu.Type{h, h, f, of(gpu.Dynamic8), of(gpu.UDynamic8)}},
			{"int8/stochastic", "adamw_narrow", adam, []gpu.Type{h, h, of(gpu.Dynamic8), of(gpu.UDynamic8)}},
			{"bf16", "adamw_narrow", adam, []gpu.Type{f, f, h, h}},
			{"bf16/master", "adamw_narrow_master", adam, []gpu.Type{h, h, f, h, h}},
			{"bf16/stochastic", "adamw_narrow", adam, []gpu.Type{h, h, h, h}},
			{"muon/fp32", "ema", gpu.Attrs{Beta1: 0.95}, []gpu.Type{f, h}},
			{"muon/int8", "ema_narrow", gpu.Attrs{Beta1: 0.95, Beta2: 0.95}, []gpu.Type{of(gpu.Linear8), h}},
			{"muon/bf16", "ema_narrow", gpu.Attrs{Beta1: 0.95, Beta2: 0.95}, []gpu.Type{h, h}},
		} {
			b.Run(fmt.Sprintf("%s/threads=%d", c.name, threads), func(b *testing.B) {
				in := append(c.in, scalars...)
				if c.kernel == "ema" {
					in = in[:3]
				}
				p := &gpu.Program{}
				place := func(t gpu.Type) gpu.Operand {
					o := gpu.Operand{Offset: p.ArenaBytes, Type: t}
					p.ArenaBytes += gpu.Align(o.Span(), Alignment)
					return o
				}
				k := gpu.Lookup(c.kernel)
				out, err := k.Infer(c.attrs, in)
				if err != nil {
					b.Fatal(err)
				}
				for range copies {
					x := gpu.Launch{Kernel: c.kernel, Attrs: c.attrs, Bytes: gpu.Bytes(in, out)}
					for _, t := range in {
						x.In = append(x.In, place(t))
					}
					for i, t := range out {
						if len(k.InPlace) <= i {
							x.Out = append(x.Out, place(t))
							continue
						}
						x.Out = append(x.Out, x.In[k.InPlace[i][1]])
					}
					p.Launches = append(p.Launches, x)
				}
				l, err := d.Load(p)
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				v := make([]float32, rows*cols)
				for i := range v {
					v[i] = float32(math.Abs(math.Sin(float64(i)))) + 0.01
				}
				for _, x := range p.Launches {
					for _, o := range x.In {
						if err := l.CopyIn(o, o.Type.Encode(v[:o.Type.Shape.Elems()])); err != nil {
							b.Fatal(err)
						}
					}
				}
				besideCopy(b, d, l, p, rows*cols)
			})
		}
	}
}
