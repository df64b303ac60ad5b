package graph

import (
	"slices"
	"sort"

	"stepflow/gpu"
)

// extent is the place of an operand that some launches of a segment name: bytes in the range [lo, hi), and where it is
// columns of a matrix, how wide these are and how far apart its rows.
type extent struct {
	lo, hi       int64
	cols, stride int
}

// accesses are the launches that read or wrote an extent and that no later write has covered, nor later writes to
// columns of a matrix together.
type accesses struct {
	reads, writes []int32
	over          []gpu.Operand // such columns, written since
}

// covered notes that o was written, and reports whether that leaves nothing of what was read or written at x.
func (a *accesses) covered(o, x gpu.Operand) bool {
	if o.Covers(x) {
		return true
	}
	if o.Stride == 0 {
		return false
	}
	same := func(p gpu.Operand) bool { return extentOf(p) == extentOf(o) }
	if !slices.ContainsFunc(a.over, same) {
		a.over = append(a.over, o)
	}
	return coverTogether(a.over, rowBytes(o.Stride, o), x)
}

// coverTogether reports whether some of these columns, those of a matrix with rows of so many bytes, cover all of x,
// which is columns of it too or whole rows.
func coverTogether(columns []gpu.Operand, row int64, x gpu.Operand) bool {
	if x.Stride == 0 {
		size := x.Type.DType.Size()
		if size == 0 || x.Type.Bytes()%row != 0 || row%size != 0 {
			return false
		}
		x.Stride = int(row / size)
		x.Type.Shape = gpu.Shape{int(x.Type.Bytes() / row), x.Stride}
	}
	column := x
	column.Type.Shape = gpu.Shape{x.Type.Shape.Rows(), 1}
	for end := x.Offset + rowBytes(x.Type.Shape.Cols(), x); column.Offset < end; {
		next := column.Offset
		for _, o := range columns {
			if o.Covers(column) { // those with rows as far apart
				next = max(next, column.Offset+rowBytes(o.Type.Shape.Cols(), o)-(column.Offset-o.Offset)%row)
			}
		}
		if next == column.Offset {
			return false
		}
		column.Offset = next
	}
	return true
}

// rowBytes is the size of n elements of an operand.
func rowBytes(n int, o gpu.Operand) int64 { return int64(n) * o.Type.DType.Size() }

// depend finds for each launch the earlier ones it must wait for: read after write, write after
// read, write after write, on overlapping bytes.
func depend(ls []gpu.Launch) {
	live := newHistory(ls)
	var deps []int32
	var covered []int
	var writes []gpu.Operand
	for i := range ls {
		l := &ls[i]
		deps, covered = deps[:0], covered[:0]
		writes = append(append(writes[:0], l.Out...), l.Scratch)
		for _, o := range l.In {
			live.overlapping(o, false, func(n int) { deps = append(deps, live.at[n].writes...) })
		}
		for _, o := range writes {
			live.overlapping(o, true, func(n int) {
				deps = append(append(deps, live.at[n].writes...), live.at[n].reads...)
				if live.at[n].covered(o, live.operands[n]) {
					covered = append(covered, n)
				}
			})
		}
		for _, n := range covered {
			live.set(n, accesses{})
		}
		for _, o := range l.In {
			live.note(o, int32(i), false)
		}
		for _, o := range writes {
			live.note(o, int32(i), true)
		}
		if len(deps) > 0 {
			slices.Sort(deps)
			l.Deps = slices.Clone(slices.Compact(deps))
		}
	}
}

func extentOf(o gpu.Operand) extent {
	x := extent{lo: o.Offset, hi: o.Offset + o.Span()}
	if o.Stride != 0 {
		x.cols, x.stride = o.Type.Shape.Cols(), o.Stride
	}
	return x
}

// history holds the accesses to every extent of a segment's launches. Extents are sorted by where
// they start; a binary tree over them knows the furthest end of those that were written, and of
// those that were accessed at all, so that only extents that overlap are looked at.
type history struct {
	extents  []extent
	operands []gpu.Operand // one that names each extent
	at       []accesses
	index    map[extent]int
	leaves   int
	written  []int64 // node → furthest end below it; 0 for none
	touched  []int64
}

func newHistory(ls []gpu.Launch) *history {
	h := &history{index: map[extent]int{}}
	name := func(o gpu.Operand) {
		x := extentOf(o)
		if _, ok := h.index[x]; !ok && x.lo < x.hi {
			h.index[x] = 0
			h.operands = append(h.operands, o)
		}
	}
	for i := range ls {
		for _, o := range ls[i].In {
			name(o)
		}
		for _, o := range ls[i].Out {
			name(o)
		}
		name(ls[i].Scratch)
	}
	sort.Slice(h.operands, func(i, j int) bool {
		a, b := extentOf(h.operands[i]), extentOf(h.operands[j])
		return a.lo < b.lo || a.lo == b.lo && a.hi < b.hi
	})
	for i, o := range h.operands {
		x := extentOf(o)
		h.index[x] = i
		h.extents = append(h.extents, x)
	}
	h.leaves = 1
	for h.leaves < len(h.extents) {
		h.leaves *= 2
	}
	h.at, h.written, h.touched = make([]accesses, len(h.extents)), make([]int64, 2*h.leaves), make([]int64, 2*h.leaves)
	return h
}

// note adds an access of a launch.
func (h *history) note(o gpu.Operand, launch int32, write bool) {
	n, ok := h.index[extentOf(o)]
	if !ok {
		return // of no bytes
	}
	a := h.at[n]
	a.over = nil
	if write {
		a.writes = append(a.writes, launch)
	} else {
		a.reads = append(a.reads, launch)
	}
	h.set(n, a)
}

func (h *history) set(n int, a accesses) {
	h.at[n] = a
	end := func(some bool) int64 {
		if some {
			return h.extents[n].hi
		}
		return 0
	}
	setLeaf(h.written, h.leaves+n, end(len(a.writes) > 0))
	setLeaf(h.touched, h.leaves+n, end(len(a.writes)+len(a.reads) > 0))
}

// setLeaf changes a leaf of a tree of maxima.
func setLeaf(tree []int64, node int, value int64) {
	if tree[node] == value {
		return
	}
	tree[node] = value
	for node /= 2; node > 0; node /= 2 {
		tree[node] = max(tree[2*node], tree[2*node+1])
	}
}

// overlapping calls f for every extent that shares bytes with o and was written, or with reads was
// accessed at all.
func (h *history) overlapping(o gpu.Operand, reads bool, f func(n int)) {
	x := extentOf(o)
	tree := h.written
	if reads {
		tree = h.touched
	}
	// Those before start early enough.
	end := sort.Search(len(h.extents), func(i int) bool { return h.extents[i].lo >= x.hi })
	var walk func(node, lo, hi int)
	walk = func(node, lo, hi int) {
		switch {
		case lo >= end || tree[node] <= x.lo:
		case hi == lo+1:
			if gpu.Overlap(o, h.operands[lo]) {
				f(lo)
			}
		default:
			walk(2*node, lo, (lo+hi)/2)
			walk(2*node+1, (lo+hi)/2, hi)
		}
	}
	if x.lo < x.hi {
		walk(1, 0, h.leaves)
	}
}
