package cpu

import (
	"math"
	"unsafe"

	"stepflow/gpu"
)

// Attention runs over tiles of scores held transposed, sᵀ[key, query]: a block of queries is as wide
// as the micro-kernel's tile, so the scores that one product leaves are already the packed right
// operand of the next, and the softmax over keys works on whole registers, a query a lane. Memory
// is that of one block of queries a worker: O(seq).

// heads is the geometry of an attention launch.
type heads struct {
	d          *Device
	y          layout
	batch, seq int
	n, kv, dim int
	scale      float32
	seg        []int32
	keys       int // seq in whole rows of tiles
	dimA, dimB int // dim in whole tiles, as rows and as columns
}

func newHeads(d *Device, l *loaded, x *gpu.Launch, q gpu.Operand, seg []gpu.Operand) *heads {
	s := q.Type.Shape
	tiles := d.variant.tiles(q.Type.DType == gpu.BF16)
	// The tile of few rows: a head's channels and the keys round up to less.
	h := &heads{d: d, y: layout{d.variant, tiles.short, tiles == d.variant.pairs}, batch: s[0], seq: s[1],
		n: x.Attrs.Heads, kv: x.Attrs.KVHeads, dim: s[2] / x.Attrs.Heads}
	h.scale = float32(1 / math.Sqrt(float64(h.dim)))
	if len(seg) == 1 {
		h.seg = l.i32(seg[0])
	}
	h.keys, h.dimA, h.dimB = roundUp(h.seq, h.y.tile.mr), roundUp(h.dim, h.y.tile.mr), roundUp(h.dim, h.y.tile.nr)
	return h
}

// block is the queries [i0, i0+n) of a sequence and the keys [p0, i0+n) they may see; p0 starts a row
// of tiles. starts[c] is the first key of query c's document.
type block struct {
	i0, n, p0 int
	starts    [maxNR]int
}

func (h *heads) block(b, i0 int) (q block) {
	q.i0, q.n = i0, min(h.y.tile.nr, h.seq-i0)
	if h.seg != nil {
		row := h.seg[b*h.seq : (b+1)*h.seq]
		j := i0
		for j > 0 && row[j-1] == row[i0] {
			j--
		}
		for c := 0; c < q.n; c++ {
			if i := i0 + c; c > 0 && row[i] != row[i-1] {
				j = i
			}
			q.starts[c] = j
		}
	}
	q.p0 = q.starts[0] / h.y.tile.mr * h.y.tile.mr
	return q
}

// mask writes value where a query may not see a key: lanes before it on the diagonal, and lanes of
// documents that start after it.
func (q *block) mask(s []float32, nr int, value *[maxNR]float32) {
	for key := q.p0; key < q.starts[q.n-1]; key++ {
		c := q.n
		for c > 0 && q.starts[c-1] > key {
			c--
		}
		copy(s[(key-q.p0)*nr+c:(key-q.p0+1)*nr], value[:])
	}
	for t := 1; t < q.n; t++ {
		copy(s[(q.i0+t-q.p0)*nr:][:t], value[:])
	}
}

var zeros, lowest = func() (z, l [maxNR]float32) {
	for i := range l {
		l[i] = float32(math.Inf(-1))
	}
	return z, l
}()

// left multiplies packed a [m, depth] from column at on with one panel of k rows: c [m in whole tiles, nr].
func (h *heads) left(a []float32, m, depth, at, k int, panel, c []float32, alpha float32) {
	t, steps := h.y.tile, h.y.steps(depth)
	a = a[h.y.steps(at)*t.mr:]
	for i := 0; i < m; i += t.mr {
		t.at(h.y.steps(k), a[i*steps:], panel, c[i*t.nr:], t.nr, store, alpha)
	}
}

// rows adds packed a [m,k] times packed b [k, dim] to c [m, dimB].
func (h *heads) rows(m, k int, a, b, c []float32, alpha float32) {
	t, steps := h.y.tile, h.y.steps(k)
	for i := 0; i < m; i += t.mr {
		for j := 0; j < h.dim; j += t.nr {
			t.at(steps, a[i*steps:], b[j*steps:], c[i*h.dimB+j:], h.dimB, add, alpha)
		}
	}
}

// scores gives transposed scores as operands: the panel that is the right one of a product over
// keys, and the matrix [keys, queries] to pack as a left one. In f32 both are s itself; in pairs s
// is rounded into half first.
func (h *heads) scores(s, pairs, half []float32, keys int) (panel []float32, m matrix) {
	nr := h.y.tile.nr
	if !h.y.pairs {
		return s, dense(buffer{f: s}, nr, false)
	}
	to := halves(half)[:keys*nr]
	h.d.variant.narrow(to, s[:keys*nr])
	h.d.variant.pairPanel(keys, pairs, nr, to, nr, nr)
	return pairs, dense(buffer{h: to}, nr, false)
}

// put writes xᵀ, x [dim, nr], to n rows of one head of y.
func (h *heads) put(y matrix, r0, n, col int, x, room []float32) {
	nr := h.y.tile.nr
	to, ld := y.f, y.ld
	if y.h != nil {
		to, ld = room, h.dim
	} else {
		to = to[r0*y.ld+col:]
	}
	h.d.variant.transposeInto(to, ld, x, nr, n, h.dim)
	for r := 0; r < n && y.h != nil; r++ {
		h.d.variant.narrow(y.h[(r0+r)*y.ld+col:][:h.dim], room[r*h.dim:][:h.dim])
	}
}

// transposeInto writes y[l*ld+r] = x[r*width+l] for l < n, r < rows.
func (v *variant) transposeInto(y []float32, ld int, x []float32, width, n, rows int) {
	y = y[:(n-1)*ld+rows]
	for r := 0; r < rows; r += 16 {
		cols := min(16, rows-r)
		if v.transpose != nil {
			v.transpose(n, y[r:], ld, unsafe.Pointer(&x[r*width]), 4*width, cols, cols)
			continue
		}
		for l := 0; l < n; l++ {
			for c := 0; c < cols; c++ {
				y[l*ld+r+c] = x[(r+c)*width+l]
			}
		}
	}
}

// Rooms of a worker in attention.
const (
	roomK    = iota // packed k, for s
	roomV           // packed v
	roomKT          // packed kᵀ
	roomQ           // packed queries
	roomDO          // packed gradients of the output
	roomS           // scores, then probabilities
	roomDS          // their gradients
	roomHalf        // either of the two in bf16
	roomPack        // either of the two, packed
	roomOut         // a result, transposed, and rows to widen or narrow
	roomDK          // sums
	roomDV
)

func (h *heads) reserve(list map[int]int) {
	for room, n := range list {
		h.d.reserve(room, n)
	}
}

// A task of the forward pass is some of the queries of the heads that share one key-value head.
func bindAttention(d *Device, l *loaded, x *gpu.Launch) func() {
	h := newHeads(d, l, x, x.In[0], x.In[3:])
	q, k, v, o := l.matrix(x.In[0], false), l.matrix(x.In[1], false), l.matrix(x.In[2], false), l.matrix(x.Out[0], false)
	lse := l.f32(x.Out[1])
	y, vv, nr := h.y, d.variant, h.y.tile.nr
	h.reserve(map[int]int{roomK: h.keys * h.dim, roomV: h.dimA * h.seq, roomQ: h.dim * nr, roomS: h.keys * nr,
		roomHalf: h.keys * nr, roomPack: h.keys * nr, roomOut: h.dimA*nr + nr*h.dim})
	blocks := blocksOf(h.seq, nr)
	group := h.n / h.kv
	// Each part packs the keys again, so there are only as many as keep the workers busy.
	parts := min(blocks, max(1, blocksOf(2*len(d.pool.workers), h.batch*h.kv)))
	body := &loop{body: func(w *worker, t int) {
		b, kv, part := t/(h.kv*parts), t/parts%h.kv, t%parts
		last := min(h.seq, (part+(blocks-1-part)/parts*parts+1)*nr) // keys its last block sees
		room := &w.room
		y.packA(w, room[roomK], k.sub(b*h.seq, kv*h.dim), last, h.dim)
		y.packA(w, room[roomV], v.sub(b*h.seq, kv*h.dim).t(), h.dim, last)
		s, out := room[roomS], room[roomOut]
		most, total := &w.lane[1], &w.lane[2]
		for bi := part; bi < blocks && !d.pool.stopped(); bi += parts {
			q0 := h.block(b, bi*nr)
			keys := q0.i0 + q0.n - q0.p0
			for n := kv * group; n < (kv+1)*group && !d.pool.stopped(); n++ {
				y.packB(w, room[roomQ], q.sub(b*h.seq+q0.i0, n*h.dim).t(), h.dim, q0.n)
				h.left(room[roomK][q0.p0*y.steps(h.dim):], keys, h.dim, 0, h.dim, room[roomQ], s, h.scale)
				q0.mask(s, nr, &lowest)
				*most, *total = lowest, zeros
				for j := 0; j < keys; j++ {
					vv.raise(most[:nr], s[j*nr:(j+1)*nr])
				}
				for j := 0; j < keys; j++ {
					vv.scoreExp(s[j*nr:(j+1)*nr], total[:nr], most[:nr])
				}
				q0.mask(s, nr, &zeros)
				p, _ := h.scores(s, room[roomPack], room[roomHalf], keys)
				h.left(room[roomV], h.dim, last, q0.p0, keys, p, out, 1)
				at := (b*h.n+n)*h.seq + q0.i0
				for c := 0; c < q0.n; c++ {
					lse[at+c] = most[c] + float32(math.Log(float64(total[c])))
					total[c] = 1 / total[c]
				}
				for r := 0; r < h.dim; r++ {
					vv.mul(out[r*nr:(r+1)*nr], out[r*nr:(r+1)*nr], total[:nr])
				}
				h.put(o, b*h.seq+q0.i0, q0.n, n*h.dim, out, out[h.dimA*nr:])
			}
		}
	}}
	return func() { d.pool.run(body, h.batch*h.kv*parts) }
}

// The backward pass gives a task one key-value head of one sequence, so that dk and dv are summed
// by one worker in a fixed order: blocks of queries, and in each the query heads.
func bindAttentionGrad(d *Device, l *loaded, x *gpu.Launch) func() {
	h := newHeads(d, l, x, x.In[1], x.In[6:])
	do, q, k := l.matrix(x.In[0], false), l.matrix(x.In[1], false), l.matrix(x.In[2], false)
	v, o, lse := l.matrix(x.In[3], false), l.matrix(x.In[4], false), l.f32(x.In[5])
	dq, dk, dv := l.matrix(x.Out[0], false), l.matrix(x.Out[1], false), l.matrix(x.Out[2], false)
	y, vv, nr, group := h.y, d.variant, h.y.tile.nr, h.n/h.kv
	h.reserve(map[int]int{roomK: h.keys * h.dim, roomV: h.keys * h.dim, roomKT: h.dimA * h.seq,
		roomQ: max(h.dim, h.dimB) * nr, roomDO: max(h.dim, h.dimB) * nr,
		roomS: h.keys * nr, roomDS: h.keys * nr, roomHalf: h.keys * nr, roomPack: h.keys * nr,
		roomOut: h.dimA*nr + nr*h.dim, roomDK: h.keys * h.dimB, roomDV: h.keys * h.dimB})
	body := &loop{body: func(w *worker, t int) {
		b, kv := t/h.kv, t%h.kv
		room := &w.room
		km := k.sub(b*h.seq, kv*h.dim)
		y.packA(w, room[roomK], km, h.seq, h.dim)
		y.packA(w, room[roomKT], km.t(), h.dim, h.seq)
		y.packA(w, room[roomV], v.sub(b*h.seq, kv*h.dim), h.seq, h.dim)
		sumK, sumV := room[roomDK][:h.keys*h.dimB], room[roomDV][:h.keys*h.dimB]
		clear(sumK)
		clear(sumV)
		s, ds, out, pack := room[roomS], room[roomDS], room[roomOut], room[roomPack]
		spare := out[h.dimA*nr:]
		norm, delta := &w.lane[1], &w.lane[2]
		for i0 := 0; i0 < h.seq && !d.pool.stopped(); i0 += nr {
			q0 := h.block(b, i0)
			keys := i0 + q0.n - q0.p0
			r0 := b*h.seq + i0
			for n := kv * group; n < (kv+1)*group && !d.pool.stopped(); n++ {
				col := n * h.dim
				dom, qm := do.sub(r0, col), q.sub(r0, col)
				*delta, *norm = zeros, zeros
				for c := 0; c < q0.n; c++ {
					a, b := (r0+c)*do.ld+col, (r0+c)*o.ld+col
					delta[c] = vv.dot(vv.get(do.buffer, a, a+h.dim, spare), vv.get(o.buffer, b, b+h.dim, spare[h.dim:]))
				}
				copy(norm[:q0.n], lse[(b*h.n+n)*h.seq+i0:])
				y.packB(w, room[roomQ], qm.t(), h.dim, q0.n)
				h.left(room[roomK][q0.p0*y.steps(h.dim):], keys, h.dim, 0, h.dim, room[roomQ], s, h.scale)
				y.packB(w, room[roomDO], dom.t(), h.dim, q0.n)
				h.left(room[roomV][q0.p0*y.steps(h.dim):], keys, h.dim, 0, h.dim, room[roomDO], ds, 1)
				q0.mask(s, nr, &lowest)
				for j := 0; j < keys; j++ {
					vv.scoreGrad(s[j*nr:(j+1)*nr], ds[j*nr:(j+1)*nr], norm[:nr], delta[:nr])
				}
				q0.mask(s, nr, &zeros)
				q0.mask(ds, nr, &zeros)
				// dv += pᵀ do
				_, m := h.scores(s, pack, room[roomHalf], keys)
				y.packB(w, room[roomDO], dom, q0.n, h.dim)
				y.packA(w, pack, m, keys, q0.n)
				h.rows(keys, q0.n, pack, room[roomDO], sumV[q0.p0*h.dimB:], 1)
				// dq = scale ds k, transposed
				panel, m := h.scores(ds, pack, room[roomHalf], keys)
				h.left(room[roomKT], h.dim, h.seq, q0.p0, keys, panel, out, h.scale)
				h.put(dq, r0, q0.n, col, out, spare)
				// dk += scale dsᵀ q
				y.packB(w, room[roomQ], qm, q0.n, h.dim)
				y.packA(w, pack, m, keys, q0.n)
				h.rows(keys, q0.n, pack, room[roomQ], sumK[q0.p0*h.dimB:], h.scale)
			}
		}
		for r := 0; r < h.seq; r++ {
			row, col := b*h.seq+r, kv*h.dim
			vv.leave(w, output{buffer: dk.buffer}, row*dk.ld+col, sumK[r*h.dimB:][:h.dim])
			vv.leave(w, output{buffer: dv.buffer}, row*dv.ld+col, sumV[r*h.dimB:][:h.dim])
		}
	}}
	return func() { d.pool.run(body, h.batch*h.kv) }
}
