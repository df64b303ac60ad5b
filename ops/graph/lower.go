package graph

import (
	"slices"
	"sort"

	"stepflow/gpu"
)

// lower turns the graph into launches and gives every value its place: leaves first in the arena,
// by role, then one region for the transient values of all segments.
func lower(g *Graph, caps gpu.Caps) *gpu.Program {
	p := &gpu.Program{}
	at, resident := residents(g, caps)
	p.ResidentBytes = resident
	for _, l := range g.leaves {
		o := gpu.Operand{Offset: at[l.number], Type: l.node.types[0]}
		p.Buffers = append(p.Buffers, gpu.Buffer{Name: l.name, Role: l.role, Operand: o, Shape: l.tensor})
	}
	sort.Slice(p.Buffers, func(i, j int) bool { return p.Buffers[i].Name < p.Buffers[j].Name })
	l := &lowering{program: p, caps: caps, at: at}
	for s, name := range g.segments {
		lo := len(p.Launches)
		l.segment(newSegment(g, s))
		depend(p.Launches[lo:])
		p.Segments = append(p.Segments, gpu.Segment{Name: name, Lo: lo, Hi: len(p.Launches)})
	}
	p.ArenaBytes = p.ResidentBytes + p.TransientBytes
	return p
}

// lowering makes the launches of a program.
type lowering struct {
	program *gpu.Program
	caps    gpu.Caps
	at      []int64    // offsets of the leaves, by their numbers
	seg     *segment   // at hand
	in      []gpu.Type // of the launch at hand
}

// segment places the transient values of a segment and adds its launches.
func (l *lowering) segment(seg *segment) {
	p := l.program
	l.seg = seg
	seg.share()
	spans, scratch := seg.spans(l.caps)
	p.TransientBytes = max(p.TransientBytes, place(spans))
	p.LowerBound = max(p.LowerBound, aliveAtOnce(spans))
	p.Launches = slices.Grow(p.Launches, len(seg.nodes)+len(seg.copies))
	for i, n := range seg.nodes {
		if n.kernel != beside.Name {
			p.Launches = append(p.Launches, l.launch(n, scratch[i]))
		}
	}
	for _, u := range seg.copies {
		t := u.leaf.node.types[0]
		from, to := l.operand(u.value), gpu.Operand{Offset: l.at[u.leaf.number], Type: t}
		from.Type = t
		p.Launches = append(p.Launches, gpu.Launch{Kernel: "copy", In: []gpu.Operand{from}, Out: []gpu.Operand{to},
			Bytes: 2 * t.Bytes(), Phase: gpu.Update, Layer: -1, Name: u.leaf.name})
	}
}

// operand is where a value lies.
func (l *lowering) operand(v Value) gpu.Operand {
	o := gpu.Operand{Type: v.Type(), Offset: v.node.at, Stride: v.node.stride}
	if v.node.leaf != nil {
		o.Offset += l.at[v.node.leaf.number]
		return o
	}
	root, at, stride := l.seg.lies(v)
	if o.Offset, o.Stride = at, stride; root.leaf != nil {
		o.Offset += l.at[root.leaf.number]
	} else {
		o.Offset += l.program.ResidentBytes + root.span.offset
	}
	return o
}

// launch is a node's launch; scratch is nil where it takes none.
func (l *lowering) launch(n *node, scratch *span) gpu.Launch {
	k := gpu.Lookup(n.kernel)
	x := gpu.Launch{Kernel: n.kernel, Attrs: n.attrs, Phase: n.phase, Layer: n.layer, Name: n.name,
		Recomputed: n.recomputed}
	x.In, x.Out = make([]gpu.Operand, len(n.in)), make([]gpu.Operand, len(n.types))
	l.in = l.in[:0]
	for j, v := range n.in {
		x.In[j] = l.operand(v)
		l.in = append(l.in, v.Type())
	}
	for o := range n.types {
		x.Out[o] = l.operand(Value{n, o})
	}
	if scratch != nil {
		need := k.ScratchOn(l.caps, n.attrs, l.in, n.types)
		t := gpu.Type{Shape: gpu.Shape{int(need+3) / 4}, DType: gpu.F32}
		x.Scratch = gpu.Operand{Offset: l.program.ResidentBytes + scratch.offset, Type: t}
		l.program.ScratchBytes = max(l.program.ScratchBytes, scratch.bytes)
	}
	x.FLOPs, x.Bytes = k.FLOPs(n.attrs, l.in, n.types), gpu.Bytes(l.in, n.types)
	return x
}

// residents gives the leaves their places, by role; at goes by their numbers. Joined leaves begin where their first part
// does.
func residents(g *Graph, caps gpu.Caps) (at []int64, total int64) {
	leaves := slices.Clone(g.leaves)
	sort.SliceStable(leaves, func(i, j int) bool { return leaves[i].role < leaves[j].role })
	at = make([]int64, len(leaves)+len(g.joined))
	for _, l := range leaves {
		at[l.number] = total
		total += gpu.Align(l.node.types[0].Bytes(), caps.Alignment)
	}
	for _, l := range g.joined {
		at[l.number] = at[l.parts[0].number]
	}
	return at, total
}

// fits reports whether the arena that lower would lay out is of at most limit bytes.
func fits(g *Graph, caps gpu.Caps, limit int64) bool {
	_, resident := residents(g, caps)
	for s := range g.segments {
		spans := transients(g, s, caps)
		if resident+aliveAtOnce(spans) > limit || resident+place(spans) > limit {
			return false
		}
	}
	return true
}

// arena is the size of the arena that lower would lay out, in bytes.
func arena(g *Graph, caps gpu.Caps) int64 {
	_, resident := residents(g, caps)
	var most int64
	for s := range g.segments {
		most = max(most, place(transients(g, s, caps)))
	}
	return resident + most
}

// transients are the values of a segment that lie in the region which all segments share.
func transients(g *Graph, s int, caps gpu.Caps) []*span {
	seg := newSegment(g, s)
	seg.share()
	spans, _ := seg.spans(caps)
	return spans
}

type segment struct {
	nodes    []*node // numbered
	uses     [][]use // of values
	lastUse  []int   // of values: index of the last reader; -1 for none
	lastRead []int   // of leaves, their views included
	storage  []storage
	updates  []update
	updated  map[Value]bool // values some update needs at the end
	copies   []update       // updates whose value could not be made in place
}

func newSegment(g *Graph, s int) *segment {
	seg := &segment{updated: map[Value]bool{}, lastRead: make([]int, len(g.leaves)+len(g.joined))}
	for _, n := range g.nodes {
		if n.segment == s {
			seg.nodes = append(seg.nodes, n)
		}
	}
	for _, u := range g.updates {
		if u.segment == s {
			seg.updates = append(seg.updates, u)
			seg.updated[u.value] = true
		}
	}
	values := number(seg.nodes)
	seg.uses, seg.lastUse, seg.storage = usesOf(seg.nodes, values), make([]int, values), make([]storage, values)
	for _, last := range [][]int{seg.lastUse, seg.lastRead} {
		for i := range last {
			last[i] = -1
		}
	}
	for i, n := range seg.nodes {
		for _, v := range n.in {
			if v.node.leaf != nil {
				seg.lastRead[v.node.leaf.number] = i
			} else {
				seg.lastUse[v.number()] = i
			}
		}
	}
	for _, l := range g.joined { // who reads joined leaves reads each of them
		for _, part := range l.parts {
			seg.lastRead[part.number] = max(seg.lastRead[part.number], seg.lastRead[l.number])
		}
	}
	for _, l := range g.joined { // and the other way round
		for _, part := range l.parts {
			seg.lastRead[l.number] = max(seg.lastRead[l.number], seg.lastRead[part.number])
		}
	}
	return seg
}

func (s *segment) reads(n *node, v Value) (c int) {
	for _, x := range n.in {
		if x.origin() == v.origin() {
			c++
		}
	}
	return c
}

// claim tries to make the value of an update in the leaf's own place. It follows the chain of
// in-place inputs from the value back; the first node of the chain may overwrite the leaf only if
// nobody reads the leaf after it, and no link of the chain is read after its successor was made.
func (s *segment) claim(u update) bool {
	old := Value{u.leaf.node, 0}
	chain := []Value{u.value}
	for {
		v := chain[len(chain)-1]
		i := v.node.pos
		if s.storage[v.number()].leaf != nil {
			return false // another update's place
		}
		next := Value{}
		for _, pair := range kernelOf(v.node).InPlace {
			if pair[0] != v.out || pair[1] >= len(v.node.in) {
				continue
			}
			in := v.node.in[pair[1]].whole()
			if in == old {
				if s.lastRead[u.leaf.number] > i || s.reads(v.node, old) > 1 {
					return false
				}
				return s.take(u.leaf, chain)
			}
			if in.node.leaf == nil && in == in.origin() && !s.updated[in] && s.lastUse[in.number()] == i &&
				in.Type().Bytes() == v.Type().Bytes() && s.reads(v.node, in) == 1 && s.reaches(in, old) {
				next = in
			}
		}
		if next.Valid() {
			chain = append(chain, next)
			continue
		}
		// The chain ends in a value made from scratch: it may go to the leaf's place once the
		// leaf has no reader from there on.
		if s.lastRead[u.leaf.number] >= chain[0].node.pos {
			return false
		}
		return s.take(u.leaf, chain[:1])
	}
}

// reaches reports whether v is made in place, step by step, from the leaf value old.
func (s *segment) reaches(v, old Value) bool {
	for _, pair := range kernelOf(v.node).InPlace {
		if pair[0] != v.out || pair[1] >= len(v.node.in) {
			continue
		}
		in := v.node.in[pair[1]].whole()
		if in == old || in.node.leaf == nil && in == in.origin() && s.reaches(in, old) {
			return true
		}
	}
	return false
}

func (s *segment) take(l *leaf, chain []Value) bool {
	for _, v := range chain {
		s.storage[v.number()].leaf = l
	}
	return true
}

// spans gives each transient storage its lifetime, and each launch with scratch a span of its own.
func (s *segment) spans(caps gpu.Caps) (all []*span, scratch []*span) {
	up := func(n int64) int64 { return gpu.Align(n, caps.Alignment) }
	scratch = make([]*span, len(s.nodes))
	var in []gpu.Type
	for i, n := range s.nodes {
		for o, t := range n.types {
			v := Value{n, o}
			r := s.storage[v.number()].root()
			if r.leaf != nil {
				continue
			}
			last := max(i, s.lastUse[v.number()])
			if r.span == nil {
				r.span = &span{first: i, last: last, bytes: up(t.Bytes())}
				all = append(all, r.span)
			}
			r.span.last = max(r.span.last, last)
			r.span.bytes = max(r.span.bytes, up(t.Bytes()))
		}
		in = in[:0]
		for _, v := range n.in {
			in = append(in, v.Type())
		}
		if need := kernelOf(n).ScratchOn(caps, n.attrs, in, n.types); need > 0 {
			scratch[i] = &span{first: i, last: i, bytes: up(gpu.Align(need, 4))}
			all = append(all, scratch[i])
		}
	}
	return all, scratch
}
