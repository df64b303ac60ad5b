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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
