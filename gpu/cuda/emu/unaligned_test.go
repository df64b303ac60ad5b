//go:build cudaemu

package emu

import (
	"bytes"
	"fmt"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
)

// Views begin at any element, so that what kernels read 16 bytes at a time they also read one by one. Values are small
// whole numbers, whose sums are exact in any order: the bits are the same wherever operands begin.
func TestOperandsBeginAnywhere(t *testing.T) {
	f := func(n ...int) gpu.Type { return gpu.Type{Shape: n, DType: gpu.F32} }
	h := func(n ...int) gpu.Type { return gpu.Type{Shape: n, DType: gpu.BF16} }
	i := func(n ...int) gpu.Type { return gpu.Type{Shape: n, DType: gpu.I32} }
	codes := func(d gpu.DType, n ...int) gpu.Type { return gpu.Type{Shape: n, DType: d} } // they begin where they did
	one, hyper, adam := f(1), f(gpu.HyperLen), gpu.Attrs{Beta1: 0.5, Beta2: 0.5, Eps: 1, WeightDecay: 0.25}
	eps, ema := gpu.Attrs{Eps: 1e-5}, gpu.Attrs{Beta1: 0.5}
	for _, c := range []struct {
		kernel string
		attrs  gpu.Attrs
		in     []gpu.Type
	}{
		{"adamw", adam, []gpu.Type{f(4999), f(4999), f(4999), f(4999), one, hyper}},
		{"adamw_master", adam, []gpu.Type{h(4999), h(4999), f(4999), f(4999), f(4999), one, hyper}},
		{"adamw_stochastic", adam, []gpu.Type{h(4999), f(4999), f(4999), f(4999), one, hyper}},
		{"ema", ema, []gpu.Type{f(999), h(999), one}},
		{"adamw_narrow", adam, []gpu.Type{h(4996), f(4996), codes(gpu.Dynamic8, 4996), codes(gpu.UDynamic8, 4996), one, hyper}},
		{"adamw_narrow_master", adam, []gpu.Type{h(4996), h(4996), f(4996), h(4996), h(4996), one, hyper}},
		{"ema_narrow", gpu.Attrs{Beta1: 0.5, Beta2: 1}, []gpu.Type{codes(gpu.Linear8, 996), h(996), one, hyper}},
		{"adam_narrow", gpu.Attrs{Beta1: 0.5, Beta2: 0.5, Eps: 1},
			[]gpu.Type{f(4996), codes(gpu.Dynamic8, 4996), codes(gpu.UDynamic8, 4996), one, hyper}},
		{"sgdw", gpu.Attrs{Alpha: 0.5, WeightDecay: 0.25}, []gpu.Type{f(999), f(999), one, hyper}},
		{"sum_squares", gpu.Attrs{}, []gpu.Type{h(17001), f(17001), f(3)}},
		{"rmsnorm", eps, []gpu.Type{h(5, 256), h(256)}},
		{"rmsnorm", eps, []gpu.Type{f(5, 1024), f(1024)}},
		{"rmsnorm_grad_x", gpu.Attrs{}, []gpu.Type{h(5, 256), h(5, 256), h(256), f(5), h(5, 256)}},
		{"rmsnorm_grad_w", gpu.Attrs{}, []gpu.Type{h(70, 264), h(70, 264), f(70), f(264)}},
		// Slots and kept rows are beyond those that there are: the last slot, which is full.
		{"attention_cached", gpu.Attrs{Heads: 4, KVHeads: 2}, []gpu.Type{h(2, 3, 64), h(2, 3, 32), h(2, 3, 32), h(2, 40, 32),
			h(2, 40, 32), i(2), i(2)}},
		{"sum_rows", gpu.Attrs{}, []gpu.Type{f(70, 132), f(132)}},
	} {
		t.Run(fmt.Sprintf("%s/%v", c.kernel, c.in[0]), func(t *testing.T) {
			if !bytes.Equal(begunAt(t, 0, c.kernel, c.attrs, c.in), begunAt(t, 1, c.kernel, c.attrs, c.in)) {
				t.Error("operands that begin one element later give other bits")
			}
		})
	}
}

// begunAt gives the outputs of a launch whose operands begin at an element of aligned memory.
func begunAt(t *testing.T, element int64, kernel string, a gpu.Attrs, in []gpu.Type) (outputs []byte) {
	k := gpu.Lookup(kernel)
	out, err := k.Infer(a, in)
	must(t, err)
	p := &gpu.Program{Segments: []gpu.Segment{{Name: "case", Hi: 1}}}
	place := func(x gpu.Type) gpu.Operand {
		o := gpu.Operand{Offset: p.ArenaBytes + element*x.DType.Size(), Type: x}
		p.ArenaBytes = gpu.Align(o.Offset+o.Span(), cuda.Alignment)
		return o
	}
	l := gpu.Launch{Kernel: kernel, Attrs: a}
	for _, x := range in {
		l.In = append(l.In, place(x))
	}
	for _, x := range out {
		l.Out = append(l.Out, place(x))
	}
	scratch := int(k.ScratchOn(gpu.Caps{}, a, in, out)) / 4
	l.Scratch = place(gpu.Type{Shape: gpu.Shape{scratch}, DType: gpu.F32})
	p.Launches = []gpu.Launch{l}
	d := open(t, Ascending)
	defer d.Close()
	run, err := d.Load(p)
	must(t, err)
	defer run.Close()
	for _, o := range l.In {
		v := make([]float32, o.Type.Shape.Elems())
		for i := range v {
			v[i] = float32(1 + i%3)
		}
		must(t, run.CopyIn(o, o.Type.Encode(v)))
	}
	must(t, run.Run(0, 1, false))
	for _, o := range l.Out {
		b := make([]byte, o.Type.Bytes())
		must(t, run.CopyOut(b, o))
		outputs = append(outputs, b...)
	}
	return outputs
}
