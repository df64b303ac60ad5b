package graph

import "stepflow/gpu"

// storage is where a value lives: memory of its own, a leaf, or a place in another storage, as columns of a matrix
// where stride is set.
type storage struct {
	parent *storage
	at     int64 // bytes from the start of the parent
	stride int   // elements from row to row of the parent; 0 where the value takes it in one piece
	held   bool  // other values live in it

	leaf *leaf // the leaf whose place it is; nil for transient memory
	span *span
}

// place is the storage at the bottom, and where in it the value lies.
func (s *storage) place() (root *storage, at int64, stride int) {
	for s.parent != nil {
		at += s.at
		stride = max(stride, s.stride)
		s = s.parent
	}
	return s, at, stride
}

func (s *storage) root() *storage {
	root, _, _ := s.place()
	return root
}

// goes puts a storage that has no place yet into another.
func (s *storage) goes(to *storage, at int64, stride int) {
	s.parent, s.at, s.stride = to, at, stride
	to.held = true
}

// use is one reading of a value.
type use struct {
	node  *node
	input int
}

// usesOf lists who reads the outputs of numbered nodes, or views of them, by their numbers.
func usesOf(nodes []*node, values int) [][]use {
	uses := make([][]use, values)
	for _, n := range nodes {
		for i, v := range n.in {
			if v.node.leaf == nil {
				uses[v.number()] = append(uses[v.number()], use{n, i})
			}
		}
	}
	return uses
}

// takesRows reports whether a reader of v takes it with rows that lie apart.
func (u use) takesRows(v Value) bool {
	x := u.node.in[u.input]
	return u.input < kernelOf(u.node).Strided.In && x.whole() == v && x.Shape().Cols() == v.Shape().Cols()
}

// share decides which values are columns of one matrix, and which outputs take over the storage of an input or of the
// leaf they update.
func (s *segment) share() {
	claimed := map[Value]bool{}
	for _, u := range s.updates {
		if u.value.node.leaf != nil { // a plain copy of another leaf
			s.copies = append(s.copies, u)
			continue
		}
		if u.value == u.value.origin() && !claimed[u.value] && s.claim(u) {
			claimed[u.value] = true
			continue
		}
		s.copies = append(s.copies, u)
		s.lastUse[u.value.number()] = len(s.nodes) // read by the copy at the end
	}
	for _, n := range s.nodes {
		if n.kernel == beside.Name {
			s.columns(n)
		}
	}
	for _, n := range s.nodes {
		taken := 0 // a bit an output
		for _, pair := range kernelOf(n).InPlace {
			o, j := pair[0], pair[1]
			if j >= len(n.in) || taken>>o&1 == 1 {
				continue
			}
			in, out := n.in[j].whole(), Value{n, o}
			if s.ends(n, in) && in.Type().Bytes() == out.Type().Bytes() && s.put(out, in) {
				taken |= 1 << o
			}
		}
	}
}

// columns places the inputs of beside in its output.
func (s *segment) columns(n *node) {
	joint := Value{n, 0}
	var at int64
	for _, v := range n.in {
		s.storage[v.number()].goes(&s.storage[joint.number()], at, joint.Shape().Cols())
		at += int64(v.Shape().Cols()) * v.Type().DType.Size()
	}
}

// ends reports whether a node is the last to read a transient value, or columns of one, and reads it once.
func (s *segment) ends(n *node, v Value) bool {
	o := v.origin()
	if v != o && v.node.stride == 0 || o.node.leaf != nil || s.lastUse[o.number()] == len(s.nodes) {
		return false
	}
	here := 0
	for _, u := range s.uses[o.number()] {
		if !gpu.Overlap(inOrigin(v), inOrigin(u.node.in[u.input])) {
			continue
		}
		if u.node.pos > n.pos {
			return false
		}
		if u.node == n {
			here++
		}
	}
	return here == 1
}

// inOrigin is where a value lies in its origin.
func inOrigin(v Value) gpu.Operand {
	return gpu.Operand{Offset: v.node.at, Type: v.Type(), Stride: v.node.stride}
}

// put places an output where an input lies that ends at its node. It returns false where that cannot be.
func (s *segment) put(out, in Value) bool {
	to, of := &s.storage[out.number()], &s.storage[in.number()]
	from, at, stride := s.lies(in)
	if from.leaf != nil || to.root().leaf != nil || from == to.root() {
		return false
	}
	switch {
	case to.parent == nil:
		if stride != 0 && !s.takeRows(out) {
			return false
		}
		to.goes(from, at, stride)
	case in == in.origin() && of.parent == nil && !of.held: // the output is columns of a matrix; the input goes there
		if !s.takeRows(in) {
			return false
		}
		of.goes(to, 0, 0)
	default:
		return s.replaces(out.node, to.parent, from)
	}
	return true
}

// lies returns the storage at the bottom of a value, or of columns of one, and its place there.
func (s *segment) lies(v Value) (root *storage, at int64, stride int) {
	root, at, stride = s.storage[v.number()].place()
	return root, at + v.node.at, max(stride, v.node.stride)
}

// takeRows reports whether a value may have rows that lie apart, by who makes it and who reads it.
func (s *segment) takeRows(v Value) bool {
	if v.out >= kernelOf(v.node).Strided.Out || s.lastUse[v.number()] == len(s.nodes) {
		return false
	}
	for _, u := range s.uses[v.number()] {
		if !u.takesRows(v) {
			return false
		}
	}
	return true
}

// replaces puts a joint matrix in the place of another. The columns of the first are the outputs of one node, and those
// of the other its inputs, which end there; each output may be put where the input of the same columns lies.
func (s *segment) replaces(n *node, joint, matrix *storage) bool {
	cols := 0
	for o := range n.types {
		x := &s.storage[n.value+o]
		cols += n.types[o].Shape.Cols()
		found := false
		for _, pair := range kernelOf(n).InPlace {
			if pair[0] != o {
				continue
			}
			in := n.in[pair[1]].whole()
			if root, at, stride := s.lies(in); root == matrix && s.ends(n, in) {
				found = found || x.parent == joint && x.at == at && x.stride == stride
			}
		}
		if !found {
			return false
		}
	}
	if cols != s.storage[n.value].stride {
		return false
	}
	joint.goes(matrix, 0, 0)
	return true
}
