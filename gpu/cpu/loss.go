package cpu

import (
	"math"
	"unsafe"

	"stepflow/gpu"
)

// sumBlock is the number of terms summed in fp32 before fp64 takes over.
const sumBlock = 256

// logSumExp gives log sum_i exp x[i] in one pass: each block's sum is relative to the largest element
// so far (Milakov & Gimelshein 2018, alg. 3). room is as long as sumBlock.
func (v *variant) logSumExp(x, room []float32) float64 {
	most, s := math.Inf(-1), 0.0
	for i := 0; i < len(x); i += sumBlock {
		part := x[i:min(i+sumBlock, len(x))]
		if m := float64(v.max(part)); m > most {
			s *= math.Exp(most - m)
			most = m
		}
		s += float64(v.expSum(room[:len(part)], part, -float32(most)))
	}
	return most + math.Log(s)
}

func bindCrossEntropy(d *Device, l *loaded, x *gpu.Launch) func() {
	targets, nll, lse := l.i32(x.In[1]), l.f32(x.Out[0]), l.f32(x.Out[1])
	n := x.In[0].Type.Shape.Cols()
	words := x.Attrs.Counted(n)
	logits := l.buffer(x.In[0])
	d.reserve(0, n)
	d.reserve(1, sumBlock)
	body := &loop{body: func(w *worker, i int) {
		for r := i * gpu.RowBlock; r < min(len(targets), (i+1)*gpu.RowBlock); r++ {
			row := d.variant.get(logits, r*n, r*n+words, w.room[0])
			z := d.variant.logSumExp(row, w.room[1])
			lse[r], nll[r] = float32(z), 0
			if t := targets[r]; t >= 0 {
				nll[r] = float32(z - float64(row[t]))
			}
		}
	}}
	return func() { d.pool.run(body, blocksOf(len(targets), gpu.RowBlock)) }
}

func bindCrossEntropyGrad(d *Device, l *loaded, x *gpu.Launch) func() {
	dnll, targets, lse := l.f32(x.In[0]), l.i32(x.In[2]), l.f32(x.In[3])
	words := x.Attrs.Counted(x.In[1].Type.Shape.Cols())
	return d.rowwise(l, x.Out, x.In[1:2], func(r int, x [][]float32) {
		d.variant.crossEntropyGrad(x[0], x[1][:words], targets[r], dnll[r], lse[r])
	})
}

// crossEntropyGrad is dx = (softmax(x) - onehot(target)) k, 0 for a target that is masked, and beyond x.
func (v *variant) crossEntropyGrad(dx, x []float32, target int32, k, lse float32) {
	if target < 0 {
		clear(dx)
		return
	}
	v.expScale(dx[:len(x)], x, -lse, k)
	clear(dx[len(x):])
	dx[target] -= k
}

// chunked is a loss whose logits are computed a chunk of rows at a time, in scratch, and with them
// all that the backward pass needs: the logits of the whole batch are never in memory.
type chunked struct {
	d           *Device
	rows, chunk int
	vocab       int // rows of the weight
	words       int // of them those that count
	h, dh, dx   buffer
	scratch     []float32
	nll         []float32
	lse, greedy []float32 // nil where nobody asks for them
	dnll        []float32
	targets     []int32
	at, n       int // the chunk under way
	logits      *product
	input       *product // dh = dx w
	weight      *product // dw += dxᵀ h
	loss        loop
	half        bool // dx is bf16: each row in the first half of its row of logits
}

func bindLinearCrossEntropy(d *Device, l *loaded, x *gpu.Launch) func() {
	c := &chunked{d: d, scratch: l.f32(x.Scratch), nll: l.f32(x.Out[0])}
	in := x.In
	switch x.Kernel {
	case "linear_cross_entropy":
		c.lse = l.f32(x.Out[1])
	case "linear_score":
		c.greedy = l.f32(x.Out[1])
	case "linear_cross_entropy_grad":
		c.dnll, c.dh, in = l.f32(in[0]), l.buffer(x.Out[1]), in[1:]
	}
	h, w := l.matrix(in[0], false), l.matrix(in[1], false)
	c.h, c.targets, c.vocab, c.rows = h.buffer, l.i32(in[2]), in[1].Type.Shape[0], in[0].Type.Shape.Rows()
	c.words, c.chunk, c.half = x.Attrs.Counted(c.vocab), min(x.Attrs.Chunk, c.rows), h.h != nil
	width := in[0].Type.Shape.Cols()
	c.logits = d.product(c.chunk, c.vocab, width, 1, h, w.t(), output{buffer: buffer{f: c.scratch}, ld: c.vocab})
	c.loss.body = c.block
	d.reserve(0, c.vocab)
	d.reserve(1, sumBlock)
	if c.dnll != nil {
		dx := dense(buffer{f: c.scratch}, c.vocab, false)
		if c.half {
			dx = dense(buffer{h: halves(c.scratch)}, 2*c.vocab, false)
		}
		c.dx = dx.buffer
		c.input = d.product(c.chunk, width, c.vocab, 1, dx, w, output{buffer: c.dh, ld: width})
		if !x.Attrs.Frozen {
			dw := l.buffer(x.Out[2])
			c.weight = d.product(c.vocab, width, c.chunk, 1, dx.t(), h, output{buffer: dw, ld: width, add: true})
			before := l.accumulator(x, 2, 4)
			return func() {
				before()
				c.run()
			}
		}
	}
	return c.run
}

func (c *chunked) run() {
	width := c.logits.k
	for c.at = 0; c.at < c.rows; c.at += c.chunk {
		c.n = min(c.chunk, c.rows-c.at)
		h := c.h.sub(c.at*width, (c.at+c.n)*width)
		c.logits.setRows(c.n, h, buffer{f: c.scratch})
		c.logits.run()
		c.d.pool.run(&c.loss, blocksOf(c.n, lossRows))
		if c.input != nil {
			c.input.setRows(c.n, c.dx, c.dh.sub(c.at*width, (c.at+c.n)*width))
			c.input.run()
		}
		if c.weight != nil {
			c.weight.setDepth(c.n, h)
			c.weight.run()
		}
	}
}

// lossRows is the number of rows of logits a task takes.
const lossRows = 8

// block turns rows of logits into losses and, in the backward pass, into their gradient.
func (c *chunked) block(w *worker, i int) {
	v := c.d.variant
	for r := i * lossRows; r < min(c.n, (i+1)*lossRows); r++ {
		row, t := c.scratch[r*c.vocab:][:c.vocab], c.targets[c.at+r]
		z := v.logSumExp(row[:c.words], w.room[1])
		c.nll[c.at+r] = 0
		if t >= 0 {
			c.nll[c.at+r] = float32(z - float64(row[t]))
		}
		if c.lse != nil {
			c.lse[c.at+r] = float32(z)
		}
		if c.greedy != nil {
			c.greedy[c.at+r] = 0
			if t >= 0 && v.isFirst(row[:c.words], int(t)) {
				c.greedy[c.at+r] = 1
			}
		}
		if c.dnll == nil {
			continue
		}
		dx := row
		if c.half {
			dx = w.room[0][:c.vocab]
		}
		v.crossEntropyGrad(dx, row[:c.words], t, c.dnll[c.at+r], float32(z))
		if c.half {
			v.narrow(halves(row)[:c.vocab], dx)
		}
	}
}

// isFirst reports whether x[t] is the first of the largest elements.
func (v *variant) isFirst(x []float32, t int) bool {
	return x[t] == v.max(x) && (t == 0 || v.max(x[:t]) < x[t])
}

// halves sees float32 memory as twice as many bf16.
func halves(f []float32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(f))), 2*len(f))
}
