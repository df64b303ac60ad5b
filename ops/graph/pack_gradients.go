package graph

import (
	"cmp"
	"slices"

	"stepflow/gpu"
)

// joint is a matrix dy. Its columns are the gradients of several results, its parts.
type joint struct {
	parts  []Value
	node   *node // of kernel beside
	reader *node // the first
}

// cols returns the columns of n parts, from part lo on.
func (j *joint) cols(g *Graph, lo, n int) Value {
	y := Value{j.node, 0}
	if n == len(j.parts) {
		return y
	}
	width := func(parts []Value) (w int) {
		for _, v := range parts {
			w += v.Shape().Cols()
		}
		return w
	}
	t := gpu.Type{Shape: withCols(y.Shape(), width(j.parts[lo:lo+n])), DType: y.Type().DType}
	return g.columns(y, width(j.parts[:lo]), t)
}

// gradientPacker packs the products of the backward pass.
type gradientPacker struct {
	*packer
	joints map[Value]*joint // by the gradients that are parts
	all    []*joint
}

func (p *packer) gradients() {
	q := &gradientPacker{packer: p, joints: map[Value]*joint{}}
	q.inputs()
	q.weights()
	for _, j := range q.all {
		p.insert[j.reader] = append(p.insert[j.reader], j.node)
	}
}

// joint puts gradients side by side. It returns nil where their kernels cannot write them there, or their readers not
// read them there.
func (q *gradientPacker) joint(parts []Value) *joint {
	var widths []int
	biases := 0
	for i, v := range parts {
		if q.joints[v] != nil || slices.Contains(parts[:i], v) || v.out >= kernelOf(v.node).Strided.Out ||
			!q.takeRows(v, "sum_rows") || v.node.segment != parts[0].node.segment {
			return nil
		}
		widths = append(widths, v.Shape().Cols())
		for _, u := range q.usesOf(v) {
			if u.node.kernel == "sum_rows" {
				biases++
			}
		}
	}
	if len(parts) < 2 || !aligned(widths, parts[0].Type().DType) {
		return nil
	}
	types := make([]gpu.Type, len(parts))
	nodes := make([]*node, len(parts))
	for i, v := range parts {
		types[i], nodes[i] = v.Type(), v.node
	}
	t, err := beside.Infer(gpu.Attrs{}, types)
	if err != nil {
		return nil
	}
	j := &joint{parts: parts}
	last := nodes[len(nodes)-1]
	j.node = &node{id: q.next, kernel: beside.Name, in: parts, types: t, segment: last.segment, phase: last.phase,
		layer: last.layer, name: sideName(nodes)}
	if biases > 0 && !q.biases(j) {
		return nil
	}
	q.next++
	for _, v := range parts {
		q.joints[v] = j
	}
	q.all = append(q.all, j)
	return j
}

// read notes that a node reads dy.
func (j *joint) read(n *node) {
	if j.reader == nil || n.pos < j.reader.pos {
		j.reader = n
	}
}

// term is a product d w that is part of a sum dx = d w + d' w' + ..., in which each product adds to the one before it.
type term struct {
	n   *node
	d   Value
	w   *leaf
	sum *[]*node // the products, in order
}

// termKey is what terms of a sum have in common that can be one.
type termKey struct {
	sum   *[]*node
	role  gpu.Role
	alpha float64
}

// inputs packs the products dx = dy W.
func (q *gradientPacker) inputs() {
	var all groups[termKey, term]
	terms := map[*node]term{}
	for _, n := range q.g.nodes {
		if n.kernel != "matmul" || n.attrs.TransA || n.attrs.TransB || narrow(n) {
			continue
		}
		x := term{n: n, d: n.in[0].whole(), w: wholeLeaf(n.in[1])}
		if x.w == nil || !madeWhole(x.d) {
			continue
		}
		if len(n.in) == 3 {
			if before, ok := terms[n.in[2].whole().node]; ok && q.alone(n.in[2].whole()) != nil {
				x.sum = before.sum
			}
		}
		if x.sum == nil {
			x.sum = new([]*node)
		}
		*x.sum = append(*x.sum, n)
		terms[n] = x
		all.add(termKey{x.sum, x.w.role, n.attrs.Alpha}, x)
	}
	for _, list := range all.lists {
		q.addUp(list)
	}
}

// addUp makes one product of terms of a sum, in the place of the last of them.
func (q *gradientPacker) addUp(list []term) {
	last := list[len(list)-1].n
	slices.SortFunc(list, func(a, b term) int { return q.leaves.before(a.w, b.w) })
	var ws []*leaf
	var parts []Value
	var nodes []*node
	for _, x := range list {
		ws, parts, nodes = append(ws, x.w), append(parts, x.d), append(nodes, x.n)
	}
	if len(list) < 2 || !q.leaves.can(ws) {
		return
	}
	j := q.joint(parts)
	if j == nil {
		return
	}
	sum := list[0].sum
	var addend []Value
	if head := (*sum)[0]; len(head.in) == 3 {
		addend = head.in[2:]
	}
	*sum = slices.DeleteFunc(*sum, func(n *node) bool { return n != last && slices.Contains(nodes, n) })
	last.in = []Value{{j.node, 0}, {q.leaves.join(ws).node, 0}}
	last.name = sideName(nodes)
	j.read(last)
	for _, n := range nodes {
		q.dead[n] = n != last
	}
	for _, n := range *sum { // each adds to what the one before it gives
		n.in = append(n.in[:2:2], addend...)
		addend = []Value{{n, 0}}
	}
}

// madeWhole reports whether a value is all of what a node gives.
func madeWhole(v Value) bool { return v.node.leaf == nil && v == v.origin() }

// contribution is a chain of nodes from a reader of d to an update, which adds to a leaf.
type contribution struct {
	nodes  []*node
	d      Value
	leaf   *leaf
	update int
}

// contribution follows a reader of d to an update. It returns false where another node reads what lies between.
func (q *gradientPacker) contribution(first *node, d Value) (c contribution, ok bool) {
	c = contribution{d: d}
	for n := first; ; {
		c.nodes = append(c.nodes, n)
		v := Value{n, 0}
		if len(n.types) != 1 {
			return c, false
		}
		if u := q.updates[v]; len(u) == 1 && len(q.usesOf(v)) == 0 {
			c.update, c.leaf = u[0], q.g.updates[u[0]].leaf
			at, adds := addends[n.kernel]
			return c, adds && len(n.in) > at && wholeLeaf(n.in[at]) == c.leaf && q.g.updates[u[0]].value == v
		}
		u := q.alone(v)
		if u == nil || u.node.kernel != "cast" && u.node.kernel != "add" || u.node.in[u.input] != v {
			return c, false
		}
		n = u.node
	}
}

// addends are the inputs of kernels that they add to.
var addends = map[string]int{"matmul": 2, "add": 0}

// contributionKey is what contributions have in common that can be one.
type contributionKey struct {
	x     Value
	role  gpu.Role
	alpha float64
}

// weights packs the products dW += dyᵀ x.
func (q *gradientPacker) weights() {
	var all groups[contributionKey, contribution]
	for _, n := range q.g.nodes {
		if n.kernel != "matmul" || !n.attrs.TransA || n.attrs.TransB || !madeWhole(n.in[0].whole()) {
			continue
		}
		c, ok := q.contribution(n, n.in[0].whole())
		if !ok || len(c.nodes) != 1 {
			continue
		}
		all.add(contributionKey{n.in[1], c.leaf.role, n.attrs.Alpha}, c)
	}
	for _, list := range all.lists {
		slices.SortStableFunc(list, func(a, b contribution) int { return q.leaves.before(a.leaf, b.leaf) })
		if j := q.jointOf(list); j != nil {
			q.addTo(j, list)
		}
	}
}

// jointOf returns the matrix in which the gradients of contributions are neighbouring columns: one that is there, or a
// new one; nil where there can be none. It sorts the contributions by their columns.
func (q *gradientPacker) jointOf(list []contribution) *joint {
	if len(list) < 2 {
		return nil
	}
	var parts []Value
	for _, c := range list {
		parts = append(parts, c.d)
	}
	j := q.joints[parts[0]]
	if j == nil {
		if !q.leaves.can(leavesOf(list)) {
			return nil
		}
		return q.joint(parts)
	}
	at := func(c contribution) int { return slices.Index(j.parts, c.d) }
	slices.SortStableFunc(list, func(a, b contribution) int { return cmp.Compare(at(a), at(b)) })
	for i, c := range list {
		if at(c) < 0 || at(c) != at(list[0])+i {
			return nil
		}
	}
	reader := latest(list).nodes[0]
	late := func(v Value) bool { return v.node.pos > reader.pos } // made after the matrix is read
	if slices.ContainsFunc(j.parts, late) || !q.leaves.can(leavesOf(list)) {
		return nil
	}
	return j
}

// latest returns the contribution that begins last.
func latest(list []contribution) contribution {
	return slices.MaxFunc(list, func(a, b contribution) int { return cmp.Compare(a.nodes[0].pos, b.nodes[0].pos) })
}

func leavesOf(list []contribution) (ls []*leaf) {
	for _, c := range list {
		ls = append(ls, c.leaf)
	}
	return ls
}

// addTo makes one contribution to joined leaves of several, in the place of the last of them.
func (q *gradientPacker) addTo(j *joint, list []contribution) {
	last := latest(list)
	l := q.leaves.join(leavesOf(list))
	var firsts []*node
	for _, c := range list {
		firsts = append(firsts, c.nodes[0])
		for i, n := range c.nodes {
			q.dead[n] = n != last.nodes[i]
		}
	}
	last.nodes[0].in[0] = j.cols(q.g, slices.Index(j.parts, list[0].d), len(list))
	j.read(last.nodes[0])
	name := sideName(firsts)
	for _, n := range last.nodes {
		n.name = name
		n.types = []gpu.Type{{Shape: l.node.types[0].Shape, DType: n.types[0].DType}}
	}
	end := last.nodes[len(last.nodes)-1]
	end.in[addends[end.kernel]] = Value{l.node, 0}
	q.g.updates[last.update].leaf = l
}

// biases packs the sums db += Σ dy over rows.
func (q *gradientPacker) biases(j *joint) bool {
	var list []contribution
	for _, v := range j.parts {
		for _, u := range q.usesOf(v) {
			if u.node.kernel != "sum_rows" {
				continue
			}
			c, ok := q.contribution(u.node, v)
			if !ok || len(list) > 0 && len(c.nodes) != len(list[0].nodes) {
				return false
			}
			list = append(list, c)
		}
	}
	if len(list) != len(j.parts) || !q.leaves.can(leavesOf(list)) {
		return false
	}
	q.addTo(j, list)
	return true
}
