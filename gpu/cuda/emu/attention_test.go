//go:build cudaemu

package emu

import (
	"bytes"
	"fmt"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
)

// Rows of q, k, v, o and their gradients that lie further apart than they are wide give the bits of contiguous ones.
func TestAttentionTakesStrides(t *testing.T) {
	const batch, seq, heads, kvHeads = 2, 70, 2, 1
	for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
		for _, d := range []int{6, 16, 40} {
			of := func(heads int) gpu.Type { return gpu.Type{Shape: gpu.Shape{batch, seq, heads * d}, DType: dtype} }
			q, kv := of(heads), of(kvHeads)
			lse := gpu.Type{Shape: gpu.Shape{batch, heads, seq}, DType: gpu.F32}
			attrs := gpu.Attrs{Heads: heads, KVHeads: kvHeads}
			for _, c := range []gputest.Case{
				{Kernel: "attention", Attrs: attrs, In: []gpu.Type{q, kv, kv}},
				{Kernel: "attention_grad", Attrs: attrs, In: []gpu.Type{q, q, kv, kv, q, lse}},
			} {
				t.Run(fmt.Sprint(c), func(t *testing.T) {
					contiguous := results(t, c, 0)
					for _, gap := range []int{1, 8, (heads + 2*kvHeads) * d} {
						for i, b := range results(t, c, gap) {
							if !bytes.Equal(b, contiguous[i]) {
								t.Errorf("output %d differs where rows are %d elements further apart", i, gap)
							}
						}
					}
				})
			}
		}
	}
}

// results runs a case whose operands of rank 3 have rows that begin gap elements further apart than they are wide, and
// gives its outputs, row by row.
func results(t *testing.T, c gputest.Case, gap int) (out [][]byte) {
	d := open(t, Ascending)
	defer d.Close()
	p, err := gputest.Program(c, d.Caps(), nil)
	must(t, err)
	l := &p.Launches[0]
	p.ArenaBytes = 0
	place := func(o *gpu.Operand) {
		if len(o.Type.Shape) == 3 && o.Type.DType == c.In[0].DType && o.Type.Shape.Rows() == c.In[0].Shape.Rows() {
			o.Stride = o.Type.Shape.Cols() + gap
		}
		o.Offset = p.ArenaBytes
		p.ArenaBytes += gpu.Align(o.Span()+64, 64)
	}
	for _, list := range [][]gpu.Operand{l.In, l.Out} {
		for i := range list {
			place(&list[i])
		}
	}
	place(&l.Scratch)
	loaded, err := d.Load(p)
	must(t, err)
	defer loaded.Close()
	rows := func(o gpu.Operand, f func(row gpu.Operand) []byte) (all []byte) {
		for r := range o.Type.Shape.Rows() {
			at := o.Offset + int64(r*o.RowStride())*o.Type.DType.Size()
			all = append(all, f(gpu.Operand{Offset: at,
				Type: gpu.Type{Shape: gpu.Shape{o.Type.Shape.Cols()}, DType: o.Type.DType}})...)
		}
		return all
	}
	for i, v := range gputest.Inputs(c, 1) {
		b := gputest.Encode(v, l.In[i].Type)
		rows(l.In[i], func(row gpu.Operand) []byte {
			must(t, loaded.CopyIn(row, b[:row.Type.Bytes()]))
			b = b[row.Type.Bytes():]
			return nil
		})
	}
	must(t, loaded.Run(0, 1, false))
	for _, o := range l.Out {
		out = append(out, rows(o, func(row gpu.Operand) []byte {
			b := make([]byte, row.Type.Bytes())
			must(t, loaded.CopyOut(b, row))
			return b
		}))
	}
	return out
}
