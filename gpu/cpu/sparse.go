package cpu

import "stepflow/gpu"

// placeOf returns a function that finds where in the matrix of a launch an element lies, by its number. Only the columns that count
// are numbered.
func placeOf(x *gpu.Launch) func(n int32) int {
	ld := x.In[0].Type.Shape.Cols()
	cols := x.Attrs.Counted(ld)
	if cols == ld {
		return func(n int32) int { return int(n) }
	}
	return func(n int32) int { return int(n)/cols*ld + int(n)%cols }
}

// Inputs of scatter_add are x, at, v. The numbers in at are distinct, so no two tasks write to one element.
func bindScatterAdd(d *Device, l *loaded, x *gpu.Launch) func() {
	at, v, y, place := l.i32(x.In[1]), l.buffer(x.In[2]), l.buffer(x.Out[0]), placeOf(x)
	before := l.accumulator(x, 0, 0)
	add := d.inBlocks(len(at), func(_ *worker, lo, hi int) {
		for k := lo; k < hi; k++ {
			p := place(at[k])
			y.setAt(p, y.getAt(p)+v.getAt(k))
		}
	})
	return func() {
		before()
		add()
	}
}

// Inputs of gather are x, at and maybe acc.
func bindGather(d *Device, l *loaded, x *gpu.Launch) func() {
	from, at, y, place := l.buffer(x.In[0]), l.i32(x.In[1]), l.buffer(x.Out[0]), placeOf(x)
	var acc buffer
	if len(x.In) == 3 {
		acc = l.buffer(x.In[2])
	}
	return d.inBlocks(len(at), func(_ *worker, lo, hi int) {
		for k := lo; k < hi; k++ {
			s := from.getAt(place(at[k]))
			if acc.len() > 0 {
				s += acc.getAt(k)
			}
			y.setAt(k, s)
		}
	})
}

// getAt reads an element.
func (b buffer) getAt(i int) float32 {
	if b.h != nil {
		return gpu.FromBF16(b.h[i])
	}
	return b.f[i]
}

// setAt writes an element, rounded to the buffer's type.
func (b buffer) setAt(i int, x float32) {
	if b.h != nil {
		b.h[i] = gpu.ToBF16(x)
		return
	}
	b.f[i] = x
}
