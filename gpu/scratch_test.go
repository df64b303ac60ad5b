package gpu

import "testing"

// A device with a workspace has room for fp32 sums of what several products add up in bf16, and for nothing else.
func TestScratchOfAChunkedLoss(t *testing.T) {
	const rows, vocab, hidden = 100, 37, 8
	cuda := Caps{Alignment: 256, Workspace: 1 << 10}
	bf16 := func(s ...int) Type { return Type{Shape: s, DType: BF16} }
	fp32 := func(s ...int) Type { return Type{Shape: s, DType: F32} }
	targets := Type{Shape: Shape{rows}, DType: I32}
	half := []Type{fp32(rows), bf16(rows, hidden), bf16(vocab, hidden), targets}
	full := []Type{fp32(rows), fp32(rows, hidden), fp32(vocab, hidden), targets}
	for _, x := range []struct {
		name  string
		caps  Caps
		attrs Attrs
		in    []Type
		sums  int64
	}{
		{"bf16", cuda, Attrs{Chunk: 16}, half, 4 * vocab * hidden},
		{"one chunk", cuda, Attrs{Chunk: rows}, half, 0},
		{"frozen", cuda, Attrs{Chunk: 16, Frozen: true}, half, 0},
		{"fp32", cuda, Attrs{Chunk: 16}, full, 0},
		{"no workspace", Caps{}, Attrs{Chunk: 16}, half, 0},
	} {
		k := Lookup("linear_cross_entropy_grad")
		out, err := k.Infer(x.attrs, x.in)
		if err != nil {
			t.Fatal(err)
		}
		logits := int64(4 * vocab * min(rows, x.attrs.Chunk))
		n := k.ScratchOn(x.caps, x.attrs, x.in, out)
		want := logits
		if x.caps.Workspace > 0 {
			want = Align(logits, 256) + Align(x.sums, 256) + x.caps.Workspace
		}
		if n != want {
			t.Errorf("%s: %d bytes of scratch, not %d", x.name, n, want)
		}
		if x.caps.Workspace == 0 {
			continue
		}
		l := Launch{Kernel: k.Name, Attrs: x.attrs, Scratch: Operand{Offset: 512, Type: fp32(int(n) / 4)}}
		for _, ty := range x.in {
			l.In = append(l.In, Operand{Type: ty})
		}
		for _, ty := range out {
			l.Out = append(l.Out, Operand{Type: ty})
		}
		if s := l.Sums(256); s.Span() != x.sums || x.sums > 0 && s.Offset != 512+Align(logits, 256) {
			t.Errorf("%s: sums of %d bytes at %d", x.name, s.Span(), s.Offset)
		}
		if w := l.Workspace(256); w.Span() != x.caps.Workspace || w.Offset+w.Span() != 512+n {
			t.Errorf("%s: a workspace of %d bytes at %d", x.name, w.Span(), w.Offset)
		}
	}
}

// A device with a workspace has room to sort the tokens of an embedding's gradient, and for two rows of sums a run.
func TestScratchOfAnEmbeddingGradient(t *testing.T) {
	const tokens, cols = 130, 5
	in := []Type{{Shape{1, tokens}, I32}, {Shape{1, tokens, cols}, BF16}}
	k := Lookup("embedding_grad")
	out, err := k.Infer(Attrs{Rows: 9}, in)
	if err != nil {
		t.Fatal(err)
	}
	if n := k.ScratchOn(Caps{Alignment: 256}, Attrs{Rows: 9}, in, out); n != 0 {
		t.Errorf("%d bytes without a workspace", n)
	}
	const keys, borders = 1280, 2 * 4 * 3 * cols // 1040 bytes, aligned; 3 runs of 64
	n := k.ScratchOn(Caps{Alignment: 256, Workspace: 1}, Attrs{Rows: 9}, in, out)
	if n != 2*keys+borders {
		t.Errorf("%d bytes, not %d", n, 2*keys+borders)
	}
	l := Launch{Kernel: k.Name, In: []Operand{{Type: in[0]}, {Type: in[1]}},
		Scratch: Operand{Offset: 512, Type: Type{Shape{int(n / 4)}, F32}}}
	pieces, order, sums := l.Runs(256)
	if pieces.Offset != 512 || order.Offset != 512+keys || sums.Offset != 512+2*keys || sums.Span() != borders {
		t.Errorf("parts at %d, %d and %d, the last of %d bytes", pieces.Offset, order.Offset, sums.Offset, sums.Span())
	}
}
