package cpu

import (
	"math"

	"stepflow/gpu"
)

// Attention over a cache has rows of scores s[query, key], so that one query costs no more than it must. Each sum is
// made in the order in which attention makes it, key by key from the first: a query gets the same bits from either, and
// whatever its neighbours are, the tokens beside it, and where the cache ends.

// Rooms of a worker in attention over a cache.
const (
	cachedQ     = iota // queries, packed
	cachedKeys         // a panel of keys or values
	cachedS            // scores, then probabilities
	cachedPack         // probabilities, packed
	cachedHalf         // probabilities in bf16
	cachedRows         // rows that lie apart, one behind the other: queries, and the last values
	cachedOut          // the result
	cachedTotal        // sums of rows of probabilities
)

// cached is the geometry of a launch.
type cached struct {
	d               *Device
	n, heads, group int // new tokens of a sequence, heads, and of these those that share keys
	dim             int
	slots, capacity int
	queries         int // of a task
	scale           float32
	half            bool
	q, k, v, o      matrix
	kept            [2]matrix // keys and values
	slot, past      []int32
}

func bindAttentionCached(d *Device, l *loaded, x *gpu.Launch) func() {
	s, cache := x.In[0].Type.Shape, x.In[3].Type.Shape
	h := &cached{d: d, n: s[1], heads: x.Attrs.Heads, group: x.Attrs.Heads / x.Attrs.KVHeads, dim: s[2] / x.Attrs.Heads,
		slots: cache[0], capacity: cache[1], half: x.In[0].Type.DType == gpu.BF16,
		q: l.matrix(x.In[0], false), k: l.matrix(x.In[1], false), v: l.matrix(x.In[2], false), o: l.matrix(x.Out[0], false),
		kept: [2]matrix{l.matrix(x.In[3], false), l.matrix(x.In[4], false)},
		slot: l.i32(x.In[5]), past: l.i32(x.In[6])}
	h.scale = float32(1 / math.Sqrt(float64(h.dim)))
	h.queries = min(h.n, max(1, blockM/h.group))
	rows, keys := h.queries*h.group, roundUp(h.capacity+h.n, maxNR)
	for room, n := range []int{
		cachedQ: (rows + maxMR) * h.dim, cachedKeys: maxNR * max(keys, h.dim), cachedS: rows * keys,
		cachedPack: (rows + maxMR) * keys, cachedHalf: rows * keys / 2, cachedRows: max(rows, h.n+1) * h.dim,
		cachedOut: rows * h.dim, cachedTotal: rows} {
		d.reserve(room, n)
	}
	parts := blocksOf(h.n, h.queries)
	body := &loop{body: func(w *worker, t int) {
		h.task(w, t/parts/x.Attrs.KVHeads, t/parts%x.Attrs.KVHeads, t%parts*h.queries)
	}}
	return func() { d.pool.run(body, s[0]*x.Attrs.KVHeads*parts) }
}

// task is attention of the queries of sequence b from i0 on, of the heads that read one key-value head.
func (h *cached) task(w *worker, b, kv, i0 int) {
	n := min(h.queries, h.n-i0)
	rows, past := n*h.group, clamp(h.past[b], h.capacity)
	keys := past + i0 + n // that the last query sees
	y, room := h.d.variant.layout(rows, maxNR+1, h.half), &w.room
	first := clamp(h.slot[b], h.slots-1) * h.capacity
	keptK, keptV := h.kept[0].sub(first, kv*h.dim), h.kept[1].sub(first, kv*h.dim)
	newK, newV := h.k.sub(b*h.n, kv*h.dim), h.v.sub(b*h.n, kv*h.dim)

	queries := h.gather(room[cachedRows], rows)
	for i := range n {
		for g := range h.group {
			queries.row(i*h.group+g, h.dim).copy(h.q.sub(b*h.n+i0+i, (kv*h.group+g)*h.dim).row(0, h.dim))
		}
	}
	y.packA(w, room[cachedQ], queries, rows, h.dim)
	ld := roundUp(keys, maxNR)
	s := room[cachedS][:rows*ld]
	h.scores(w, y, rows, keptK, past, output{buffer: buffer{f: s}, ld: ld})
	h.scores(w, y, rows, newK, keys-past, output{buffer: buffer{f: s[past:]}, ld: ld})

	total := room[cachedTotal][:rows]
	for r := range rows {
		h.d.variant.softmax(s[r*ld:][:ld], past+i0+r/h.group+1)
	}
	sumRows(total, s, ld, keys)
	p := dense(buffer{f: s}, ld, false)
	if y.pairs {
		p = dense(buffer{h: halves(room[cachedHalf])[:rows*ld]}, ld, false)
		h.d.variant.narrow(p.h, s)
	}
	y.packA(w, room[cachedPack], p, rows, keys)

	// Pairs of values begin at the first one: the last one that was kept may have a new one beside it.
	even := past &^ 1
	last := h.gather(room[cachedRows], keys-even)
	for j := range keys - even {
		if even+j < past {
			last.row(j, h.dim).copy(keptV.row(even+j, h.dim))
		} else {
			last.row(j, h.dim).copy(newV.row(even+j-past, h.dim))
		}
	}
	out := output{buffer: buffer{f: room[cachedOut]}, ld: h.dim}
	nr := y.tile.nr
	for c := 0; c < h.dim && !h.d.pool.stopped(); c += nr {
		cols, panel, rest := min(nr, h.dim-c), room[cachedKeys], y.steps(even)*nr
		if even > 0 {
			y.panel(w, panel[:rest], keptV.sub(0, c), even, cols, nr)
		}
		y.panel(w, panel[rest:][:y.steps(keys-even)*nr], last.sub(0, c), keys-even, cols, nr)
		y.multiply(w, rows, cols, keys, 1, room[cachedPack], panel, out.sub(0, c))
	}
	for r := range rows {
		x := out.f[r*h.dim:][:h.dim]
		h.d.variant.scale(x, x, 1/total[r])
		to := h.o.sub(b*h.n+i0+r/h.group, (kv*h.group+r%h.group)*h.dim)
		h.d.variant.leave(w, output{buffer: to.buffer}, 0, x)
	}
}

// scores multiplies the packed queries with keys, a panel of them at a time.
func (h *cached) scores(w *worker, y layout, rows int, keys matrix, n int, to output) {
	panel := w.room[cachedKeys]
	for j := 0; j < n && !h.d.pool.stopped(); j += y.tile.nr {
		cols := min(y.tile.nr, n-j)
		y.packB(w, panel, keys.sub(j, 0).t(), h.dim, cols)
		y.multiply(w, rows, cols, h.dim, h.scale, w.room[cachedQ], panel, to.sub(0, j))
	}
}

// gather is room for rows of a head, one behind the other.
func (h *cached) gather(room []float32, rows int) matrix {
	if h.half {
		return dense(buffer{h: halves(room)[:rows*h.dim]}, h.dim, false)
	}
	return dense(buffer{f: room[:rows*h.dim]}, h.dim, false)
}

// row is the first n elements of row r.
func (m matrix) row(r, n int) buffer { return m.buffer.sub(r*m.ld, r*m.ld+n) }

// softmax makes of the first n scores what they are to the largest, e to the difference, and of the others, 0. The
// length of s is a multiple of maxNR, of lanes on every processor: each score has the same bits wherever it stands.
func (v *variant) softmax(s []float32, n int) {
	whole := s[:roundUp(n, maxNR)]
	for i := n; i < len(whole); i++ {
		whole[i] = float32(math.Inf(-1))
	}
	v.expScale(whole, whole, -v.max(whole), 1)
	clear(s[len(whole):])
}

// sumRows adds up the first n elements of rows that begin ld apart, each in order. Rows are independent of each other, so
// several are under way.
func sumRows(total, s []float32, ld, n int) {
	r := 0
	for ; r+4 <= len(total); r += 4 {
		var a, b, c, d float32
		s0, s1, s2, s3 := s[r*ld:][:n], s[(r+1)*ld:][:n], s[(r+2)*ld:][:n], s[(r+3)*ld:][:n]
		for i, x := range s0 {
			a += x
			b += s1[i]
			c += s2[i]
			d += s3[i]
		}
		copy(total[r:], []float32{a, b, c, d})
	}
	for ; r < len(total); r++ {
		total[r] = 0
		for _, x := range s[r*ld:][:n] {
			total[r] += x
		}
	}
}
