package graph

import (
	"cmp"
	"slices"
	"strings"

	"stepflow/gpu"
)

// pack makes one product of those that read the same matrix, as q, k, v and gate, up do. With W the rows of their weights one
// after the other, which are one matrix since neighbours in the arena have nothing between them:
//
//	y = x Wᵀ    the results are columns of y, and who reads them reads them there
//	dx = dy W   where what makes the gradients of the results writes them as columns of dy
//	dW += dyᵀ x
//
// The leaves stay what they are: each has its buffer, name and shape. What cannot be packed is left alone: a result that
// somebody reads who takes no strided rows, such as a norm of q; columns that would not begin at a multiple of 16 bytes, which
// is what a thread of a card moves at once; weights that do not fill whole units of the arena's alignment.
func pack(g *Graph, caps gpu.Caps) {
	p := &packer{g: g, leaves: newArrangement(g, caps.Alignment)}
	p.look()
	p.projections()
	p.rebuild()
	p.look()
	p.gradients()
	p.rebuild()
	p.leaves.settle()
}

type packer struct {
	g      *Graph
	leaves *arrangement

	// What look found, and rebuild is to do.
	uses    [][]use
	updates map[Value][]int // of values, by their indices
	insert  map[*node][]*node
	dead    map[*node]bool
	next    int // the id of the next new node
}

func (p *packer) look() {
	p.uses = usesOf(p.g.nodes, number(p.g.nodes))
	p.updates, p.insert, p.dead = map[Value][]int{}, map[*node][]*node{}, map[*node]bool{}
	for _, n := range p.g.nodes {
		p.next = max(p.next, n.id+1)
	}
	for i, u := range p.g.updates {
		o := u.value.origin()
		p.updates[o] = append(p.updates[o], i)
	}
}

// rebuild drops dead nodes and the updates by them, and puts new nodes before those they were made for.
func (p *packer) rebuild() {
	nodes := make([]*node, 0, len(p.g.nodes))
	for _, n := range p.g.nodes {
		nodes = append(nodes, p.insert[n]...)
		if !p.dead[n] {
			nodes = append(nodes, n)
		}
	}
	p.g.nodes = nodes
	p.g.updates = slices.DeleteFunc(p.g.updates, func(u update) bool { return p.dead[u.value.node] })
}

// usesOf lists the readers of a value.
func (p *packer) usesOf(v Value) []use { return p.uses[v.number()] }

// alone is the only reader of a value that nobody else keeps; nil where there are more or none.
func (p *packer) alone(v Value) *use {
	if u := p.usesOf(v); len(u) == 1 && len(p.updates[v]) == 0 {
		return &u[0]
	}
	return nil
}

// takeRows reports whether all readers of a value take it with rows that lie apart.
func (p *packer) takeRows(v Value, but string) bool {
	return len(p.updates[v]) == 0 && !slices.ContainsFunc(p.usesOf(v), func(u use) bool {
		return u.node.kernel != but && !u.takesRows(v)
	})
}

// vector is the bytes that a thread of a card reads at once: columns begin at a multiple of it.
const vector = 16

// aligned reports whether values of these widths may lie side by side.
func aligned(widths []int, t gpu.DType) bool {
	at := 0
	for _, w := range widths {
		if at%vector != 0 {
			return false
		}
		at += w * int(t.Size())
	}
	return at%vector == 0
}

// wholeLeaf is the leaf that a value is all of; nil where it is something else.
func wholeLeaf(v Value) *leaf {
	if v.node.leaf == nil || v != v.origin() {
		return nil
	}
	return v.node.leaf
}

// sideName names what several modules of one place compute: layers.0.mlp.gate_proj+up_proj.
func sideName(nodes []*node) string {
	name := nodes[0].name
	for _, n := range nodes[1:] {
		name += "+" + n.name[strings.LastIndexByte(n.name, '.')+1:]
	}
	return name
}

// projection is a product x wᵀ, and the node that gives its result: one that adds a bias, or the product.
type projection struct {
	product, end *node
	w, b         *leaf
}

// projectionKey is what products have in common that can be one.
type projectionKey struct {
	x          Value
	segment    int
	recomputed bool
	alpha      float64
	role       gpu.Role
	biased     bool
}

// projections packs the products x wᵀ.
func (p *packer) projections() {
	var keys []projectionKey
	groups := map[projectionKey][]projection{}
	for _, n := range p.g.nodes {
		x, ok := p.projection(n)
		if !ok {
			continue
		}
		key := projectionKey{n.in[0], n.segment, n.recomputed, n.attrs.Alpha, x.w.role, x.b != nil}
		if groups[key] == nil {
			keys = append(keys, key)
		}
		groups[key] = append(groups[key], x)
	}
	for _, key := range keys {
		p.project(groups[key])
	}
}

func (p *packer) projection(n *node) (x projection, ok bool) {
	if n.kernel != "matmul" || len(n.in) != 2 || n.attrs.TransA || !n.attrs.TransB {
		return x, false
	}
	x = projection{product: n, end: n, w: wholeLeaf(n.in[1])}
	if u := p.alone(Value{n, 0}); u != nil && u.node.kernel == "bias_add" && u.input == 0 && u.node.in[0] == (Value{n, 0}) {
		x.end, x.b = u.node, wholeLeaf(u.node.in[1])
	}
	return x, x.w != nil && (x.end == n || x.b != nil) && p.takeRows(Value{x.end, 0}, "")
}

// project makes one product of several, and columns of its result of theirs.
func (p *packer) project(list []projection) {
	if len(list) < 2 {
		return
	}
	var ws, bs []*leaf
	var widths []int
	var products []*node
	for _, x := range list {
		ws, bs, products = append(ws, x.w), append(bs, x.b), append(products, x.product)
		widths = append(widths, x.w.node.types[0].Shape[0])
	}
	first := list[0]
	biased := first.b != nil
	t := first.product.types[0]
	if !aligned(widths, t.DType) || !p.leaves.can(ws) || biased && !p.leaves.can(bs) {
		return
	}
	w := p.leaves.join(ws)
	all := *first.product
	all.in, all.name = []Value{first.product.in[0], {w.node, 0}}, sideName(products)
	all.types = []gpu.Type{{Shape: withCols(t.Shape, w.node.types[0].Shape[0]), DType: t.DType}}
	made := []*node{&all}
	if biased {
		sum := *first.end
		sum.in, sum.types, sum.name = []Value{{&all, 0}, {p.leaves.join(bs).node, 0}}, all.types, all.name
		made = append(made, &sum)
	}
	p.insert[first.product] = made
	y := Value{made[len(made)-1], 0}
	lo := 0
	for i, x := range list {
		p.dead[x.product], p.dead[x.end] = true, true
		for _, u := range p.usesOf(Value{x.end, 0}) {
			u.node.in[u.input] = p.g.columns(y, lo, u.node.in[u.input].Type())
		}
		lo += widths[i]
	}
}

func withCols(s gpu.Shape, n int) gpu.Shape {
	t := slices.Clone(s)
	t[len(t)-1] = n
	return t
}

// joint is a matrix dy whose columns are the gradients of several results.
type joint struct {
	parts  []Value
	node   *node // that puts them side by side
	reader *node // the first that reads it
}

// cols is the part of dy that the parts from lo on take, n of them.
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

// gradientPacker makes one product of those that read gradients of results of one matrix.
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

// joint puts gradients side by side, where their makers can write and their readers can read them there. It returns nil
// where they cannot.
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

// term is a product d w, part of a sum dx = d w + d' w' + ... that products add up one after the other.
type term struct {
	n   *node
	d   Value
	w   *leaf
	sum *[]*node // the products of the sum, in order
}

// termKey is what terms of a sum have in common that can be one.
type termKey struct {
	sum   *[]*node
	role  gpu.Role
	alpha float64
}

// inputs packs the products dx = dy W.
func (q *gradientPacker) inputs() {
	var keys []termKey
	groups := map[termKey][]term{}
	terms := map[*node]term{}
	for _, n := range q.g.nodes {
		if n.kernel != "matmul" || n.attrs.TransA || n.attrs.TransB {
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
		key := termKey{x.sum, x.w.role, n.attrs.Alpha}
		if groups[key] == nil {
			keys = append(keys, key)
		}
		groups[key] = append(groups[key], x)
	}
	for _, key := range keys {
		q.addUp(groups[key])
	}
}

// addUp makes one product of terms of a sum, where the last of them is.
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

// contribution is a chain of nodes that add something made of d to a leaf, which nobody else reads.
type contribution struct {
	nodes  []*node
	d      Value
	leaf   *leaf
	update int
}

// contribution follows a node that reads d to the update of a leaf that it leads to. addend is the input by which the last of
// the chain reads that leaf.
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

// addends are the inputs by which kernels read a leaf that they add to.
var addends = map[string]int{"matmul": 2, "add": 0}

// contributionKey is what contributions have in common that can be one.
type contributionKey struct {
	x     Value
	role  gpu.Role
	alpha float64
}

// weights packs the products dW += dyᵀ x.
func (q *gradientPacker) weights() {
	var keys []contributionKey
	groups := map[contributionKey][]contribution{}
	for _, n := range q.g.nodes {
		if n.kernel != "matmul" || !n.attrs.TransA || n.attrs.TransB || !madeWhole(n.in[0].whole()) {
			continue
		}
		c, ok := q.contribution(n, n.in[0].whole())
		if !ok || len(c.nodes) != 1 {
			continue
		}
		key := contributionKey{n.in[1], c.leaf.role, n.attrs.Alpha}
		if groups[key] == nil {
			keys = append(keys, key)
		}
		groups[key] = append(groups[key], c)
	}
	for _, key := range keys {
		list := groups[key]
		slices.SortStableFunc(list, func(a, b contribution) int { return q.leaves.before(a.leaf, b.leaf) })
		if j := q.jointOf(list); j != nil {
			q.addTo(j, list)
		}
	}
}

// jointOf is the matrix that the gradients of contributions are columns of: one that is there, of which they take all or
// neighbouring columns, or a new one. It sorts them by their columns, and returns nil where they can have none.
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
	late := func(v Value) bool { return v.node.pos > reader.pos } // a column that is not there yet
	if slices.ContainsFunc(j.parts, late) || !q.leaves.can(leavesOf(list)) {
		return nil
	}
	return j
}

// latest is the contribution that begins last.
func latest(list []contribution) contribution {
	return slices.MaxFunc(list, func(a, b contribution) int { return cmp.Compare(a.nodes[0].pos, b.nodes[0].pos) })
}

func leavesOf(list []contribution) (ls []*leaf) {
	for _, c := range list {
		ls = append(ls, c.leaf)
	}
	return ls
}

// addTo makes one contribution to joined leaves of several, where the last of them is.
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
