package cpu

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"stepflow/gpu"
)

// blockElems is the number of elements of a long vector that a loop runs over at a time: with bf16
// operands widened, those of any kernel lie in the nearest cache together.
const blockElems = 1024

// flat binds a kernel that computes outputs element by element: f is called on blocks with outputs
// first, then inputs, as float32.
func (d *Device) flat(out, in []buffer, f func(x [][]float32)) func() {
	return d.flatTo(out, in, f, d.store)
}

// flatTo is flat with a way of its own to put the outputs of a block, from element lo on, away.
func (d *Device) flatTo(out, in []buffer, f func(x [][]float32), put func(w *worker, out []buffer, lo int)) func() {
	n := out[0].len()
	d.reserveBlocks(len(out)+len(in), blockElems)
	l := &loop{body: func(w *worker, i int) {
		end := min(n, (i+1)*gpu.SumBlock)
		for lo := i * gpu.SumBlock; lo < end; lo += blockElems {
			f(d.load(w, out, in, lo, min(end, lo+blockElems)))
			put(w, out, lo)
		}
	}}
	tasks := blocksOf(n, gpu.SumBlock)
	return func() { d.pool.run(l, tasks) }
}

// load gives elements [lo, hi) of the operands, room for the outputs first; store puts the outputs away.
func (d *Device) load(w *worker, out, in []buffer, lo, hi int) [][]float32 {
	x := w.args[:len(out)+len(in)]
	for j, b := range out {
		x[j] = b.at(lo, hi, w.room[j])
	}
	for j, b := range in {
		x[len(out)+j] = d.variant.get(b, lo, hi, w.room[len(out)+j])
	}
	return x
}

func (d *Device) store(w *worker, out []buffer, lo int) {
	for j, b := range out {
		d.variant.put(b, lo, w.args[j])
	}
}

// rowwise binds a kernel that works on rows of its operands.
func (d *Device) rowwise(l *loaded, out, in []gpu.Operand, f func(r int, x [][]float32)) func() {
	shape := out[0].Type.Shape
	rows, cols := shape.Rows(), shape.Cols()
	d.reserveBlocks(len(out)+len(in), cols)
	ys, xs := l.matrices(out), l.matrices(in)
	body := &loop{body: func(w *worker, i int) {
		args := w.args[:len(ys)+len(xs)]
		for r := i * gpu.RowBlock; r < min(rows, (i+1)*gpu.RowBlock); r++ {
			for j, y := range ys {
				args[j] = y.at(r*y.ld, r*y.ld+cols, w.room[j])
			}
			for j, x := range xs {
				args[len(ys)+j] = d.variant.get(x.buffer, r*x.ld, r*x.ld+cols, w.room[len(ys)+j])
			}
			f(r, args)
			for j, y := range ys {
				d.variant.put(y.buffer, r*y.ld, args[j])
			}
		}
	}}
	return func() { d.pool.run(body, blocksOf(rows, gpu.RowBlock)) }
}

// matrices are operands as rows that may lie apart.
func (l *loaded) matrices(os []gpu.Operand) (list []matrix) {
	for _, o := range os {
		list = append(list, l.matrix(o, false))
	}
	return list
}

// elementwise binds a kernel of the table of them: over all elements at once where they lie in one piece, else row by row.
func (d *Device) elementwise(l *loaded, x *gpu.Launch, f func(x [][]float32)) func() {
	if slices.ContainsFunc(append(x.Out[:len(x.Out):len(x.Out)], x.In...), func(o gpu.Operand) bool { return o.Stride != 0 }) {
		return d.rowwise(l, x.Out, x.In, func(_ int, x [][]float32) { f(x) })
	}
	return d.flat(l.buffers(x.Out), l.buffers(x.In), f)
}

func (d *Device) reserveBlocks(n, elems int) {
	for i := 0; i < n; i++ {
		d.reserve(i, elems)
	}
}

// totals binds sums over the elements of each of the inputs: f sums a block of an input, elements [lo, hi). The blocks of a
// partial sum are added in fp64, and so are the partial sums of an input, in order.
func (d *Device) totals(in []buffer, y, scratch []float32, f func(w *worker, a buffer, lo, hi int) float32) func() {
	first := make([]int, len(in)+1) // partial sums of the inputs before
	for j, a := range in {
		first[j+1] = first[j] + blocksOf(a.len(), gpu.SumBlock)
	}
	tasks := first[len(in)]
	l := &loop{body: func(w *worker, i int) {
		j := sort.SearchInts(first, i+1) - 1
		a, at := in[j], (i-first[j])*gpu.SumBlock
		var s float64
		for lo, end := at, min(a.len(), at+gpu.SumBlock); lo < end; lo += sumBlock {
			s += float64(f(w, a, lo, min(end, lo+sumBlock)))
		}
		scratch[i] = float32(s)
	}}
	return func() {
		d.pool.run(l, tasks)
		for j := range in {
			var s float64
			for _, x := range scratch[first[j]:first[j+1]] {
				s += float64(x)
			}
			y[j] = float32(s)
		}
	}
}

// columnSums binds a sum over rows: f adds row r of the inputs to a partial row, one a block of rows;
// the partial rows are added in order to an accumulator, or to 0 where acc is empty.
func (d *Device) columnSums(
	l *loaded, x *gpu.Launch, in []buffer, acc []buffer, f func(r int, to []float32, x [][]float32),
) func() {
	rows, cols := x.In[0].Type.Shape.Rows(), x.In[0].Type.Shape.Cols()
	y, scratch := l.buffer(x.Out[0]), l.f32(x.Scratch)
	d.reserveBlocks(len(in), cols)
	d.reserve(len(in), cols)
	n := blocksOf(rows, gpu.RowBlock)
	part := &loop{body: func(w *worker, i int) {
		to := scratch[i*cols : (i+1)*cols]
		clear(to)
		x := w.args[:len(in)]
		for r := i * gpu.RowBlock; r < min(rows, (i+1)*gpu.RowBlock); r++ {
			for j, b := range in {
				x[j] = d.variant.get(b, r*cols, (r+1)*cols, w.room[j])
			}
			f(r, to, x)
		}
	}}
	return func() {
		d.pool.run(part, n)
		w := d.pool.workers[0]
		out := y.at(0, cols, w.room[len(in)])
		if len(acc) == 0 {
			clear(out)
		} else {
			copy(out, d.variant.get(acc[0], 0, cols, w.room[len(in)]))
		}
		for i := 0; i < n; i++ {
			d.variant.add(out, out, scratch[i*cols:(i+1)*cols])
		}
		d.variant.put(y, 0, out)
	}
}

// elementwise lists the kernels that are a loop over all elements.
var elementwise = map[string]func(d *Device, a gpu.Attrs) func(x [][]float32){
	"copy": func(*Device, gpu.Attrs) func([][]float32) { return func(x [][]float32) { copy(x[0], x[1]) } },
	"cast": func(*Device, gpu.Attrs) func([][]float32) { return func(x [][]float32) { copy(x[0], x[1]) } },
	"add": func(d *Device, _ gpu.Attrs) func([][]float32) {
		return func(x [][]float32) { d.variant.add(x[0], x[1], x[2]) }
	},
	"mul": func(d *Device, _ gpu.Attrs) func([][]float32) {
		return func(x [][]float32) { d.variant.mul(x[0], x[1], x[2]) }
	},
	"scale": func(d *Device, a gpu.Attrs) func([][]float32) {
		return func(x [][]float32) { d.variant.scale(x[0], x[1], float32(a.Alpha)) }
	},
	"swiglu": func(d *Device, _ gpu.Attrs) func([][]float32) {
		return func(x [][]float32) { d.variant.swiglu(x[0], x[1], x[2]) }
	},
	"swiglu_grad": func(d *Device, _ gpu.Attrs) func([][]float32) {
		return func(x [][]float32) { d.variant.swigluGrad(x[0], x[1], x[2], x[3], x[4]) }
	},
}

func (l *loaded) buffers(os []gpu.Operand) (list []buffer) {
	for _, o := range os {
		list = append(list, l.buffer(o))
	}
	return list
}

func bindZero(d *Device, l *loaded, x *gpu.Launch) func() {
	y := l.buffer(x.Out[0])
	body := &loop{body: func(_ *worker, i int) {
		y.sub(i*gpu.SumBlock, min(y.len(), (i+1)*gpu.SumBlock)).clear()
	}}
	return func() { d.pool.run(body, blocksOf(y.len(), gpu.SumBlock)) }
}

// pieces binds a loop over the rows of an operand of rows·cols elements, each cut where it crosses a block of SumBlock
// elements.
func (d *Device) pieces(rows, cols int, f func(w *worker, r, from, to int)) func() {
	n := rows * cols
	l := &loop{body: func(w *worker, i int) {
		for at, end := i*gpu.SumBlock, min(n, (i+1)*gpu.SumBlock); at < end; {
			r, c := at/cols, at%cols
			to := min(cols, c+end-at, c+blockElems)
			f(w, r, c, to)
			at += to - c
		}
	}}
	return func() { d.pool.run(l, blocksOf(n, gpu.SumBlock)) }
}

func bindSlice(d *Device, l *loaded, x *gpu.Launch) func() {
	from, to := l.buffer(x.In[0]), l.buffer(x.Out[0])
	wide, shape, lo := x.In[0].Type.Shape.Cols(), x.Out[0].Type.Shape, x.Attrs.Lo
	cols := shape.Cols()
	return d.pieces(shape.Rows(), cols, func(_ *worker, r, c, end int) {
		to.sub(r*cols+c, r*cols+end).copy(from.sub(r*wide+lo+c, r*wide+lo+end))
	})
}

// bindSliceGrad adds to the columns that were taken; the others stay as they are.
func bindSliceGrad(d *Device, l *loaded, x *gpu.Launch) func() {
	dy, dx := l.buffer(x.In[0]), l.buffer(x.Out[0])
	shape, wide, lo := x.In[0].Type.Shape, x.Out[0].Type.Shape.Cols(), x.Attrs.Lo
	cols := shape.Cols()
	d.reserveBlocks(2, blockElems)
	before := l.accumulator(x, 0, 1)
	add := d.pieces(shape.Rows(), cols, func(w *worker, r, c, end int) {
		at := r*wide + lo
		to := d.variant.get(dx, at+c, at+end, w.room[0])
		d.variant.add(to, to, d.variant.get(dy, r*cols+c, r*cols+end, w.room[1]))
		d.variant.put(dx, at+c, to)
	})
	return func() {
		before()
		add()
	}
}

func bindNormalize(d *Device, l *loaded, x *gpu.Launch) func() {
	squares := l.f32(x.In[1])
	return d.flat(l.buffers(x.Out), l.buffers(x.In[:1]), func(y [][]float32) {
		d.variant.scale(y[0], y[1], float32(1/max(math.Sqrt(float64(squares[0])), x.Attrs.Eps)))
	})
}

func bindBroadcast(d *Device, l *loaded, x *gpu.Launch) func() {
	s := l.f32(x.In[0])
	return d.flat(l.buffers(x.Out), nil, func(x [][]float32) {
		for i := range x[0] {
			x[0][i] = s[0]
		}
	})
}

func bindCastStochastic(d *Device, l *loaded, x *gpu.Launch) func() {
	seed := l.f32(x.In[1])
	return d.flatTo(l.buffers(x.Out), l.buffers(x.In[:1]), func(x [][]float32) { copy(x[0], x[1]) },
		func(w *worker, out []buffer, lo int) {
			d.putStochastic(out[0], lo, w.args[0], uint32(seed[0]))
		})
}

// putStochastic rounds x, the elements of b from lo on, at random.
func (d *Device) putStochastic(b buffer, lo int, x []float32, seed uint32) {
	d.variant.draw(b.h[lo:lo+len(x)], x, seed, int64(lo))
}

func bindUniformNoise(d *Device, l *loaded, x *gpu.Launch) func() {
	seed, alpha := l.f32(x.In[1]), float32(x.Attrs.Alpha)
	rows := x.Out[0].Type.Shape.Rows()
	cols := cmp.Or(x.Attrs.Cols, x.Out[0].Type.Shape.Cols())
	return d.rowwise(l, x.Out, x.In[:1], func(r int, x [][]float32) {
		at := (int64(seed[1])*int64(rows) + int64(r)) * int64(cols)
		copy(x[0], x[1])
		for c, v := range x[1][:cols] {
			x[0][c] = v + float32(alpha*gpu.Uniform(uint32(seed[0]), at+int64(c)))
		}
	})
}

func bindBiasAdd(d *Device, l *loaded, x *gpu.Launch) func() {
	b := l.row(x.In[1])
	return b.before(d.rowwise(l, x.Out, x.In[:1], func(_ int, x [][]float32) {
		d.variant.add(x[0], x[1], b.f)
	}))
}

// row is a short operand, such as a gain, that every row of a kernel reads: widened once a launch.
type row struct {
	from buffer
	f    []float32
	v    *variant
}

func (l *loaded) row(o gpu.Operand) *row {
	r := &row{from: l.buffer(o), v: l.device.variant}
	if r.f = r.from.f; r.f == nil {
		r.f = make([]float32, r.from.len())
	}
	return r
}

func (r *row) before(run func()) func() {
	if r.from.h == nil {
		return run
	}
	return func() {
		r.v.widen(r.f, r.from.h)
		run()
	}
}

func bindSumRows(d *Device, l *loaded, x *gpu.Launch) func() {
	return d.columnSums(l, x, l.buffers(x.In[:1]), l.buffers(x.In[1:]), func(_ int, to []float32, x [][]float32) {
		d.variant.add(to, to, x[0])
	})
}

func bindSum(d *Device, l *loaded, x *gpu.Launch) func() {
	d.reserve(0, sumBlock)
	return d.totals(l.buffers(x.In), l.f32(x.Out[0]), l.f32(x.Scratch), func(w *worker, a buffer, lo, hi int) float32 {
		return d.variant.sum(d.variant.get(a, lo, hi, w.room[0]))
	})
}

func bindSumSquares(d *Device, l *loaded, x *gpu.Launch) func() {
	return d.totals(l.buffers(x.In), l.f32(x.Out[0]), l.f32(x.Scratch),
		func(_ *worker, a buffer, lo, hi int) float32 { return d.variant.squaresOf(a, lo, hi) })
}
