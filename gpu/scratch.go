package gpu

// ScratchOn is the bytes of scratch a launch gets on a device: what the kernel needs, and behind it, each aligned, on a
// device with a workspace: where matrices are multiplied sums in fp32, a narrow operand widened, and the workspace, for
// embedding_grad the parts that Runs names.
func (k *Kernel) ScratchOn(c Caps, a Attrs, in, out []Type) int64 {
	n := k.scratch(a, in, out)
	switch {
	case c.Workspace == 0:
		return n
	case k.Products:
		return Sum(Align(n, c.Alignment), Align(k.sums(a, in, out), c.Alignment), Align(k.widened(a, in).Bytes(), c.Alignment),
			c.Workspace)
	case k.Name == "embedding_grad":
		keys, borders := runs(in)
		return Sum(Align(keys, c.Alignment), Align(keys, c.Alignment), borders)
	}
	return n
}

// RunTokens is how many tokens, in order of their ids, one partial sum of embedding_grad covers on a device with a
// workspace.
const RunTokens = 64

// runs is the bytes of the keys, 8 a token, by which embedding_grad sorts tokens, and of two rows of partial sums in
// fp32 for each run of tokens.
func runs(in []Type) (keys, borders int64) {
	tokens, cols := in[1].Shape.Rows(), in[1].Shape.Cols()
	return Product(8, int64(tokens)), Product(2*4, blocks(tokens, RunTokens), int64(cols))
}

// Runs is the parts of an embedding_grad's scratch on a device with a workspace: keys of tokens that are sorted in
// pieces, those in order, and the partial sums at the borders of runs.
func (l *Launch) Runs(alignment int64) (pieces, order, borders Operand) {
	keys, sums := runs(types(l.In))
	next := Align(keys, alignment)
	return l.part(0, keys), l.part(next, keys), l.part(2*next, sums)
}

// SumsInF32 reports whether the device adds up in fp32 what a launch makes piece by piece, and rounds once.
func (c Caps) SumsInF32() bool { return c.Workspace > 0 }

// sums is the bytes of an output that is added up in fp32 product by product. A library rounds what each product
// leaves to the type of its result, so sums of bf16 are kept beside it; 0 where there are none.
func (k *Kernel) sums(a Attrs, in, out []Type) int64 {
	if k.Name != "linear_cross_entropy_grad" || a.Frozen || out[2].DType == F32 || in[1].Shape.Rows() <= a.Chunk {
		return 0
	}
	return Product(4, int64(out[2].Shape.Elems()))
}

// Sums is the part of a launch's scratch in which a device with a workspace adds up an output in fp32; of zero bytes
// where it adds up none.
func (l *Launch) Sums(alignment int64) Operand {
	k := Lookup(l.Kernel)
	in, out := types(l.In), types(l.Out)
	return l.part(Align(k.scratch(l.Attrs, in, out), alignment), k.sums(l.Attrs, in, out))
}

// widened is the type of a product's right operand as a library takes it, where it is narrower than the left one; of
// zero bytes where it is as wide.
func (k *Kernel) widened(a Attrs, in []Type) Type {
	if k.Name != "matmul" && k.Name != "matmul_swiglu" || in[0].DType == in[1].DType {
		return Type{Shape{0}, in[0].DType}
	}
	_, cols, rows, _ := MatmulDims(a, in[0], in[1])
	if a.TransB {
		rows, cols = cols, rows
	}
	return Type{Shape{rows, cols}, in[0].DType}
}

// Widened is the part of a launch's scratch in which a device with a workspace widens a product's right operand; of zero
// bytes where that is as wide as the left one.
func (l *Launch) Widened(alignment int64) Operand {
	k := Lookup(l.Kernel)
	in, out := types(l.In), types(l.Out)
	t := k.widened(l.Attrs, in)
	o := l.part(Align(k.scratch(l.Attrs, in, out), alignment)+Align(k.sums(l.Attrs, in, out), alignment), t.Bytes())
	o.Type = t
	return o
}

// Workspace is the part of a launch's scratch that is the device's workspace; of zero bytes where there is none.
func (l *Launch) Workspace(alignment int64) Operand {
	k := Lookup(l.Kernel)
	in, out := types(l.In), types(l.Out)
	used := Align(k.scratch(l.Attrs, in, out), alignment) + Align(k.sums(l.Attrs, in, out), alignment) +
		Align(k.widened(l.Attrs, in).Bytes(), alignment)
	if !k.Products {
		return Operand{}
	}
	return l.part(used, l.Scratch.Type.Bytes()-used)
}

// part is n bytes of a launch's scratch from a place on; of zero bytes where there are none.
func (l *Launch) part(from, n int64) Operand {
	if n <= 0 {
		return Operand{}
	}
	return Operand{Offset: l.Scratch.Offset + from, Type: Type{Shape{int(n / 4)}, F32}}
}
