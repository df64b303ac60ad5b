package cpu

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"stepflow/gpu"
)

// loadLaunches loads a program of equal launches, each with positive operands of its own, which it changes where they are.
func loadLaunches(t testing.TB, d *Device, kernel string, attrs gpu.Attrs, in []gpu.Type, copies int) (gpu.Loaded, *gpu.Program) {
	t.Helper()
	p := &gpu.Program{}
	place := func(t gpu.Type) gpu.Operand {
		o := gpu.Operand{Offset: p.ArenaBytes, Type: t}
		p.ArenaBytes += gpu.Align(o.Span(), Alignment)
		return o
	}
	k := gpu.Lookup(kernel)
	out, err := k.Infer(attrs, in)
	if err != nil {
		t.Fatal(err)
	}
	for range copies {
		x := gpu.Launch{Kernel: kernel, Attrs: attrs, Bytes: gpu.Bytes(in, out)}
		for _, t := range in {
			x.In = append(x.In, place(t))
		}
		for i, t := range out {
			if at := slices.IndexFunc(k.InPlace, func(pair [2]int) bool { return pair[0] == i }); at >= 0 {
				x.Out = append(x.Out, x.In[k.InPlace[at][1]])
			} else {
				x.Out = append(x.Out, place(t))
			}
		}
		if n := k.ScratchOn(d.Caps(), attrs, in, out); n > 0 {
			x.Scratch = place(gpu.Type{Shape: gpu.Shape{int(n+3) / 4}, DType: gpu.F32})
		}
		p.Launches = append(p.Launches, x)
	}
	l, err := d.Load(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	for i, x := range p.Launches {
		for j, o := range x.In {
			v := make([]float32, o.Type.Shape.Elems())
			for n := range v {
				v[n] = float32(math.Abs(math.Sin(float64(n*(i+1)+j)))) + 0.01
			}
			if err := l.CopyIn(o, o.Type.Encode(v)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return l, p
}

// TestNarrowStep: where a variant updates in one pass, the bits are those of one loop after the other, of whole blocks and of
// what is left over.
func TestNarrowStep(t *testing.T) {
	if variants[0].step == nil {
		t.Skip("no variant here has such a pass")
	}
	for _, elems := range []int{64, 200, 320, 1 << 15, 1<<15 + 1088} {
		of := func(d gpu.DType) gpu.Type { return gpu.Type{Shape: gpu.Shape{elems}, DType: d} }
		in := []gpu.Type{of(gpu.BF16), of(gpu.BF16), of(gpu.Dynamic8), of(gpu.UDynamic8), {Shape: gpu.Shape{1}, DType: gpu.F32},
			{Shape: gpu.Shape{gpu.HyperLen}, DType: gpu.F32}}
		var results [2][]byte
		for i := range results {
			d := open(t, 2, "")
			if i == 1 {
				v := *d.variant
				v.step = nil
				d.variant = &v
			}
			l, p := loadLaunches(t, d, "adamw_narrow", gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}, in, 1)
			for range 3 {
				if err := l.Run(0, 1, false); err != nil {
					t.Fatal(err)
				}
			}
			results[i] = copied(t, l, p)
		}
		if !bytes.Equal(results[0], results[1]) {
			t.Errorf("an update of %d elements in one pass has other bits", elems)
		}
	}
}
