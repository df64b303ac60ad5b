package cpu

import "stepflow/gpu"

// matmul splits the output into tiles, a few a thread, and computes each on one thread.
func (d *Device) matmul(m, n, k int, alpha float32, a, b matrix, c []float32, ldc int, add bool) {
	tm, tn := m, n
	for want := 3 * len(d.pool.packs); blocksOf(m, tm)*blocksOf(n, tn) < want; {
		if tm >= tn && tm > blockM {
			tm = roundUp((tm+1)/2, d.variant.mr)
		} else if tn > 2*maxNR {
			tn = roundUp((tn+1)/2, d.variant.nr)
		} else {
			break
		}
	}
	cols := blocksOf(n, tn)
	d.pool.each(blocksOf(m, tm)*cols, func(p *packs, t int) {
		i, j := t/cols*tm, t%cols*tn
		d.variant.gemm(p, min(tm, m-i), min(tn, n-j), k, alpha, a.sub(i, 0), b.sub(0, j), c[i*ldc+j:], ldc, add)
	})
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
