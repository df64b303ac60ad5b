package gputest

import (
	"fmt"
	"testing"

	"stepflow/gpu"
)

// RunWide tries the cases of Wide on the device that open gives, as [Run] does the small ones.
func RunWide(t *testing.T, open func() gpu.Device) {
	onEach(t, open, Wide(), func(t *testing.T, d gpu.Device, c Case) { try(t, d, gpu.Lookup(c.Kernel), c, nil) })
}

// onEach calls f for every case on a device of its own.
func onEach(t *testing.T, open func() gpu.Device, list []Case, f func(*testing.T, gpu.Device, Case)) {
	for _, c := range list {
		t.Run(fmt.Sprintf("%.150s", c), func(t *testing.T) {
			d := open()
			defer d.Close()
			f(t, d, c)
		})
	}
}

// Wide lists launches with the sizes that real models have and [Cases] has not: heads of up to 128 channels, rows and
// vocabularies longer than what a block of threads covers at once, losses of many chunks, updates of many tensors. In
// f32 and, where a kernel takes them, with bf16 operands.
func Wide() (list []Case) {
	for _, c := range wide() {
		list = append(list, c)
		if half, ok := c.bf16(); ok {
			list = append(list, half)
		}
	}
	return list
}

func wide() (list []Case) {
	for _, n := range [][2]int{{140, 5003}, {300, 1032}} {
		list = append(list, wideRows(n[0], n[1])...)
	}
	for _, s := range [][3]int{{130, 5003, 40}, {70, 32000, 8}, {5, 70004, 3}, {3, 40001, 3}} {
		list = append(list, wideLoss(s[0], s[1], s[2])...)
	}
	for _, ids := range [][2]int{{2, 3}, {0, 3}, {0, 4000}} { // one id, a few, nearly all different
		list = append(list, wideIDs(4500, 20, ids), wideIDs(130, 264, ids))
	}
	many, all := make([]gpu.Type, 300), make([]int, 300) // a model of 33 layers
	for i := range many {
		many[i], all[i] = f32(1), i
	}
	list = append(list, Case{Kernel: "clip", Attrs: gpu.Attrs{MaxNorm: 1}, In: many, Positive: all, Tol: 1e-6})
	for _, s := range [][5]int{{1, 150, 2, 1, 32}, {2, 150, 2, 1, 64}, {1, 150, 2, 1, 128}, {1, 70, 2, 2, 72},
		{1, 70, 2, 2, 96}} {
		list = append(list, wideHeads(s[0], s[1], s[2], s[3], s[4])...)
	}
	q := f32(1, 330, 32) // the largest score of a row grows far from one tile of keys to the next
	list = append(list, Case{Kernel: "attention", Attrs: gpu.Attrs{Heads: 2, KVHeads: 2}, In: []gpu.Type{q, q, q},
		Large: []int{0}, Tol: 1e-4})
	// Documents that end inside tiles of 64 and 128 rows and at their edges, longer than tiles, and of one token.
	for _, lengths := range [][]int{{400}, {64}, {128}, {1}, {127, 2, 1, 62, 65}, {90, 200}, {257, 1, 1}} {
		list = append(list, documents(1, 330, 2, 1, 16, lengths)...)
	}
	for _, d := range []int{64, 128} { // a cache of more rows than a block has threads
		list = append(list, cached(heads{4, 2, d}, 1, []int{1, 0, 1}, []int{300, 3, 257}, 2, 300)...)
	}
	list = append(list, cached(heads{2, 1, 96}, 5, []int{0, 0}, []int{200, 131}, 1, 333)...)
	for _, d := range []int{7, 24} { // rows that are not aligned, and padded ones
		list = append(list, documents(2, 131, 4, 2, d, []int{50, 1})...)
	}
	list = append(list, documents(2, 141, 2, 2, 64, []int{33, 64, 1})...)
	return append(list, documents(1, 200, 1, 1, 128, []int{70, 58, 9})...)
}

// wideRows lists the kernels that take a block of threads a row, or columns, of x [rows, cols].
func wideRows(rows, cols int) []Case {
	x, w, r, targets := f32(rows, cols), f32(cols), f32(rows), i32(rows)
	ids, dy, table := i32(1, rows), f32(1, rows, cols), f32(9, cols)
	return []Case{
		{Kernel: "bias_add", In: []gpu.Type{x, w}, Tol: 1e-7},
		{Kernel: "uniform_noise", Attrs: gpu.Attrs{Alpha: 0.5}, In: []gpu.Type{x, f32(2)}, Positive: []int{1}, Large: []int{1}, Tol: 1e-7},
		{Kernel: "sum_rows", In: []gpu.Type{x}, Tol: 2e-6},
		{Kernel: "rmsnorm", Attrs: gpu.Attrs{Eps: 1e-5}, In: []gpu.Type{x, w}, Tol: 2e-6},
		{Kernel: "rmsnorm_grad_x", In: []gpu.Type{x, x, w, r}, Tol: 3e-6},
		{Kernel: "rmsnorm_grad_w", In: []gpu.Type{x, x, r}, Tol: 3e-6},
		{Kernel: "cross_entropy", In: []gpu.Type{x, targets}, Ints: [2]int{-1, cols}, Tol: 1e-6},
		{Kernel: "cross_entropy_grad", In: []gpu.Type{r, x, targets, r}, Ints: [2]int{-1, cols}, Tol: 3e-6},
		{Kernel: "embedding", In: []gpu.Type{ids, table}, Ints: [2]int{0, 9}},
		{Kernel: "embedding_grad", In: []gpu.Type{ids, dy, table}, Ints: [2]int{0, 9}, Tol: 1e-6},
	}
}

// wideIDs is the gradient of a table of 4,000 rows by tokens whose ids are in a range.
func wideIDs(tokens, cols int, ids [2]int) Case {
	return Case{Kernel: "embedding_grad", In: []gpu.Type{i32(1, tokens), f32(1, tokens, cols), f32(4000, cols)},
		Ints: ids, Tol: 1e-6}
}

// wideLoss lists the loss of h [1, rows, hidden] over a vocabulary, in chunks of 16 rows.
func wideLoss(rows, vocab, hidden int) []Case {
	h, w, targets, dnll := f32(1, rows, hidden), f32(vocab, hidden), i32(1, rows), f32(1, rows)
	a, ids := gpu.Attrs{Chunk: 16}, [2]int{-1, vocab}
	return []Case{
		{Kernel: "linear_cross_entropy", Attrs: a, In: []gpu.Type{h, w, targets}, Ints: ids, Tol: 3e-6},
		{Kernel: "linear_cross_entropy_grad", Attrs: a, In: []gpu.Type{dnll, h, w, targets, w}, Ints: ids, Tol: 2e-5},
	}
}

// wideHeads lists attention and rotary embeddings of heads of d channels.
func wideHeads(batch, seq, heads, kvHeads, d int) []Case {
	a := gpu.Attrs{Heads: heads, KVHeads: kvHeads}
	q, kv, lse := f32(batch, seq, heads*d), f32(batch, seq, kvHeads*d), f32(batch, heads, seq)
	seg, table, last := i32(batch, seq), f32(seq, d/2), []int{5}
	grad := []gpu.Type{q, q, kv, kv, q, lse}
	w := (heads + 2*kvHeads) * d // of a row of q, k and v together
	return []Case{
		{Kernel: "rope", Attrs: gpu.Attrs{Heads: heads}, In: []gpu.Type{q, table, table}, Stride: []int{w, 0, 0},
			OutStride: w, Tol: 1e-6},
		{Kernel: "attention", Attrs: a, In: []gpu.Type{q, kv, kv, seg}, Stride: []int{w, w, w, 0}, Segments: true,
			Tol: 3e-6},
		{Kernel: "attention_grad", Attrs: a, In: grad, Stride: []int{0, w, w, w, 0, 0}, OutStride: w, Positive: last,
			Tol: 3e-6},
		{Kernel: "rope", Attrs: gpu.Attrs{Heads: heads}, In: []gpu.Type{q, table, table}, Tol: 1e-6},
		{Kernel: "attention", Attrs: a, In: []gpu.Type{q, kv, kv}, Tol: 3e-6},
		{Kernel: "attention", Attrs: a, In: []gpu.Type{q, kv, kv, seg}, Segments: true, Tol: 3e-6},
		{Kernel: "attention_grad", Attrs: a, In: grad, Positive: last, Tol: 3e-6},
		{Kernel: "attention_grad", Attrs: a, In: append(grad[:6:6], seg), Positive: last, Segments: true, Tol: 3e-6},
	}
}

// documents lists attention of heads of d channels over documents of some lengths.
func documents(batch, seq, heads, kvHeads, d int, lengths []int) []Case {
	a := gpu.Attrs{Heads: heads, KVHeads: kvHeads}
	q, kv, lse := f32(batch, seq, heads*d), f32(batch, seq, kvHeads*d), f32(batch, heads, seq)
	seg := i32(batch, seq)
	return []Case{
		{Kernel: "attention", Attrs: a, In: []gpu.Type{q, kv, kv, seg}, Segments: true, Documents: lengths, Tol: 3e-6},
		{Kernel: "attention_grad", Attrs: a, In: []gpu.Type{q, q, kv, kv, q, lse, seg}, Positive: []int{5},
			Segments: true, Documents: lengths, Tol: 3e-6},
	}
}

// RunPieces holds a device with a workspace to a gradient of the weight that is not rounded once a chunk: where it is,
// what is less than half a unit in the last place of bf16 is lost, here 1 % of the largest element.
func RunPieces(t *testing.T, open func() gpu.Device) {
	const rows, vocab, hidden = 512, 1009, 40
	h := gpu.Type{Shape: gpu.Shape{1, rows, hidden}, DType: gpu.BF16}
	w := gpu.Type{Shape: gpu.Shape{vocab, hidden}, DType: gpu.BF16}
	for _, acc := range [][]gpu.Type{nil, {w}, {f32(vocab, hidden)}} {
		c := Case{Kernel: "linear_cross_entropy_grad", Attrs: gpu.Attrs{Chunk: 4},
			In:   append([]gpu.Type{f32(1, rows), h, w, i32(1, rows)}, acc...),
			Ints: [2]int{-1, vocab}, Positive: []int{0, 1, 4},
			Tol: 1.0 / 128} // what softmax gives is rounded before the product
		onEach(t, open, []Case{c}, func(t *testing.T, d gpu.Device, c Case) {
			k := gpu.Lookup(c.Kernel)
			try(t, d, k, c, nil)
			if acc != nil {
				try(t, d, k, c, &[2]int{2, 4})
			}
		})
	}
}
