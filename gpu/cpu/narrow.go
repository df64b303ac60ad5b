package cpu

import "stepflow/gpu"

// moment is what is kept of the elements of a tensor in bf16, or in blocks of codes.
type moment struct {
	half   []uint16
	bytes  []byte
	scales []float32 // of blocks of bytes
	codes  *codes
}

func (l *loaded) moment(o gpu.Operand) moment {
	b, n := l.bytes(o), o.Type.Shape.Elems()
	if codes := codesOf[o.Type.DType]; codes != nil {
		return moment{bytes: b[:n], scales: view[float32](b[gpu.ScalesAt(n):]), codes: codes}
	}
	return moment{half: view[uint16](b)}
}

// load widens elements from lo on, where a block of codes begins.
func (v *variant) load(m moment, lo int, to []float32) {
	if m.codes == nil {
		v.widen(to, m.half[lo:lo+len(to)])
		return
	}
	v.decode(m.codes, to, m.bytes[lo:lo+len(to)], m.scalesOf(lo, len(to)))
}

// keep rounds elements from lo on, where a block of codes begins: to their nearest codes, given the largest magnitude of each
// block, or to bf16 stochastically, with the draws from first on.
func (v *variant) keep(m moment, lo int, x []float32, most *mosts, seed uint32, first int64) {
	if m.codes == nil {
		v.draw(m.half[lo:lo+len(x)], x, seed, first+int64(lo))
		return
	}
	scales := m.scalesOf(lo, len(x))
	copy(scales, most[:])
	v.encode(m.codes, m.bytes[lo:lo+len(x)], x, scales)
}

// scalesOf returns the scales of the blocks that hold n elements from lo on.
func (m moment) scalesOf(lo, n int) []float32 {
	return m.scales[lo/gpu.CodeBlock:][:blocksOf(n, gpu.CodeBlock)]
}

// mosts holds the largest magnitude of each block of codes among blockElems elements.
type mosts [blockElems / gpu.CodeBlock]float32

// eachBlock calls f with the number, the start and the end of each block of codes among n elements.
func eachBlock(n int, f func(i, at, end int)) {
	for i := 0; i*gpu.CodeBlock < n; i++ {
		f(i, i*gpu.CodeBlock, min(n, (i+1)*gpu.CodeBlock))
	}
}

// wide is an operand with the rows and columns of a tensor, and maybe more.
type wide struct {
	buffer
	gpu.Within
}

func (l *loaded) wide(o gpu.Operand, tensor gpu.Shape) wide {
	return wide{l.buffer(o), tensor.In(o.Type.Shape)}
}

// halves returns the elements of a tensor in bf16 that lies in one piece; nil of any other.
func (w wide) halves() []uint16 {
	if w.Cols != w.Stride {
		return nil
	}
	return w.h
}

// load gives elements [lo, hi) of the tensor: the memory itself where it is f32 in one piece, or room filled from it.
func (w wide) load(v *variant, lo, hi int, room []float32) []float32 {
	if w.Cols == w.Stride {
		return v.get(w.buffer, lo, hi, room)
	}
	w.Runs(lo, hi, func(at, in, n int) {
		copy(room[at-lo:], v.get(w.buffer, in, in+n, room[at-lo:]))
	})
	return room[:hi-lo]
}

// at gives room for elements that store puts away: the memory itself where it is f32 in one piece.
func (w wide) at(lo, hi int, room []float32) []float32 {
	if w.Cols == w.Stride {
		return w.buffer.at(lo, hi, room)
	}
	return room[:hi-lo]
}

// store puts elements from lo on where they belong, rounding to nearest.
func (w wide) store(v *variant, lo int, x []float32) {
	if w.Cols == w.Stride {
		v.put(w.buffer, lo, x)
		return
	}
	w.Runs(lo, lo+len(x), func(at, in, n int) {
		if w.h != nil {
			v.narrow(w.h[in:in+n], x[at-lo:at-lo+n])
		} else {
			copy(w.f[in:in+n], x[at-lo:])
		}
	})
}

// draw puts elements in bf16 where they belong, rounding stochastically.
func (w wide) draw(v *variant, lo int, x []float32, seed uint32) {
	w.Runs(lo, lo+len(x), func(at, in, n int) { v.draw(w.h[in:in+n], x[at-lo:at-lo+n], seed, int64(at)) })
}

// inBlocks binds a loop over n elements, blockElems at a time.
func (d *Device) inBlocks(n int, f func(w *worker, lo, hi int)) func() {
	body := &loop{body: func(w *worker, i int) {
		for lo, end := i*gpu.SumBlock, min(n, (i+1)*gpu.SumBlock); lo < end; lo += blockElems {
			f(w, lo, min(end, lo+blockElems))
		}
	}}
	return func() { d.pool.run(body, blocksOf(n, gpu.SumBlock)) }
}

// copies brings what a launch changes to where it changes it.
func (l *loaded) copies(out, in []gpu.Operand) func() {
	var list []func()
	for i, o := range out {
		if o.Offset != in[i].Offset {
			to, from := l.bytes(o), l.bytes(in[i])
			list = append(list, func() { copy(to, from) })
		}
	}
	return func() {
		for _, f := range list {
			f()
		}
	}
}

// Inputs are w, g, m, v, coef, hyper, with an fp32 master after g where there is one.
func bindNarrowAdamW(d *Device, l *loaded, x *gpu.Launch) func() {
	n := len(x.In)
	before := l.copies(x.Out, append([]gpu.Operand{x.In[0]}, x.In[2:n-2]...))
	coef, hyper, a := l.f32(x.In[n-2]), l.f32(x.In[n-1]), x.Attrs
	master := len(x.Out) == 4
	tensor := x.Out[len(x.Out)-1].Type.Shape
	rounded, g := l.wide(x.Out[0], tensor), l.wide(x.In[1], tensor)
	w := rounded
	if master {
		w = l.wide(x.Out[1], tensor)
	}
	m, v := l.moment(x.Out[len(x.Out)-2]), l.moment(x.Out[len(x.Out)-1])
	wh, gh := w.halves(), g.halves()
	halves := wh != nil && gh != nil
	onePass := halves && m.codes != nil && d.variant.step != nil
	b1, b2, eps := float32(a.Beta1), float32(a.Beta2), float32(a.Eps)
	c1, c2, decay := float32(1-a.Beta1), float32(1-a.Beta2), float32(a.WeightDecay)
	d.reserveBlocks(4, blockElems)
	k := d.variant
	update := d.inBlocks(tensor.Elems(), func(own *worker, lo, hi int) {
		lr, seed := hyper[0], uint32(hyper[3])
		s := stepArgs{k: coef[0], b1: b1, c1: c1, b2: b2, c2: c2, r1: 1 / hyper[1], r2: 1 / hyper[2], eps: eps, lr: lr,
			keep: 1 - lr*decay}
		if onePass && (hi-lo)%64 == 0 && sameUpper(splitmixState(seed, int64(lo)), hi-lo) {
			own.step = s
			k.stepInBlocks(wh, gh, m, v, lo, hi, own, seed)
			return
		}
		first, second := own.room[2][:hi-lo], own.room[3][:hi-lo]
		k.load(m, lo, first)
		k.load(v, lo, second)
		var mostM, mostV mosts
		x := own.room[0][:hi-lo]
		if halves {
			eachBlock(hi-lo, func(i, at, end int) {
				first, second := first[at:end], second[at:end]
				mostM[i], mostV[i] = k.halfAdamW(x[at:end], first, second, wh[lo+at:lo+end], gh[lo+at:lo+end], first, second,
					s.k, s.b1, s.c1, s.b2, s.c2, s.r1, s.r2, s.eps, s.lr, s.keep)
			})
		} else {
			x = w.load(k, lo, hi, own.room[0])
			grad := g.load(k, lo, hi, own.room[1])
			eachBlock(hi-lo, func(i, at, end int) {
				x, first, second := x[at:end], first[at:end], second[at:end]
				mostM[i], mostV[i] = k.adamw(x, first, second, x, grad[at:end], first, second,
					s.k, s.b1, s.c1, s.b2, s.c2, s.r1, s.r2, s.eps, s.lr, s.keep)
			})
		}
		k.keep(m, lo, first, &mostM, seed, gpu.DrawsOfM)
		k.keep(v, lo, second, &mostV, seed, gpu.DrawsOfV)
		if w.h != nil {
			w.draw(k, lo, x, seed)
			return
		}
		w.store(k, lo, x)
		if master {
			rounded.store(k, lo, x)
		}
	})
	return func() {
		before()
		if finite(float64(coef[0])) {
			update()
		}
	}
}

// stepArgs are the scalars of adamwLoop, the scales of a block, and the largest new moments, which variant.step leaves there.
type stepArgs struct{ k, b1, c1, b2, c2, r1, r2, eps, lr, keep, scaleM, scaleV, mostM, mostV float32 }

// stepInBlocks updates elements [lo, hi) in one pass, by the scalars in own.step, and stores the moments in another.
func (v *variant) stepInBlocks(w, g []uint16, first, second moment, lo, hi int, own *worker, seed uint32) {
	var mostM, mostV mosts
	om, ov := own.room[0][:hi-lo], own.room[1][:hi-lo]
	args := &own.step
	eachBlock(hi-lo, func(i, at, end int) {
		from := lo + at
		args.scaleM, args.scaleV = first.scales[from/gpu.CodeBlock], second.scales[from/gpu.CodeBlock]
		v.step(end-at, &w[from], &g[from], &first.bytes[from], &second.bytes[from], &om[at], &ov[at], &first.codes.planes[0][0],
			&second.codes.planes[0][0], args, splitmixState(seed, int64(from)))
		mostM[i], mostV[i] = args.mostM, args.mostV
	})
	v.keep(first, lo, om, &mostM, seed, gpu.DrawsOfM)
	v.keep(second, lo, ov, &mostV, seed, gpu.DrawsOfV)
}

func bindNarrowEMA(d *Device, l *loaded, x *gpu.Launch) func() {
	tensor, y := x.In[0].Type.Shape, x.Out[1]
	before := l.copies(x.Out[:1], x.In[:1])
	coef, hyper, a := l.f32(x.In[2]), l.f32(x.In[3]), x.Attrs
	m := l.moment(x.Out[0])
	g, u := l.wide(x.In[1], tensor), l.wide(y, tensor)
	gh := g.halves()
	b1, b2, c1, c2 := float32(a.Beta1), float32(a.Beta2), float32(1-a.Beta1), float32(1-a.Beta2)
	d.reserveBlocks(3, blockElems)
	k := d.variant
	update := d.inBlocks(tensor.Elems(), func(own *worker, lo, hi int) {
		mean, ahead := own.room[0][:hi-lo], u.at(lo, hi, own.room[2])
		k.load(m, lo, mean)
		if !finite(float64(coef[0])) {
			copy(ahead, mean)
			u.store(k, lo, ahead)
			return
		}
		var most mosts
		if gh != nil {
			eachBlock(hi-lo, func(i, at, end int) {
				most[i] = k.halfEMA(mean[at:end], ahead[at:end], mean[at:end], gh[lo+at:lo+end], b1, c1*coef[0], b2, c2*coef[0])
			})
		} else {
			grad := g.load(k, lo, hi, own.room[1])
			eachBlock(hi-lo, func(i, at, end int) {
				most[i] = k.ema(mean[at:end], ahead[at:end], mean[at:end], grad[at:end], b1, c1*coef[0], b2, c2*coef[0])
			})
		}
		k.keep(m, lo, mean, &most, uint32(hyper[3]), gpu.DrawsOfM)
		u.store(k, lo, ahead)
	})
	padded := y.Type.Shape.Elems() > tensor.Elems()
	return func() {
		before()
		if padded {
			u.clear()
		}
		update()
	}
}

// Inputs of adam_narrow are g, m, v, coef, hyper.
func bindNarrowAdam(d *Device, l *loaded, x *gpu.Launch) func() {
	tensor := x.In[1].Type.Shape
	before := l.copies(x.Out[1:], x.In[1:3])
	coef, hyper, a := l.f32(x.In[3]), l.f32(x.In[4]), x.Attrs
	g, y, m, v := l.wide(x.In[0], tensor), l.wide(x.Out[0], tensor), l.moment(x.Out[1]), l.moment(x.Out[2])
	b1, b2, c1, c2, eps := float32(a.Beta1), float32(a.Beta2), float32(1-a.Beta1), float32(1-a.Beta2), float32(a.Eps)
	d.reserveBlocks(4, blockElems)
	k := d.variant
	update := d.inBlocks(tensor.Elems(), func(own *worker, lo, hi int) {
		to, grad := y.at(lo, hi, own.room[0]), g.load(k, lo, hi, own.room[1])
		first, second := own.room[2][:hi-lo], own.room[3][:hi-lo]
		k.load(m, lo, first)
		k.load(v, lo, second)
		var mostM, mostV mosts
		eachBlock(hi-lo, func(i, at, end int) {
			to, grad, first, second := to[at:end], grad[at:end], first[at:end], second[at:end]
			mostM[i], mostV[i] = k.adam(to, first, second, grad, first, second, coef[0], b1, c1, b2, c2, hyper[1], eps)
		})
		k.keep(m, lo, first, &mostM, uint32(hyper[3]), gpu.DrawsOfM)
		k.keep(v, lo, second, &mostV, uint32(hyper[3]), gpu.DrawsOfV)
		y.store(k, lo, to)
	})
	padded := x.Out[0].Type.Shape.Elems() > tensor.Elems()
	return func() {
		before()
		skip := !finite(float64(coef[0]))
		if skip || padded {
			y.clear()
		}
		if !skip {
			update()
		}
	}
}
