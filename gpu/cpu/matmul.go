package cpu

import (
	"math"

	"stepflow/gpu"
)

// small is the number of multiply-adds a task has at least: less is not worth a hand-over.
const small = 1 << 15

// packed is the number of panels of the right operand that a task packs.
const packed = 2

// sumsElems bounds the f32 sums kept beside a bf16 result while its product is cut along k.
const sumsElems = 1 << 20

// product is a matrix product c = alpha a b + c that is run again and again. Of each block of columns
// and depth it packs b once, in parallel, then shares out the rows of a, each block packed by the
// worker that multiplies it. Where a has few rows, each panel of b is multiplied only once: it packs
// a first, and each panel of b is packed by the worker that multiplies it, while it lies in the
// nearest caches. Either way a sum is made in the same order.
type product struct {
	d       *Device
	y       layout
	m, n, k int
	alpha   float32
	a, b    matrix
	c       output
	sums    bool // c is bf16 and k longer than a block: add up in f32 beside it
	few     bool // rows of a: all of them are in one task

	rows, cols, across int                               // rows and columns of a task, tasks in a row of them
	width              int                               // columns packed at a time
	last               func(w *worker, r, col, m, n int) // run on each block of c that is done, where it is set
	jc, nc, pc, kc     int                               // the block under way
	pack, tiles, round loop
}

func (d *Device) product(m, n, k int, alpha float32, a, b matrix, c output) *product {
	// Few columns waste the lanes of a tile; as few rows they do not: cᵀ = bᵀ aᵀ.
	half := a.half() && b.half()
	y := d.variant.layout(m, n, half)
	if fraction, _ := math.Frexp(float64(alpha)); math.Abs(fraction) != 0.5 {
		// What is scaled and added is rounded once by a whole tile, and twice at an edge, which then have other bits: so
		// few rows are an edge still, as when models were trained.
		y = d.variant.layout(max(m, d.variant.f32.short.mr), n, half)
	}
	if s := d.variant.f32; n <= s.short.mr && n < s.narrow.nr && m > n && !c.flipped && (c.h == nil || k <= y.depth()) {
		c.flipped = true
		return d.product(n, m, k, alpha, b.t(), a.t(), c)
	}
	p := &product{d: d, y: y, m: m, n: n, k: k, alpha: alpha, a: a, b: b, c: c}
	t, threads := p.y.tile, len(d.pool.workers)
	p.few = m <= blockM
	p.width = blockN / t.nr * t.nr
	if p.few {
		p.width = roundUp(n, t.nr)
	}
	p.sums = c.h != nil && k > p.y.depth()
	if p.sums {
		p.width = max(t.nr, min(p.width, sumsElems/max(m, 1)/t.nr*t.nr))
		if need := m * p.width; len(d.sums) < need {
			d.sums = make([]float32, need)
		}
	}
	p.rows = rowsOfTask(m, t.mr, threads)
	if p.few {
		p.rows = roundUp(m, t.mr)
	}
	for p.rows < m && p.rows+t.mr <= blockM && p.rows*min(n, blockN)*k < small {
		p.rows += t.mr
	}
	p.cols = p.width
	if tall := blocksOf(m, p.rows); tall < 2*threads { // few rows: share out the columns too
		p.cols = min(p.width, max(roundUp(blocksOf(min(n, p.width), blocksOf(2*threads, tall)), t.nr),
			roundUp(blocksOf(small, max(1, p.rows*k)), t.nr)))
	}
	p.pack.body = func(w *worker, i int) {
		if p.few {
			r := i * t.mr
			p.y.packA(w, d.shared[r*p.y.steps(p.kc):], p.a.sub(r, p.pc), min(t.mr, p.m-r), p.kc)
			return
		}
		j := i * packed * t.nr
		p.y.packB(w, d.shared[j*p.y.steps(p.kc):], p.b.sub(p.pc, p.jc+j), p.kc, min(packed*t.nr, p.nc-j))
	}
	p.tiles.body = func(w *worker, i int) {
		r, j := i/p.across*p.rows, i%p.across*p.cols
		m, n := min(p.rows, p.m-r), min(p.cols, p.nc-j)
		to := p.c.sub(r, p.jc+j)
		if p.sums {
			to = output{buffer: buffer{f: d.sums[r*p.width+j:]}, ld: p.width}
		}
		if p.pc > 0 {
			to.add, to.from = true, buffer{}
		}
		if p.few {
			for at := 0; at < n; at += t.nr {
				cols := min(t.nr, n-at)
				p.y.packB(w, w.b, p.b.sub(p.pc, p.jc+j+at), p.kc, cols)
				p.y.multiply(w, m, cols, p.kc, p.alpha, d.shared, w.b, to.sub(0, at))
			}
		} else {
			p.y.packA(w, w.a, p.a.sub(r, p.pc), m, p.kc)
			p.y.multiply(w, m, n, p.kc, p.alpha, w.a, d.shared[j*p.y.steps(p.kc):], to)
		}
		if p.last != nil && p.pc+p.kc == p.k {
			p.last(w, r, p.jc+j, m, n)
		}
	}
	p.round.body = func(w *worker, i int) {
		for r := i * gpu.RowBlock; r < min(p.m, (i+1)*gpu.RowBlock); r++ {
			d.variant.leave(w, p.c, r*p.c.ld+p.jc, d.sums[r*p.width:][:p.nc])
		}
	}
	return p
}

// setRows gives the product another left operand of at most as many rows, and another result.
func (p *product) setRows(m int, a, c buffer) {
	p.c.buffer = c
	if p.c.flipped {
		p.n, p.b.buffer = m, a
	} else {
		p.m, p.a.buffer = m, a
	}
}

// setDepth gives it another right operand of at most the depth, and as much of the left one.
func (p *product) setDepth(k int, b buffer) {
	p.k = k
	if p.c.flipped {
		p.a.buffer = b
	} else {
		p.b.buffer = b
	}
}

// rowsOfTask picks the rows of a task: the fewest that the busiest worker gets in all, counting a
// little for each task's start.
func rowsOfTask(m, mr, threads int) (rows int) {
	const start = 2
	best := math.MaxInt
	for r := blockM / mr * mr; r >= blockM/2; r -= mr {
		if busiest := blocksOf(blocksOf(m, r), threads) * (r + start); busiest < best {
			best, rows = busiest, r
		}
	}
	return rows
}

func (p *product) run() {
	pool := p.d.pool
	for p.jc = 0; p.jc < p.n; p.jc += p.width {
		p.nc = min(p.width, p.n-p.jc)
		p.across = blocksOf(p.nc, p.cols)
		for p.pc = 0; p.pc < p.k; p.pc += p.y.depth() {
			p.kc = min(p.y.depth(), p.k-p.pc)
			panels := blocksOf(p.nc, packed*p.y.tile.nr)
			if p.few {
				panels = blocksOf(p.m, p.y.tile.mr)
			}
			pool.run(&p.pack, panels)
			pool.run(&p.tiles, blocksOf(p.m, p.rows)*p.across)
		}
		if p.sums {
			pool.run(&p.round, blocksOf(p.m, gpu.RowBlock))
		}
	}
}

func blocksOf(n, size int) int { return (n + size - 1) / size }

func roundUp(n, to int) int { return blocksOf(n, to) * to }

func (l *loaded) matrix(o gpu.Operand, trans bool) matrix {
	return dense(l.buffer(o), o.RowStride(), trans)
}

func bindMatmul(d *Device, l *loaded, x *gpu.Launch) func() {
	_, run := bindProduct(d, l, x, 2)
	return run
}

// bindProduct binds the product of the first two operands, input addend added where there is one.
func bindProduct(d *Device, l *loaded, x *gpu.Launch, addend int) (*product, func()) {
	m, n, k, _ := gpu.MatmulDims(x.Attrs, x.In[0].Type, x.In[1].Type)
	c := output{buffer: l.buffer(x.Out[0]), ld: x.Out[0].RowStride(), add: len(x.In) > addend}
	var before *loop
	if c.add && x.In[addend].Offset != x.Out[0].Offset {
		from, ld := l.buffer(x.In[addend]), x.In[addend].RowStride()
		if ld == c.ld {
			c.from = from
		} else {
			before = &loop{body: func(_ *worker, i int) {
				for r := i * gpu.RowBlock; r < min(m, (i+1)*gpu.RowBlock); r++ {
					c.buffer.sub(r*c.ld, r*c.ld+n).copy(from.sub(r*ld, r*ld+n))
				}
			}}
		}
	}
	p := d.product(m, n, k, float32(x.Attrs.Alpha), l.matrix(x.In[0], x.Attrs.TransA),
		l.storedMatrix(x.In[1], x.Attrs.TransB, x.In[0].Type.DType), c)
	if before == nil {
		return p, p.run
	}
	return p, func() {
		d.pool.run(before, blocksOf(m, gpu.RowBlock))
		p.run()
	}
}

// The activation follows each block of the product while that lies in the nearest cache. Where the
// product is kept elsewhere until its end, transposed or in f32, it is a loop of its own.
func bindMatmulSwiGLU(d *Device, l *loaded, x *gpu.Launch) func() {
	p, run := bindProduct(d, l, x, 3)
	up, gate, y := l.buffer(x.Out[0]), l.buffer(x.In[2]), l.buffer(x.Out[1])
	out, in := []buffer{y}, []buffer{gate, up}
	act := elementwise["swiglu"](d, x.Attrs)
	if p.c.flipped || p.sums {
		after := d.flat(out, in, act)
		return func() {
			run()
			after()
		}
	}
	d.reserveBlocks(3, p.cols)
	p.last = func(w *worker, r, col, m, n int) {
		for at := r*p.c.ld + col; m > 0; m, at = m-1, at+p.c.ld {
			act(d.load(w, out, in, at, at+n))
			d.store(w, out, at)
		}
	}
	return run
}
