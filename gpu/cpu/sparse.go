package cpu

import "stepflow/gpu"

// placesOf returns where in a matrix with rows of ld elements those lie that are numbered in rows of cols.
func placesOf(x *gpu.Launch) func(n int32) int {
	ld := x.In[0].Type.Shape.Cols()
	cols := x.Attrs.Counted(ld)
	if cols == ld {
		return func(n int32) int { return int(n) }
	}
	return func(n int32) int { return int(n)/cols*ld + int(n)%cols }
}

// Inputs of scatter_add are x, at, v. A task's places ascend, and no other task has them.
func bindScatterAdd(d *Device, l *loaded, x *gpu.Launch) func() {
	at, v, y, place := l.i32(x.In[1]), l.buffer(x.In[2]), l.buffer(x.Out[0]), placesOf(x)
	before := l.accumulator(x, 0, 0)
	body := &loop{body: func(_ *worker, i int) {
		for k := i * gpu.SumBlock; k < min(len(at), (i+1)*gpu.SumBlock); k++ {
			p := place(at[k])
			y.setAt(p, y.getAt(p)+v.getAt(k))
		}
	}}
	return func() {
		before()
		d.pool.run(body, blocksOf(len(at), gpu.SumBlock))
	}
}

// Inputs of gather are x, at and maybe acc.
func bindGather(d *Device, l *loaded, x *gpu.Launch) func() {
	from, at, y, place := l.buffer(x.In[0]), l.i32(x.In[1]), l.buffer(x.Out[0]), placesOf(x)
	var acc buffer
	if len(x.In) == 3 {
		acc = l.buffer(x.In[2])
	}
	body := &loop{body: func(_ *worker, i int) {
		for k := i * gpu.SumBlock; k < min(len(at), (i+1)*gpu.SumBlock); k++ {
			s := from.getAt(place(at[k]))
			if acc.len() > 0 {
				s += acc.getAt(k)
			}
			y.setAt(k, s)
		}
	}}
	return func() { d.pool.run(body, blocksOf(len(at), gpu.SumBlock)) }
}

// getAt is one element.
func (b buffer) getAt(i int) float32 {
	if b.h != nil {
		return gpu.FromBF16(b.h[i])
	}
	return b.f[i]
}

// setAt rounds one element.
func (b buffer) setAt(i int, x float32) {
	if b.h != nil {
		b.h[i] = gpu.ToBF16(x)
		return
	}
	b.f[i] = x
}
