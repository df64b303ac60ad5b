package gputest

import (
	"math"
	"testing"

	"stepflow/gpu"
)

// heads are the query heads, the key-value heads, and the channels of a head.
type heads struct{ n, kv, d int }

// caches lists the kernels that read and write caches of keys and values.
func caches() (list []Case) {
	for _, c := range []struct {
		heads
		n               int
		slot, past      []int // of each sequence
		slots, capacity int
	}{
		{heads{1, 1, 2}, 1, []int{0}, []int{0}, 1, 1},
		{heads{2, 1, 4}, 1, []int{0}, []int{5}, 1, 5},                        // full
		{heads{4, 2, 6}, 5, []int{1, 0, 1}, []int{67, 0, 33}, 2, 67},         // two sequences go on from one context
		{heads{4, 4, 16}, 1, []int{2, 2, 2, 0}, []int{77, 77, 13, 1}, 3, 80}, // so do three, from places of their own
		{heads{3, 3, 7}, 9, []int{0, 2}, []int{130, 1}, 3, 130},
		{heads{6, 2, 32}, 20, []int{1}, []int{64}, 2, 64},
		{heads{2, 2, 4}, 3, []int{-3, 9}, []int{-1, 1000}, 2, 9}, // none of this is there
	} {
		list = append(list, cached(c.heads, c.n, c.slot, c.past, c.slots, c.capacity)...)
	}
	for _, width := range []int{1, 7, 64} {
		for _, n := range []int{1, 3} {
			x, cache, each := f32(4, n, width), f32(3, 6, width), i32(4)
			for _, counts := range [][]int{{1, 1, 1, 1}, {n, 2, 9, 0}} {
				// One behind the other in a slot; beyond the end; nowhere.
				c := Case{Kernel: "cache_write", In: ops(x, cache, each, each, each),
					Values: map[int][]int{2: {0, 0, 2, 7}, 3: {0, 3, 4, 100}, 4: counts}}
				strided := c
				strided.Stride = []int{width + 3, 0, 0, 0, 0}
				list = append(list, c, strided)
			}
		}
	}
	return list
}

// cached lists attention of n new tokens of sequences that go on from past tokens of a slot.
func cached(h heads, n int, slot, past []int, slots, capacity int) (list []Case) {
	batch := len(slot)
	q, kv := f32(batch, n, h.n*h.d), f32(batch, n, h.kv*h.d)
	kept, each := f32(slots, capacity, h.kv*h.d), i32(batch)
	c := Case{Kernel: "attention_cached", Attrs: gpu.Attrs{Heads: h.n, KVHeads: h.kv},
		In: ops(q, kv, kv, kept, kept, each, each), Values: map[int][]int{5: slot, 6: past}, Tol: 3e-6}
	strided, w := c, (h.n+2*h.kv)*h.d // of a row of q, k and v together
	strided.Stride, strided.OutStride = []int{w, w, w + 1, 0, 0, 0, 0}, w
	large := c // of scores that grow far from one part of the cache to the next
	large.Large, large.Tol = []int{0}, 1e-4
	return append(list, c, strided, large)
}

// ties holds a device to the greedy choice among equal logits: the first.
func ties(t *testing.T, open func() gpu.Device) {
	const vocab, hidden = 41, 8
	d := open()
	defer d.Close()
	for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
		c := Case{Kernel: "linear_score", Attrs: gpu.Attrs{Chunk: 4, Cols: vocab - 1}, In: ops(
			gpu.Type{Shape: gpu.Shape{1, 5, hidden}, DType: dtype}, gpu.Type{Shape: gpu.Shape{vocab, hidden}, DType: dtype},
			i32(1, 5))}
		p, err := Program(c, d.Caps(), nil)
		check(t, err)
		l, err := d.Load(p)
		check(t, err)
		h, w := make([]float32, 5*hidden), make([]float32, vocab*hidden)
		for i := range h {
			h[i] = 1
		}
		for _, best := range []int{7, 21, vocab - 2, vocab - 1} { // the last does not count
			for i := range hidden {
				w[best*hidden+i] = 0.25
			}
		}
		in, out := p.Launches[0].In, p.Launches[0].Out
		check(t, l.CopyIn(in[0], gpu.Float32Bytes(h, dtype)))
		check(t, l.CopyIn(in[1], gpu.Float32Bytes(w, dtype)))
		check(t, l.CopyIn(in[2], gpu.Int32Bytes([]int32{7, 21, vocab - 2, 0, -1})))
		check(t, l.Run(0, 1, false))
		read := func(o gpu.Operand) []float32 {
			b := make([]byte, o.Type.Bytes())
			check(t, l.CopyOut(b, o))
			return gpu.BytesFloat32(b, gpu.F32)
		}
		lse := math.Log(3*math.Exp(2) + vocab - 4)
		for r, want := range []struct{ nll, greedy float64 }{{lse - 2, 1}, {lse - 2, 0}, {lse - 2, 0}, {lse, 0}, {0, 0}} {
			nll, greedy := read(out[0])[r], read(out[1])[r]
			if math.Abs(float64(nll)-want.nll) > 1e-5 || float64(greedy) != want.greedy {
				t.Errorf("%v: row %d has nll %g and greedy %g, not %g and %g", dtype, r, nll, greedy, want.nll, want.greedy)
			}
		}
		l.Close()
	}
}
