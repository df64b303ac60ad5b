package cpu

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
)

// result runs a launch on inputs, contiguous, and gives the bytes of its outputs.
func result(t *testing.T, d *Device, c gputest.Case, in [][]byte) (out [][]byte) {
	t.Helper()
	p, err := gputest.Program(c, d.Caps(), nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.Load(p)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i, b := range in {
		if err := l.CopyIn(p.Launches[0].In[i], b); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Run(0, 1, false); err != nil {
		t.Fatal(err)
	}
	for _, o := range p.Launches[0].Out {
		b := make([]byte, o.Type.Bytes())
		if err := l.CopyOut(b, o); err != nil {
			t.Fatal(err)
		}
		out = append(out, b)
	}
	return out
}

// encoded is the inputs of a case.
func encoded(c gputest.Case) (in [][]byte) {
	for i, v := range gputest.Inputs(c, 11) {
		in = append(in, gputest.Encode(v, c.In[i]))
	}
	return in
}

// onVariants calls f for each instruction set and element type.
func onVariants(t *testing.T, f func(t *testing.T, d *Device, dtype gpu.DType)) {
	for _, v := range Variants() {
		for _, dtype := range dtypes {
			t.Run(fmt.Sprintf("%s/%v", v, dtype), func(t *testing.T) { f(t, open(t, 2, v), dtype) })
		}
	}
}

// TestRowsAlone: what a forward pass computes of a token has the same bits however many tokens there are.
func TestRowsAlone(t *testing.T) {
	const most = 61
	onVariants(t, func(t *testing.T, d *Device, dtype gpu.DType) {
		of := func(s ...int) gpu.Type { return gpu.Type{Shape: s, DType: dtype} }
		i32 := func(s ...int) gpu.Type { return gpu.Type{Shape: s, DType: gpu.I32} }
		nt := gpu.Attrs{TransB: true, Alpha: 1}
		cases := []gputest.Case{}
		for _, s := range [][2]int{{3, 5}, {172, 64}, {40, 769}, {48, 2049}} { // columns, and terms of a sum: of one block, and of more
			n, k := s[0], s[1]
			cases = append(cases,
				gputest.Case{Kernel: "matmul", Attrs: nt, In: []gpu.Type{of(most, k), of(n, k)}},
				gputest.Case{Kernel: "matmul", Attrs: gpu.Attrs{Alpha: 1}, In: []gpu.Type{of(most, k), of(k, n)}},
				gputest.Case{Kernel: "matmul", Attrs: nt, In: []gpu.Type{of(most, k), of(n, k), of(most, n)}})
			for _, d := range []gpu.DType{gpu.NF4, gpu.RowInt8} {
				cases = append(cases, gputest.Case{Kernel: "matmul", Attrs: nt,
					In: []gpu.Type{of(most, k), {Shape: gpu.Shape{n, k}, DType: d}}})
			}
			// A product of few columns or of long rows is activated in one piece, as swiglu is.
			if n == 172 || n == 48 {
				cases = append(cases, gputest.Case{Kernel: "matmul_swiglu", Attrs: nt,
					In: []gpu.Type{of(most, k), of(n, k), of(most, n)}})
			}
		}
		// Elements past the last whole vector of a tensor are computed by other instructions.
		cases = append(cases, gputest.Case{Kernel: "swiglu", In: []gpu.Type{of(most, 48), of(most, 48)}})
		for _, n := range []int{1, 40, 172} {
			cases = append(cases,
				gputest.Case{Kernel: "add", In: []gpu.Type{of(most, n), of(most, n)}},
				gputest.Case{Kernel: "bias_add", In: []gpu.Type{of(most, n), of(n)}},
				gputest.Case{Kernel: "embedding", In: []gpu.Type{i32(most), of(9, n)}, Ints: [2]int{0, 9}},
				gputest.Case{Kernel: "rmsnorm", Attrs: gpu.Attrs{Eps: 1e-5}, In: []gpu.Type{of(most, n), of(n)}},
				gputest.Case{Kernel: "linear_score", Attrs: gpu.Attrs{Chunk: 24},
					In: []gpu.Type{of(most, n), of(300, n), i32(most)}, Ints: [2]int{-1, 300}})
		}
		for _, c := range cases {
			in := encoded(c)
			want := result(t, d, c, in)
			for _, rows := range []int{1, 2, 7, 8, 14, 15} {
				few, part := c, slices.Clone(in)
				few.In = slices.Clone(c.In)
				for i, x := range c.In {
					if x.Shape[0] == most {
						few.In[i] = gpu.Type{Shape: append(gpu.Shape{rows}, x.Shape[1:]...), DType: x.DType}
						part[i] = in[i][:few.In[i].Bytes()]
					}
				}
				for o, got := range result(t, d, few, part) {
					if !bytes.Equal(got, want[o][:len(got)]) {
						t.Errorf("%v: %d rows have other bits than among %d", c, rows, most)
					}
				}
			}
		}
	})
}

// TestScoresAreLosses: a score has the bits of the loss, whatever the number of rows of logits in memory.
func TestScoresAreLosses(t *testing.T) {
	onVariants(t, func(t *testing.T, d *Device, dtype gpu.DType) {
		c := gputest.Case{Kernel: "linear_cross_entropy", Attrs: gpu.Attrs{Chunk: 32}, In: []gpu.Type{
			{Shape: gpu.Shape{70, 48}, DType: dtype}, {Shape: gpu.Shape{301, 48}, DType: dtype},
			{Shape: gpu.Shape{70}, DType: gpu.I32}}, Ints: [2]int{-1, 301}}
		in := encoded(c)
		want := result(t, d, c, in)[0]
		c.Kernel = "linear_score"
		for _, chunk := range []int{1, 7, 32, 1000} {
			c.Attrs.Chunk = chunk
			if !bytes.Equal(result(t, d, c, in)[0], want) {
				t.Errorf("in chunks of %d rows, scores have other bits than losses", chunk)
			}
		}
	})
}

// sequence is a whole one, of which attention is computed at once and, with a cache, in parts.
type sequence struct {
	heads, kvHeads, dim, tokens int
	dtype                       gpu.DType
	q, k, v, o                  []byte
}

// bytes of a token's queries, and of its keys.
func (s *sequence) widths() (q, kv int) {
	size := int(s.dtype.Size())
	return s.heads * s.dim * size, s.kvHeads * s.dim * size
}

func newSequence(t *testing.T, d *Device, dtype gpu.DType, heads, kvHeads, dim, tokens int) *sequence {
	q, kv := gpu.Shape{1, tokens, heads * dim}, gpu.Shape{1, tokens, kvHeads * dim}
	c := gputest.Case{Kernel: "attention", Attrs: gpu.Attrs{Heads: heads, KVHeads: kvHeads},
		In: []gpu.Type{{Shape: q, DType: dtype}, {Shape: kv, DType: dtype}, {Shape: kv, DType: dtype}}}
	in := encoded(c)
	return &sequence{heads, kvHeads, dim, tokens, dtype, in[0], in[1], in[2], result(t, d, c, in)[0]}
}

// part is a sequence of a batch: tokens [past, past+count) of the whole one, whose cache is in a slot.
type part struct{ past, count, slot int }

// check computes parts of the sequence side by side, padded to n tokens, over caches filled with other numbers beside
// what was kept, and compares them with what attention made of the whole.
func (s *sequence) check(t *testing.T, d *Device, n, slots, capacity int, parts ...part) {
	t.Helper()
	qw, kvw := s.widths()
	of := func(tokens ...int) gpu.Type {
		width := s.heads * s.dim
		if tokens[2] == kvw {
			width = s.kvHeads * s.dim
		}
		return gpu.Type{Shape: gpu.Shape{tokens[0], tokens[1], width}, DType: s.dtype}
	}
	each := gpu.Type{Shape: gpu.Shape{len(parts)}, DType: gpu.I32}
	q, kv, kept := of(len(parts), n, qw), of(len(parts), n, kvw), of(slots, capacity, kvw)
	c := gputest.Case{Kernel: "attention_cached", Attrs: gpu.Attrs{Heads: s.heads, KVHeads: s.kvHeads},
		In: []gpu.Type{q, kv, kv, kept, kept, each, each}, Values: map[int][]int{5: nil, 6: nil}}
	for _, p := range parts {
		c.Values[5], c.Values[6] = append(c.Values[5], p.slot), append(c.Values[6], p.past)
	}
	in := encoded(c)
	for b, p := range parts {
		for i, whole := range [][]byte{s.q, s.k, s.v} {
			w := len(whole) / s.tokens
			copy(in[i][b*n*w:], whole[p.past*w:(p.past+p.count)*w])
			if i > 0 {
				copy(in[i+2][p.slot*capacity*w:], whole[:p.past*w])
			}
		}
	}
	got := result(t, d, c, in)[0]
	for b, p := range parts {
		if !bytes.Equal(got[b*n*qw:][:p.count*qw], s.o[p.past*qw:][:p.count*qw]) {
			t.Errorf("%d heads of %d, %d of keys: tokens %d to %d of sequence %d of %d, padded to %d, over slot %d of %d of "+
				"capacity %d have other bits than from attention", s.heads, s.dim, s.kvHeads, p.past, p.past+p.count, b, len(parts), n,
				p.slot, slots, capacity)
		}
	}
}

// TestCachedAttention: a token has the bits that attention gives it, whether it is new alone or with others, whatever
// beside it and behind it, however large the cache is, with any number of threads.
func TestCachedAttention(t *testing.T) {
	onVariants(t, func(t *testing.T, d *Device, dtype gpu.DType) {
		for _, s := range [][4]int{{4, 2, 16, 90}, {3, 3, 7, 75}, {8, 1, 64, 70}} {
			whole := newSequence(t, d, dtype, s[0], s[1], s[2], s[3])
			for _, past := range []int{0, 1, 31, 32, 47, 64} {
				whole.check(t, d, 1, 1, past+1, part{past, 1, 0})
				whole.check(t, d, 40, 2, 100, part{past, 1, 1})
				whole.check(t, d, s[3]-past, 1, s[3], part{past, s[3] - past, 0})
				whole.check(t, d, s[3]-past+9, 3, 77, part{past, s[3] - past, 2}, part{past, 3, 2}, part{past, 1, 2})
			}
			whole.check(t, open(t, 7, d.variant.name), 20, 3, 70, part{64, 5, 1}, part{33, 20, 0}, part{0, 20, 2}, part{12, 1, 0})
		}
	})
}
