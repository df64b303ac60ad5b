package cpu

import "stepflow/gpu"

// narrow is the width of products, such as a LoRA's, for which half-width tiles waste less. Every tile
// adds up in the same order, so the choice changes no bits.
const narrow = 16

// small is the number of multiply-adds below which a product runs on one thread.
const small = 1 << 15

// matmul packs b once, in parallel, and shares out the rows of a, each block packed by the worker
// that multiplies it.
func (d *Device) matmul(m, n, k int, alpha float32, a, b matrix, c []float32, ldc int, add bool) {
	v := d.variant
	if n <= narrow && d.thin != nil {
		v = d.thin
	}
	if m*n*k < small || len(d.pool.packs) == 1 {
		v.gemm(d.pool.packs[0], m, n, k, alpha, a, b, c, ldc, add)
		return
	}
	rows := min(blockM/v.mr*v.mr, roundUp(blocksOf(m, 3*len(d.pool.packs)), v.mr))
	const group = 2 // panels packed at a time
	for jc := 0; jc < n; jc += blockN {
		nc := min(blockN, n-jc)
		for pc := 0; pc < k; pc += blockK {
			kc := min(blockK, k-pc)
			d.pool.each(blocksOf(nc, group*v.nr), func(_ *packs, t int) {
				j := t * group * v.nr
				packPanels(d.shared[j*kc:], b.sub(pc, jc+j), kc, min(group*v.nr, nc-j), v.nr, 1)
			})
			d.pool.each(blocksOf(m, rows), func(p *packs, t int) {
				i := t * rows
				v.block(p, min(rows, m-i), nc, kc, alpha, a.sub(i, pc), d.shared, c[i*ldc+jc:], ldc, add || pc > 0)
			})
		}
	}
}

func blocksOf(n, size int) int { return (n + size - 1) / size }

func roundUp(n, to int) int { return blocksOf(n, to) * to }

func bindMatmul(d *Device, l *loaded, x *gpu.Launch) func() {
	m, n, k, _ := gpu.MatmulDims(x.Attrs, x.In[0].Type, x.In[1].Type)
	a := matrix{l.f32(x.In[0]), x.In[0].RowStride(), x.Attrs.TransA}
	b := matrix{l.f32(x.In[1]), x.In[1].RowStride(), x.Attrs.TransB}
	c, ldc := l.f32(x.Out[0]), x.Out[0].RowStride()
	alpha := float32(x.Attrs.Alpha)
	if len(x.In) == 2 {
		return func() { d.matmul(m, n, k, alpha, a, b, c, ldc, false) }
	}
	add, ldadd := l.f32(x.In[2]), x.In[2].RowStride()
	shared := x.In[2].Offset == x.Out[0].Offset
	return func() {
		if !shared {
			d.pool.each(blocksOf(m, gpu.RowBlock), func(_ *packs, t int) {
				for r := t * gpu.RowBlock; r < min(m, (t+1)*gpu.RowBlock); r++ {
					copy(c[r*ldc:][:n], add[r*ldadd:][:n])
				}
			})
		}
		d.matmul(m, n, k, alpha, a, b, c, ldc, true)
	}
}
