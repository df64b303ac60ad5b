//go:build cudaemu

package emu

import (
	"bytes"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
)

// Tensors that are updated in one call round with the bits of their own seeds, as they do when each is updated alone.
func TestEveryTensorDrawsItsOwnBits(t *testing.T) {
	const n = 4096
	w := gpu.Type{Shape: gpu.Shape{n}, DType: gpu.BF16}
	moment, one := gpu.Type{Shape: gpu.Shape{n}, DType: gpu.F32}, gpu.Type{Shape: gpu.Shape{1}, DType: gpu.F32}
	p := &gpu.Program{}
	place := func(x gpu.Type) gpu.Operand {
		o := gpu.Operand{Offset: p.ArenaBytes, Type: x}
		p.ArenaBytes += gpu.Align(o.Span(), cuda.Alignment)
		return o
	}
	coef := place(one)
	attrs := gpu.Attrs{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}
	for range 2 {
		x, m, v := place(w), place(moment), place(moment)
		hyper := place(gpu.Type{Shape: gpu.Shape{gpu.HyperLen}, DType: gpu.F32})
		p.Launches = append(p.Launches, gpu.Launch{Kernel: "adamw_stochastic", Attrs: attrs,
			In: []gpu.Operand{x, place(w), m, v, coef, hyper}, Out: []gpu.Operand{x, m, v}})
	}
	p.Segments = []gpu.Segment{{Name: "update", Hi: len(p.Launches)}}
	d := open(t, Ascending)
	defer d.Close()
	update := func(timed bool) [2][]byte {
		l, err := d.Load(p)
		must(t, err)
		defer l.Close()
		ones := make([]float32, n)
		for i := range ones {
			ones[i] = 1
		}
		must(t, l.CopyIn(coef, gpu.Float32Bytes(ones[:1], gpu.F32)))
		for i, x := range p.Launches {
			must(t, l.CopyIn(x.In[0], gpu.Float32Bytes(ones, gpu.BF16)))
			must(t, l.CopyIn(x.In[3], gpu.Float32Bytes(ones, gpu.F32)))
			must(t, l.CopyIn(x.In[5], gpu.Float32Bytes([]float32{0.01, 1, 1, float32(1000 + i)}, gpu.F32)))
		}
		must(t, l.Run(0, 2, timed))
		var got [2][]byte
		for i, x := range p.Launches {
			got[i] = make([]byte, w.Bytes())
			must(t, l.CopyOut(got[i], x.Out[0]))
		}
		return got
	}
	fused, alone := update(false), update(true)
	if bytes.Equal(fused[0], fused[1]) {
		t.Error("two tensors of equal values and different seeds are rounded alike")
	}
	for i := range fused {
		if !bytes.Equal(fused[i], alone[i]) {
			t.Errorf("tensor %d is rounded differently in a call with others", i)
		}
	}
}

// Buffers that lie one after the other are cleared in one call, bytes of both types and of odd sizes, and nothing else is.
func TestNeighboursAreClearedTogether(t *testing.T) {
	types := []gpu.Type{{Shape: gpu.Shape{4097}, DType: gpu.F32}, {Shape: gpu.Shape{3}, DType: gpu.BF16},
		{Shape: gpu.Shape{128}, DType: gpu.BF16}, {Shape: gpu.Shape{33}, DType: gpu.BF16}}
	p := &gpu.Program{ArenaBytes: cuda.Alignment}
	for i, x := range types {
		if i == len(types)-1 {
			p.ArenaBytes += 2 * cuda.Alignment // the last lies apart
		}
		o := gpu.Operand{Offset: p.ArenaBytes, Type: x}
		p.Launches = append(p.Launches, gpu.Launch{Kernel: "zero", In: []gpu.Operand{o}, Out: []gpu.Operand{o}})
		p.ArenaBytes += gpu.Align(o.Span(), cuda.Alignment)
	}
	p.Segments = []gpu.Segment{{Name: "zero", Hi: len(types)}}
	driver := New()
	d, err := cuda.Open(driver)
	must(t, err)
	defer d.Close()
	l, err := d.Load(p)
	must(t, err)
	defer l.Close()
	whole := gpu.Operand{Type: gpu.Type{Shape: gpu.Shape{int(p.ArenaBytes / 4)}, DType: gpu.I32}}
	must(t, l.CopyIn(whole, bytes.Repeat([]byte{1}, int(p.ArenaBytes))))
	before := driver.Launches
	must(t, l.Run(0, len(types), false))
	if n := driver.Launches - before; n != 2 {
		t.Errorf("%d calls, not 2", n)
	}
	after := make([]byte, p.ArenaBytes)
	must(t, l.CopyOut(after, whole))
	for _, x := range p.Launches {
		o := x.Out[0]
		if i := bytes.IndexByte(after[o.Offset:o.Offset+o.Span()], 1); i >= 0 {
			t.Errorf("byte %d of %v is not cleared", i, o.Type)
		}
	}
	first, last := p.Launches[0].Out[0], p.Launches[len(types)-1].Out[0]
	for _, i := range []int64{first.Offset - 1, last.Offset - 1, last.Offset + last.Span()} {
		if after[i] != 1 {
			t.Errorf("byte %d, of no buffer, is cleared", i)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
