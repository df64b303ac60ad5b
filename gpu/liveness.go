package gpu

import (
	"slices"
	"sort"
)

// Tensor is a value in the transient region of the arena, alive from the launch that makes it to the last that reads
// it, or to the one before that writes over it.
type Tensor struct {
	Name        string // kernel and place of the launch that made it
	Operand     Operand
	First, Last int // launches, indices into Program.Launches
	Output      int // which of the launch's outputs
}

// Bytes is what the tensor takes.
func (t Tensor) Bytes() int64 { return t.Operand.Span() }

// Transients lists the tensors of a segment in the order in which they are made. An output written over an input takes
// its place; a view counts as what it looks at, outputs that are columns of one matrix as that matrix, and an output of
// no bytes is left out.
func (p *Program) Transients(s Segment) []Tensor {
	var all []Tensor
	var held layout
	for i := s.Lo; i < s.Hi; i++ {
		l := &p.Launches[i]
		for _, in := range l.In {
			lo, hi := held.overlapping(all, in)
			for _, n := range held[lo:hi] {
				all[n].Last = i
			}
		}
		for o, out := range l.Out {
			if out.Offset < p.ResidentBytes || out.Span() == 0 {
				continue
			}
			lo, hi := held.overlapping(all, out)
			if hi == lo+1 && all[held[lo]].Last == i && within(out, all[held[lo]].Operand) {
				continue // part of a tensor is changed where it lies
			}
			if hi == lo+1 && all[held[lo]].Operand.beside(out) {
				t := &all[held[lo]]
				t.Operand, t.Last = t.Operand.hull(out), max(t.Last, i)
				continue
			}
			for _, n := range held[lo:hi] {
				all[n].Last = min(all[n].Last, i-1)
			}
			held = slices.Replace(held, lo, hi, len(all))
			all = append(all, Tensor{Name: l.Kernel + " " + l.Name, Operand: out, First: i, Last: i, Output: o})
		}
	}
	return all
}

// layout is what lies in the arena at a launch: indices of tensors that share no bytes, in the order of their offsets.
type layout []int

// overlapping returns the range [lo, hi) of the layout whose tensors share bytes with o; where none do, the place of o.
func (y layout) overlapping(all []Tensor, o Operand) (lo, hi int) {
	if o.Span() == 0 {
		return 0, 0
	}
	end := o.Offset + o.Span()
	lo = sort.Search(len(y), func(i int) bool { return all[y[i]].Operand.Offset+all[y[i]].Bytes() > o.Offset })
	return lo, lo + sort.Search(len(y)-lo, func(i int) bool { return all[y[lo+i]].Operand.Offset >= end })
}

// within reports whether o is a part of t, and not all of it.
func within(o, t Operand) bool {
	return t.Offset <= o.Offset && o.Offset+o.Span() <= t.Offset+t.Span() && o.Span() < t.Span()
}

// hull is the columns of a matrix that two others span, with those between them.
func (a Operand) hull(b Operand) Operand {
	from, to := min(a.Offset, b.Offset), max(a.Offset+a.rowBytes(), b.Offset+b.rowBytes())
	size := a.Type.DType.Size()
	return Operand{Offset: from, Stride: a.Stride,
		Type: Type{Shape{max(a.Type.Shape.Rows(), b.Type.Shape.Rows()), int((to - from) / size)}, a.Type.DType}}
}

// AliveBytes returns, for each launch of a segment, the bytes of the arena that hold something: named buffers, tensors
// that are alive, and the launch's own scratch.
func (p *Program) AliveBytes(s Segment) []int64 {
	change := make([]int64, s.Hi-s.Lo+1) // of the bytes that tensors take, from one launch to the next
	for _, t := range p.Transients(s) {
		change[t.First-s.Lo] += t.Bytes()
		change[t.Last+1-s.Lo] -= t.Bytes()
	}
	bytes := change[:s.Hi-s.Lo]
	alive := p.ResidentBytes
	for i, d := range bytes {
		alive += d
		bytes[i] = alive + p.Launches[s.Lo+i].Scratch.Type.Bytes()
	}
	return bytes
}
