package cpu

import (
	"math"
	"unsafe"
)

// tile multiplies packed panels, steps rows of mr and of nr elements, times alpha, into the mr x nr tile
// at c. An element of a panel is 32 bits: a float32, or two bf16. An addend comes from another tile
// with the same distance between rows, or from c itself.
type tile struct {
	mr, nr int
	run    func(steps int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)
}

// at runs the tile on the starts of slices.
func (t *tile) at(steps int, a, b, c []float32, ldc, mode int, alpha float32) {
	t.run(steps, unsafe.Pointer(&a[0]), unsafe.Pointer(&b[0]), unsafe.Pointer(&c[0]), unsafe.Pointer(&c[0]), ldc, mode,
		alpha)
}

// How a tile leaves its result.
const (
	store     = iota // c = result in f32
	add              // c = from + result in f32
	storeBF16        // c = result rounded to bf16; these two only where the tile takes pairs
	addBF16          // c = from + result, rounded once
)

// tileSet is the tiles of one element type: the general one, one for few columns, one for few
// rows, such as a LoRA's products have, and some for still fewer, such as those of tokens that are generated. All add up
// in the same order, so the choice changes no bits.
type tileSet struct {
	wide, narrow, short *tile
	few                 []*tile // the fewest rows first
}

func (s *tileSet) pick(m, n int) *tile {
	switch {
	case n <= s.narrow.nr:
		return s.narrow
	case m > s.short.mr:
		return s.wide
	}
	for _, t := range s.few {
		if m <= t.mr {
			return t
		}
	}
	return s.short
}

// variant is the code of one instruction set.
type variant struct {
	name  string
	f32   tileSet
	pairs *tileSet // bf16 operands, packed in pairs along k; nil: they are widened when packed
	loopTable
	coding
	unpacking
	widen     func(dst []float32, src []uint16)
	narrow    func(dst []uint16, src []float32)
	copyPanel func(k int, dst []float32, w int, src []float32, ld, n int) // nil: in Go
	transpose func(k int, dst []float32, w int, src unsafe.Pointer, ldBytes, rows, lanes int)
	pairPanel func(k int, dst []float32, w int, src []uint16, ld, n int)
}

var portableTile = &tile{4, 4, tilePortable}

// variants lists what this machine can run, the best first; portable is always last.
var variants = append(archVariants(), variant{name: "portable", f32: tileSet{portableTile, portableTile, portableTile, nil},
	loopTable: portableLoops, coding: portableCoding, widen: widenLoop, narrow: narrowLoop})

func tilePortable(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32) {
	as, bs := unsafe.Slice((*float32)(a), 4*k), unsafe.Slice((*float32)(b), 4*k)
	var t [16]float32
	for l := 0; l < k; l++ {
		x, y := as[4*l:4*l+4:4*l+4], bs[4*l:4*l+4:4*l+4]
		for i, xi := range x {
			t[4*i] += xi * y[0]
			t[4*i+1] += xi * y[1]
			t[4*i+2] += xi * y[2]
			t[4*i+3] += xi * y[3]
		}
	}
	cs, old := unsafe.Slice((*float32)(c), 3*ldc+4), unsafe.Slice((*float32)(from), 3*ldc+4)
	for i := 0; i < 4; i++ {
		row := cs[i*ldc : i*ldc+4]
		for j := range row {
			if mode == add {
				row[j] = old[i*ldc+j] + alpha*t[4*i+j]
			} else {
				row[j] = alpha * t[4*i+j]
			}
		}
	}
}

const (
	blockSteps = 1024 // rows of a packed panel at most
	blockF32   = 768  // depth of a packed block of f32: where a long sum is cut, so it fixes the result's bits
	blockM     = 56   // rows of A packed at a time at most
	blockN     = 1024 // columns of B packed at a time at most
	maxMR      = 14
	maxNR      = 32
)

// matrix is a row-major view with a row stride in elements; trans reads it transposed.
type matrix struct {
	buffer
	ld    int
	trans bool
	quantised
}

func dense(b buffer, ld int, trans bool) matrix { return matrix{buffer: b, ld: ld, trans: trans} }

// half reports whether its elements are multiplied in bf16.
func (m matrix) half() bool { return m.h != nil || m.round }

// sub is the view that starts at row r, column c of the matrix as read.
func (m matrix) sub(r, c int) matrix {
	if m.trans {
		r, c = c, r
	}
	if m.codes.decode != nil {
		m.top, m.left = m.top+r, m.left+c
	} else {
		m.buffer = m.buffer.tail(r*m.ld + c)
	}
	return m
}

func (m matrix) t() matrix { m.trans = !m.trans; return m }

// layout says how a product's operands are packed.
type layout struct {
	v     *variant
	tile  *tile
	pairs bool
}

func (v *variant) layout(m, n int, bf16 bool) layout {
	tiles := v.tiles(bf16)
	return layout{v, tiles.pick(m, n), tiles == v.pairs}
}

func (v *variant) tiles(bf16 bool) *tileSet {
	if bf16 && v.pairs != nil {
		return v.pairs
	}
	return &v.f32
}

// steps is the number of panel rows that k takes.
func (y layout) steps(k int) int {
	if y.pairs {
		return (k + 1) / 2
	}
	return k
}

// depth is the largest k of one packed block.
func (y layout) depth() int {
	if y.pairs {
		return 2 * blockSteps
	}
	return blockF32
}

// packA lays rows of a [m,k] out as panels of mr rows, packB columns of b [k,n] as panels of
// nr columns; both k-major, the last padded with zeros.
func (y layout) packA(own *worker, dst []float32, a matrix, m, k int) {
	y.pack(own, dst, a.t(), k, m, y.tile.mr)
}

func (y layout) packB(own *worker, dst []float32, b matrix, k, n int) {
	y.pack(own, dst, b, k, n, y.tile.nr)
}

func (y layout) pack(own *worker, dst []float32, m matrix, k, n, w int) {
	if m.codes.decode != nil {
		y.packStored(own, dst, m, k, n, w)
		return
	}
	steps := y.steps(k)
	for j := 0; j < n; j += w {
		y.panel(own, dst[j*steps:][:w*steps], m.sub(0, j), k, min(w, n-j), w)
	}
}

func (y layout) panel(own *worker, dst []float32, m matrix, k, n, w int) {
	v := y.v
	switch {
	case m.h != nil && !y.pairs:
		y.widenPanel(own, dst, m, k, n, w)
	case m.trans && v.transpose != nil:
		k32, src := k, unsafe.Pointer(unsafe.SliceData(m.f))
		size := 4
		if y.pairs {
			k32, src, size = k/2, unsafe.Pointer(unsafe.SliceData(m.h)), 2
		}
		for r := 0; r < w; r += 16 {
			lanes := min(16, w-r)
			if r >= n {
				for l := 0; l < k32; l++ {
					clear(dst[l*w+r:][:lanes])
				}
				continue
			}
			if k32 > 0 {
				v.transpose(k32, dst[r:], w, unsafe.Add(src, r*m.ld*size), m.ld*size, min(16, n-r), lanes)
			}
		}
		if y.pairs && k%2 == 1 {
			last := dst[k32*w:][:w]
			clear(last)
			for r := 0; r < n; r++ {
				last[r] = math.Float32frombits(uint32(m.h[r*m.ld+k-1]))
			}
		}
	case y.pairs:
		v.pairPanel(k, dst, w, m.h, m.ld, n)
	case !m.trans && v.copyPanel != nil:
		v.copyPanel(k, dst, w, m.f, m.ld, n)
	default:
		floatPanel(dst, m, k, n, w)
	}
}

func floatPanel(d []float32, m matrix, k, n, w int) {
	if n < w {
		clear(d)
	}
	if !m.trans {
		for l := 0; l < k; l++ {
			copy(d[l*w:][:n], m.f[l*m.ld:])
		}
		return
	}
	// Four columns at a time: each is a contiguous run of the source.
	c := 0
	for ; c+4 <= n; c += 4 {
		s0, s1 := m.f[c*m.ld:][:k], m.f[(c+1)*m.ld:][:k]
		s2, s3 := m.f[(c+2)*m.ld:][:k], m.f[(c+3)*m.ld:][:k]
		o := c
		for l := range s0 {
			to := d[o : o+4 : o+4]
			to[0], to[1], to[2], to[3] = s0[l], s1[l], s2[l], s3[l]
			o += w
		}
	}
	for ; c < n; c++ {
		for l, x := range m.f[c*m.ld:][:k] {
			d[l*w+c] = x
		}
	}
}

// widenPanel lays bf16 out as float32. Rows that become columns are widened a piece at a time, side by side.
func (y layout) widenPanel(own *worker, d []float32, m matrix, k, n, w int) {
	if !m.trans {
		if n < w {
			clear(d)
		}
		for l := 0; l < k; l++ {
			y.v.widen(d[l*w:][:n], m.h[l*m.ld:][:n])
		}
		return
	}
	for l0 := 0; l0 < k; l0 += widePiece {
		piece := min(widePiece, k-l0)
		for c := 0; c < n; c++ {
			y.v.widen(own.wide[c*piece:][:piece], m.h[c*m.ld+l0:][:piece])
		}
		y.panel(own, d[l0*w:][:piece*w], dense(buffer{f: own.wide[:n*piece]}, piece, true), piece, n, w)
	}
}

// output is where a product goes: rows of ld elements.
type output struct {
	buffer
	ld   int
	add  bool   // to what is in from
	from buffer // rows as far apart as those of c; none means c itself

	flipped bool // the product is transposed: its rows are c's columns
}

func (c output) sub(r, col int) output {
	if c.flipped {
		r, col = col, r
	}
	at := r*c.ld + col
	c.buffer, c.from = c.buffer.tail(at), c.from.tail(at)
	return c
}

// multiply runs the tiles of packed a [m,k] and b [k,n], those at the edges, and those whose
// result the tile can't store itself, by way of a tile beside.
func (y layout) multiply(w *worker, m, n, k int, alpha float32, a, b []float32, c output) {
	t, steps := y.tile, y.steps(k)
	mode, size := store, 4
	if c.h != nil {
		mode, size = storeBF16, 2
	}
	if c.add {
		mode++
	}
	if c.from.len() == 0 {
		c.from = c.buffer
	}
	base, from := c.pointer(), c.from.pointer()
	direct := (c.h == nil || y.pairs) && !c.flipped
	for j := 0; j < n; j += t.nr {
		for i := 0; i < m; i += t.mr {
			ap, bp := unsafe.Pointer(&a[i*steps]), unsafe.Pointer(&b[j*steps])
			if direct && i+t.mr <= m && j+t.nr <= n {
				t.run(steps, ap, bp, unsafe.Add(base, (i*c.ld+j)*size), unsafe.Add(from, (i*c.ld+j)*size), c.ld, mode,
					alpha)
				continue
			}
			t.at(steps, a[i*steps:], b[j*steps:], w.edge[:], t.nr, store, alpha)
			if c.flipped {
				rows := min(t.mr, m-i)
				for col := 0; col < min(t.nr, n-j); col++ {
					x := w.lane[1][:rows]
					for r := range x {
						x[r] = w.edge[r*t.nr+col]
					}
					y.v.leave(w, c, (j+col)*c.ld+i, x)
				}
				continue
			}
			for r := 0; r < min(t.mr, m-i); r++ {
				y.v.leave(w, c, (i+r)*c.ld+j, w.edge[r*t.nr:][:min(t.nr, n-j)])
			}
		}
	}
}

// leave stores x at element at of c, the addend added.
func (v *variant) leave(w *worker, c output, at int, x []float32) {
	from := c.from
	if from.len() == 0 {
		from = c.buffer
	}
	if c.h == nil {
		to := c.f[at:][:len(x)]
		if c.add {
			v.add(to, from.f[at:][:len(x)], x)
		} else {
			copy(to, x)
		}
		return
	}
	for to := c.h[at:][:len(x)]; len(x) > 0; {
		n := min(len(x), maxNR)
		y := x[:n]
		if c.add {
			y = w.lane[0][:n]
			v.widen(y, from.h[at:at+n])
			v.add(y, y, x[:n])
		}
		v.narrow(to[:n], y)
		x, to, at = x[n:], to[n:], at+n
	}
}
