package cpu

import (
	"cmp"
	"math"
	"slices"
	"sync/atomic"

	"stepflow/gpu"
)

// Inputs of adam are g, m, v, coef, hyper.
func bindAdam(d *Device, l *loaded, x *gpu.Launch) func() {
	in, out := l.buffers(x.In[:3]), l.buffers(x.Out)
	coef, hyper, a := l.f32(x.In[3]), l.f32(x.In[4]), x.Attrs
	b1, b2, c1, c2 := float32(a.Beta1), float32(a.Beta2), float32(1-a.Beta1), float32(1-a.Beta2)
	return ifFinite(coef, d.flat(out, in, func(x [][]float32) {
		d.variant.adam(x[0], x[1], x[2], x[3], x[4], x[5], coef[0], b1, c1, b2, c2, hyper[1], float32(a.Eps))
	}), func() {
		out[0].clear()
		out[1].copy(in[1])
		out[2].copy(in[2])
	})
}

func bindRandomMatrix(d *Device, l *loaded, x *gpu.Launch) func() {
	seed, y, a := l.f32(x.In[0]), l.buffer(x.Out[0]), x.Attrs
	d.reserve(0, blockElems)
	alpha := float32(a.Alpha)
	return d.pieces(a.Rows, a.Cols, func(w *worker, r, from, to int) {
		lo := r*a.Cols + from
		row := y.at(lo, lo+to-from, w.room[0])
		n := len(row) // the rest is 0
		if a.Lo > 0 {
			n = max(0, min(n, a.Lo-from))
		}
		d.variant.random(row[:n], uint32(seed[0]), r, from, alpha)
		clear(row[n:])
		d.variant.put(y, lo, row)
	})
}

// Inputs of align_rows are x, p, coef.
func bindAlignRows(d *Device, l *loaded, x *gpu.Launch) func() {
	from, to := l.buffer(x.In[1]), l.buffer(x.Out[0])
	return ifFinite(l.f32(x.In[2]), d.rowwise(l, x.Out, x.In[:2], func(_ int, x [][]float32) {
		sign := float32(1)
		if d.variant.dot(x[1], x[2]) < 0 {
			sign = -1
		}
		d.variant.blend(x[0], x[1], x[1], sign, 0) // 0 of 0, and not -0, whose bits are not those of padding
	}), func() { to.copy(from) })
}

// pairsOfTask is how many pairs of rows eigh turns in a task.
const pairsOfTask = 8

// bindEigh turns the rows of x, and of v, which begins as 1, until no two rows of x have a product: then v xᵀ x vᵀ is
// diagonal (Hestenes 1958). Pairs of a round have no row in common: they are those of a round-robin tournament, and the
// result does not depend on who turns them.
func bindEigh(d *Device, l *loaded, x *gpu.Launch) func() {
	from, to, scratch := l.f32(x.In[0]), l.f32(x.Out[0]), l.f32(x.Scratch)
	n := x.In[0].Type.Shape.Cols()
	w, v := scratch[:n*n], scratch[n*n:2*n*n]
	row := func(m []float32, i int) []float32 { return m[i*n : (i+1)*n] }
	d.reserve(0, n)
	var round int
	var turned atomic.Bool
	players := n + n%2
	turn := func(wk *worker, m []float32, p, q int, c, s float32) {
		x, y, room := row(m, p), row(m, q), wk.room[0][:n]
		d.variant.blend(room, x, y, c, -s)
		d.variant.blend(y, x, y, s, c)
		copy(x, room)
	}
	body := &loop{body: func(wk *worker, task int) {
		for k := task * pairsOfTask; k < min(players/2, (task+1)*pairsOfTask); k++ {
			p, q := pairing(players, round, k)
			if q >= n {
				continue
			}
			x, y := row(w, p), row(w, q)
			a, b, g := float64(d.variant.dot(x, x)), float64(d.variant.dot(y, y)), float64(d.variant.dot(x, y))
			if !(math.Abs(g) > gpu.EighTolerance*math.Sqrt(a*b)) {
				continue
			}
			turned.Store(true)
			z := (b - a) / (2 * g)
			t := math.Copysign(1/(math.Abs(z)+math.Hypot(1, z)), z)
			c := 1 / math.Hypot(1, t)
			turn(wk, w, p, q, float32(c), float32(c*t))
			turn(wk, v, p, q, float32(c), float32(c*t))
		}
	}}
	values, order := make([]float32, n), make([]int, n)
	return func() {
		clear(v)
		for i := range n {
			v[i*n+i] = 1
			for j := range n {
				w[i*n+j] = (from[i*n+j] + from[j*n+i]) / 2
			}
		}
		for range gpu.EighSweeps {
			turned.Store(false)
			for round = range players - 1 {
				d.pool.run(body, blocksOf(players/2, pairsOfTask))
			}
			if !turned.Load() {
				break
			}
		}
		for i := range n {
			values[i], order[i] = d.variant.dot(row(v, i), row(w, i)), i
		}
		slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(values[j], values[i]) })
		for i, at := range order {
			upright(row(to, i), row(v, at))
		}
	}
}

// pairing gives pair k of a round of a tournament of an even number of players, the smaller first: the last stays, the others
// go round.
func pairing(players, round, k int) (p, q int) {
	if k == 0 {
		return round, players - 1
	}
	m := players - 1
	p, q = (round+k)%m, (round+m-k)%m
	return min(p, q), max(p, q)
}

// upright is y = x or -x, so that the largest element is positive.
func upright(y, x []float32) {
	var most float32
	for _, e := range x {
		if max(e, -e) > max(most, -most) {
			most = e
		}
	}
	for i, e := range x {
		if most < 0 {
			e = -e
		}
		y[i] = e
	}
}
