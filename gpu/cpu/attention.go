package cpu

import (
	"math"

	"stepflow/gpu"
)

// queryBlock is the number of queries whose scores are alive at a time: attention keeps
// [queryBlock, keys] scores a thread, never [seq, seq].
const queryBlock = 64

// heads gives the geometry of an attention launch.
type heads struct {
	batch, seq, n, kv, d int
	qw, kw               int // row widths of q and of k, v
	scale                float32
	seg                  []int32
}

func newHeads(l *loaded, x *gpu.Launch, q gpu.Operand, seg []gpu.Operand) *heads {
	s := q.Type.Shape
	h := &heads{batch: s[0], seq: s[1], n: x.Attrs.Heads, kv: x.Attrs.KVHeads, d: s[2] / x.Attrs.Heads, qw: s[2]}
	h.kw = h.d * h.kv
	h.scale = float32(1 / math.Sqrt(float64(h.d)))
	if len(seg) == 1 {
		h.seg = l.i32(seg[0])
	}
	return h
}

// scores is the worker's own i-th block of scores, kept between launches.
func (p *packs) scores(n, i int) []float32 {
	for len(p.room) <= i {
		p.room = append(p.room, nil)
	}
	if len(p.room[i]) < n {
		p.room[i] = make([]float32, n)
	}
	return p.room[i][:n]
}

// firstKey is the first key that queries from i on may see: the start of i's document.
func (h *heads) firstKey(b, i int) int {
	if h.seg == nil {
		return 0
	}
	row := h.seg[b*h.seq:]
	j := i
	for j > 0 && row[j-1] == row[i] {
		j--
	}
	return j
}

// A task is a block of queries of one head. Documents are contiguous runs of equal segment ids.
func bindAttention(d *Device, l *loaded, x *gpu.Launch) func() {
	h := newHeads(l, x, x.In[0], x.In[3:])
	q, k, v, o, lse := l.f32(x.In[0]), l.f32(x.In[1]), l.f32(x.In[2]), l.f32(x.Out[0]), l.f32(x.Out[1])
	blocks := blocksOf(h.seq, queryBlock)
	return func() {
		d.pool.each(h.batch*h.n*blocks, func(p *packs, t int) {
			b, head, i0 := t/(h.n*blocks), t/blocks%h.n, (blocks-1-t%blocks)*queryBlock
			rows := min(queryBlock, h.seq-i0)
			j0, j1 := h.firstKey(b, i0), i0+rows
			keys := j1 - j0
			s := p.scores(queryBlock*h.seq, 0)[:rows*keys]
			qo, ko := (b*h.seq+i0)*h.qw+head*h.d, (b*h.seq+j0)*h.kw+head*h.kv/h.n*h.d
			d.variant.gemm(p, rows, keys, h.d, h.scale, matrix{q[qo:], h.qw, false}, matrix{k[ko:], h.kw, true}, s, keys, false)
			first := j0
			for r := 0; r < rows; r++ {
				i := i0 + r
				if h.seg != nil && i > i0 && h.seg[b*h.seq+i] != h.seg[b*h.seq+i-1] {
					first = i
				}
				row := s[r*keys:][:keys]
				clear(row[:first-j0])
				clear(row[i-j0+1:])
				live := row[first-j0 : i-j0+1]
				most := maxOf(live)
				d.variant.exp(live, live, 1, -most)
				total := sum(live)
				inv := 1 / total
				for c := range live {
					live[c] *= inv
				}
				lse[(b*h.n+head)*h.seq+i] = most + float32(math.Log(float64(total)))
			}
			d.variant.gemm(p, rows, h.d, keys, 1, matrix{s, keys, false}, matrix{v[ko:], h.kw, false}, o[qo:], h.qw, false)
		})
	}
}

// The backward pass gives a task one key-value head of one sequence, so that dk and dv are summed
// by one goroutine in a fixed order: query heads, then blocks of queries.
func bindAttentionGrad(d *Device, l *loaded, x *gpu.Launch) func() {
	h := newHeads(l, x, x.In[1], x.In[6:])
	do, q, k, v, o, lse := l.f32(x.In[0]), l.f32(x.In[1]), l.f32(x.In[2]), l.f32(x.In[3]), l.f32(x.In[4]), l.f32(x.In[5])
	dq, dk, dv := l.f32(x.Out[0]), l.f32(x.Out[1]), l.f32(x.Out[2])
	group := h.n / h.kv
	return func() {
		d.pool.each(h.batch*h.kv, func(p *packs, t int) {
			b, kv := t/h.kv, t%h.kv
			base := b*h.seq*h.kw + kv*h.d
			for j := 0; j < h.seq; j++ {
				clear(dk[base+j*h.kw:][:h.d])
				clear(dv[base+j*h.kw:][:h.d])
			}
			for head := kv * group; head < (kv+1)*group; head++ {
				for i0 := 0; i0 < h.seq; i0 += queryBlock {
					rows := min(queryBlock, h.seq-i0)
					j0 := h.firstKey(b, i0)
					keys := i0 + rows - j0
					s, ds := p.scores(queryBlock*h.seq, 0)[:rows*keys], p.scores(queryBlock*h.seq, 1)[:rows*keys]
					qo, ko := (b*h.seq+i0)*h.qw+head*h.d, base+j0*h.kw
					km, vm := matrix{k[ko:], h.kw, false}, matrix{v[ko:], h.kw, false}
					qm, dom := matrix{q[qo:], h.qw, false}, matrix{do[qo:], h.qw, false}
					kt, vt := km, vm
					kt.trans, vt.trans = true, true
					d.variant.gemm(p, rows, keys, h.d, h.scale, qm, kt, s, keys, false)
					d.variant.gemm(p, rows, keys, h.d, 1, dom, vt, ds, keys, false)
					first := j0
					for r := 0; r < rows; r++ {
						i := i0 + r
						if h.seg != nil && i > i0 && h.seg[b*h.seq+i] != h.seg[b*h.seq+i-1] {
							first = i
						}
						delta := dot(do[qo+r*h.qw:][:h.d], o[qo+r*h.qw:][:h.d])
						z := lse[(b*h.n+head)*h.seq+i]
						pr, dr := s[r*keys:][:keys], ds[r*keys:][:keys]
						lo, hi := first-j0, i-j0+1
						clear(pr[:lo])
						clear(pr[hi:])
						clear(dr[:lo])
						clear(dr[hi:])
						d.variant.exp(pr[lo:hi], pr[lo:hi], 1, -z)
						for c := lo; c < hi; c++ {
							dr[c] = pr[c] * (dr[c] - delta) * h.scale
						}
					}
					sm, dsm := matrix{s, keys, true}, matrix{ds, keys, false}
					d.variant.gemm(p, keys, h.d, rows, 1, sm, dom, dv[ko:], h.kw, true)
					d.variant.gemm(p, rows, h.d, keys, 1, dsm, km, dq[qo:], h.qw, false)
					dsm.trans = true
					d.variant.gemm(p, keys, h.d, rows, 1, dsm, qm, dk[ko:], h.kw, true)
				}
			}
		})
	}
}
