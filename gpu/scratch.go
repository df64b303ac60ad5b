package gpu

// ScratchOn is the bytes of scratch a launch gets on a device: what the kernel needs, and behind it, each aligned,
// where matrices are multiplied on a device with a workspace: sums in fp32 and the workspace.
func (k *Kernel) ScratchOn(c Caps, a Attrs, in, out []Type) int64 {
	n := k.scratch(a, in, out)
	if k.Products && c.Workspace > 0 {
		return Sum(Align(n, c.Alignment), Align(k.sums(a, in, out), c.Alignment), c.Workspace)
	}
	return n
}

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

// Workspace is the part of a launch's scratch that is the device's workspace; of zero bytes where there is none.
func (l *Launch) Workspace(alignment int64) Operand {
	k := Lookup(l.Kernel)
	in, out := types(l.In), types(l.Out)
	used := Align(k.scratch(l.Attrs, in, out), alignment) + Align(k.sums(l.Attrs, in, out), alignment)
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
