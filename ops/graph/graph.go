// Package graph is the intermediate representation of a training step.
//
// A Graph is built by constructors that check shapes and types with the rules of gpu's kernel
// table; the first error sticks and comes out of Compile. Leaves are named buffers that outlive a
// run (weights, gradients, inputs); Update says which value a leaf holds when a segment has run.
// Grad adds the reverse-mode derivative; Compile prunes, fuses, finds lifetimes, gives every value
// an offset in one arena and returns a gpu.Program.
package graph

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"time"

	"stepflow/gpu"
)

// Value is one output of a node. The zero Value means "none".
type Value struct {
	node *node
	out  int
}

// Valid reports whether v is a value at all.
func (v Value) Valid() bool { return v.node != nil }

// Type is what the value holds.
func (v Value) Type() gpu.Type { return v.node.types[v.out] }

// Shape is the shape of the value.
func (v Value) Shape() gpu.Shape { return v.Type().Shape }

type node struct {
	id      int // order of creation
	kernel  string
	attrs   gpu.Attrs
	in      []Value
	types   []gpu.Type
	segment int
	phase   gpu.Phase
	layer   int
	name    string

	recomputed bool // a copy made by Recompute or Remake
	remade     bool // built by Remade
	apart      bool // made by AddApart
	late       bool // built by Late

	leaf   *leaf // set for leaves and views of leaves
	source Value // of a view of a value that a node makes
	at     int64 // byte offset of a view inside its leaf or its source
	stride int   // elements from row to row of a view that takes some columns; 0 for one without gaps

	// The pass at work numbers the nodes it looks at, and their outputs, so that what it knows of them lies in slices.
	pos   int
	value int // number of output 0
}

// number gives the nodes and their outputs consecutive numbers, and tells how many outputs there are.
func number(nodes []*node) (values int) {
	for i, n := range nodes {
		n.pos, n.value = i, values
		values += len(n.types)
	}
	return values
}

// origin is the value that a view lies in, and of any other value the value itself.
func (v Value) origin() Value {
	switch {
	case v.node.leaf != nil:
		return Value{v.node.leaf.node, 0}
	case v.node.source.Valid():
		return v.node.source
	}
	return v
}

// whole is the origin of a view that takes all of it; v itself where v is a part.
func (v Value) whole() Value {
	if o := v.origin(); o.Type().Bytes() == v.Type().Bytes() {
		return o
	}
	return v
}

// onto is the same view of another origin, of its own shape where v is no view.
func (v Value) onto(o Value) Value {
	if v == v.origin() {
		return o
	}
	n := *v.node
	n.source = o
	return Value{&n, 0}
}

// number is the number of an output of a numbered node, and of a view that of its origin.
func (v Value) number() int {
	o := v.origin()
	return o.node.value + o.out
}

type leaf struct {
	name   string
	role   gpu.Role
	tensor gpu.Shape // of what it holds, where its own shape is padded; else nil
	wide   gpu.Shape // that it counts as in products, where it is quantised and has no padding; else nil
	node   *node
	number int     // index among the leaves, and of joined ones after them
	parts  []*leaf // of joined leaves: those whose memory it is, one behind the other
}

type update struct {
	segment int
	leaf    *leaf
	value   Value
}

// Graph collects nodes, segment by segment.
type Graph struct {
	nodes    []*node
	leaves   []*leaf
	joined   []*leaf // that pack made: they have no buffers of their own
	byName   map[string]*leaf
	updates  []update
	segments []string
	bytes    int64 // of all leaves and values and what making them takes
	err      error

	// Where new nodes belong.
	phase gpu.Phase
	layer int
	name  string

	// Timed is told how long each pass of compilation took; nil for nobody.
	Timed func(pass string, start time.Time, took time.Duration)
}

// New makes an empty graph.
func New() *Graph { return &Graph{byName: map[string]*leaf{}, layer: -1} }

// Err is the first error of a constructor.
func (g *Graph) Err() error { return g.err }

func (g *Graph) fail(format string, args ...any) Value {
	if g.err == nil {
		g.err = fmt.Errorf("graph: "+format, args...)
	}
	return Value{}
}

// ErrTooLarge is in the error of a graph whose buffers take more bytes than offsets can count.
var ErrTooLarge = errors.New("more bytes than can be counted")

// most bounds the sum of the bytes of all buffers, so of an arena however it is laid out.
const most = 1 << 62

// count adds up what buffers take, and reports whether it can still be counted.
func (g *Graph) count(kernel, name string, bytes ...int64) bool {
	g.bytes = gpu.Sum(append(bytes, g.bytes)...)
	if g.bytes >= most {
		g.fail("%s %s: buffers take %w", kernel, name, ErrTooLarge)
		return false
	}
	return true
}

// Segment starts a part that is run on its own; values of other segments are reached through leaves.
func (g *Graph) Segment(name string, phase gpu.Phase) {
	g.segments = append(g.segments, name)
	g.phase = phase
}

// Phase says what the next nodes are for, until the next segment.
func (g *Graph) Phase(phase gpu.Phase) { g.phase = phase }

// At names the place in the model that the next nodes belong to; layer is -1 outside the layers.
func (g *Graph) At(layer int, name string) { g.layer, g.name = layer, name }

// Leaf declares a named buffer that outlives a run.
func (g *Graph) Leaf(name string, role gpu.Role, t gpu.Type) Value {
	return g.Padded(name, role, t, t.Shape)
}

// Padded is Leaf for a tensor of type t in a buffer of shape wide, which may have more rows and columns. The value has
// them. They hold zeros: the host writes them, and what updates the leaf must make zeros of zeros. A quantised buffer has
// the tensor's shape, and products with it are as wide.
func (g *Graph) Padded(name string, role gpu.Role, t gpu.Type, wide gpu.Shape) Value {
	var tensor, product gpu.Shape
	switch {
	case wide.Equal(t.Shape):
	case t.DType.Stored():
		product = wide
	default:
		tensor, t.Shape = t.Shape, wide
	}
	if g.byName[name] != nil {
		return g.fail("two buffers named %q", name)
	}
	if !g.count("buffer", name, t.Bytes()) {
		return Value{}
	}
	l := &leaf{name: name, role: role, tensor: tensor, wide: product, number: len(g.leaves)}
	l.node = &node{types: []gpu.Type{t}, leaf: l, layer: -1, name: name, segment: -1}
	g.leaves = append(g.leaves, l)
	g.byName[name] = l
	return Value{l.node, 0}
}

// View reads part of a value, in row-major order: shape elements from element offset on. It is no launch and takes no
// memory: the part is read where it lies. Grad goes through it.
func (g *Graph) View(v Value, offset int, shape gpu.Shape) Value {
	if !v.Valid() {
		return g.fail("view of a missing value")
	}
	t := v.Type()
	if offset < 0 || slices.ContainsFunc(shape, func(n int) bool { return n < 0 }) ||
		gpu.Sum(int64(offset), int64(shape.Elems())) > int64(t.Shape.Elems()) {
		return g.fail("%s: a view stays inside what it reads; %v at %d does not lie in %v",
			v.node.name, shape, offset, t)
	}
	o := v.origin()
	n := &node{types: []gpu.Type{{Shape: shape, DType: t.DType}}, segment: v.node.segment, phase: v.node.phase,
		layer: v.node.layer, name: v.node.name,
		leaf: v.node.leaf, at: int64(offset) * t.DType.Size()}
	if n.leaf == nil {
		n.source = o
	}
	if v != o {
		n.at += v.node.at
	}
	return Value{n, 0}
}

// columns reads columns of a matrix from column lo on, as a value of type t, where they lie.
func (g *Graph) columns(v Value, lo int, t gpu.Type) Value {
	part := g.View(v, lo, gpu.Shape{1})
	part.node.types, part.node.stride = []gpu.Type{t}, v.Shape().Cols()
	return part
}

// Reshape reads a value, row-major, as one of another shape with as many elements, such as [batch, seq, heads·d] as
// [batch, seq, heads, d]. It is no launch.
func (g *Graph) Reshape(v Value, shape ...int) Value {
	if v.Valid() && gpu.Shape(shape).Elems() != v.Shape().Elems() {
		return g.fail("%s: %v cannot be read as %v", v.node.name, v.Type(), gpu.Shape(shape))
	}
	return g.View(v, 0, shape)
}

// Slice reads n entries of an axis, from entry lo on. What lies in one piece is a view; of the rest a product reads the
// rows where they lie, and other kernels a copy.
func (g *Graph) Slice(v Value, axis, lo, n int) Value {
	if !v.Valid() {
		return g.fail("slice of a missing value")
	}
	s := v.Shape()
	if axis < 0 || axis >= len(s) || lo < 0 || n < 1 || n > s[axis]-lo {
		return g.fail("%s: %d entries from %d on of axis %d do not lie in %v", v.node.name, n, lo, axis, v.Type())
	}
	shape := slices.Clone(s)
	shape[axis] = n
	outer, inner := s[:axis].Elems(), s[axis+1:].Elems()
	if outer == 1 || n == s[axis] {
		return g.View(v, lo*inner, shape)
	}
	rows := v
	if axis < len(s)-1 {
		rows = g.Reshape(v, outer, s[axis]*inner)
	}
	y := g.Op1("slice", gpu.Attrs{Lo: lo * inner, Cols: n * inner}, rows)
	if axis < len(s)-1 && y.Valid() {
		y = g.Reshape(y, shape...)
	}
	return y
}

// Op adds a launch of a kernel and gives its outputs.
func (g *Graph) Op(kernel string, a gpu.Attrs, in ...Value) []Value {
	k := gpu.Lookup(kernel)
	if k == nil {
		panic("graph: no kernel " + kernel)
	}
	n := &node{id: len(g.nodes), kernel: kernel, attrs: a, in: in, segment: len(g.segments) - 1, phase: g.phase,
		layer: g.layer, name: g.name}
	ts := make([]gpu.Type, len(in))
	for i, v := range in {
		if !v.Valid() {
			g.fail("%s %s: input %d is missing", kernel, g.name, i)
			return make([]Value, 4)
		}
		ts[i] = v.Type()
		if v.node.leaf == nil && v.node.segment != n.segment {
			g.fail("%s %s: input %d belongs to segment %s", kernel, g.name, i, g.segments[v.node.segment])
		}
	}
	out, err := k.Infer(a, ts)
	if err != nil {
		g.fail("%s %s: %w", kernel, g.name, err)
		return make([]Value, 4)
	}
	if n.segment < 0 {
		g.fail("%s %s: no segment was started", kernel, g.name)
	}
	for _, t := range out {
		if !g.count(kernel, g.name, t.Bytes()) {
			return make([]Value, 4)
		}
	}
	if !g.count(kernel, g.name, k.ScratchOn(gpu.Caps{}, a, ts, out)) {
		return make([]Value, 4)
	}
	n.types = out
	g.nodes = append(g.nodes, n)
	vs := make([]Value, len(out))
	for i := range vs {
		vs[i] = Value{n, i}
	}
	return vs
}

// Op1 is Op for kernels of one output.
func (g *Graph) Op1(kernel string, a gpu.Attrs, in ...Value) Value { return g.Op(kernel, a, in...)[0] }

// Add is a + b.
func (g *Graph) Add(a, b Value) Value { return g.Op1("add", gpu.Attrs{}, a, b) }

// AddApart is a + b where b is complete before it is added: no product that makes b begins with a.
func (g *Graph) AddApart(a, b Value) Value {
	y := g.Add(a, b)
	if y.Valid() {
		y.node.apart = true
	}
	return y
}

// Matmul is op(a) op(b), op transposing where told.
func (g *Graph) Matmul(a, b Value, transA, transB bool) Value {
	at := gpu.Attrs{TransA: transA, TransB: transB, Alpha: 1}
	if b.Valid() && b.node.leaf != nil && b.node.leaf.wide != nil {
		if at.Cols = b.node.leaf.wide.Cols(); transB {
			at.Cols = b.node.leaf.wide.Rows()
		}
	}
	return g.Op1("matmul", at, a, b)
}

// Linear is x wᵀ (+ b): x [..., in], w [out, in], b [out] or none, as in PyTorch.
func (g *Graph) Linear(x, w, b Value) Value {
	y := g.Matmul(x, w, false, true)
	if b.Valid() {
		y = g.Op1("bias_add", gpu.Attrs{}, y, b)
	}
	return y
}

// Projection computes one projection of x [batch, seq, in]: module names it, w is [out, in], b [out]
// or none. An architecture calls it for each of its own; an adapter supplies its own.
type Projection func(g *Graph, module string, x, w, b Value) Value

// Update says that when the current segment has run, the leaf holds v; of another leaf, what that holds then.
func (g *Graph) Update(leaf, v Value) {
	switch {
	case !leaf.Valid() || !v.Valid():
		g.fail("update of or by a missing value")
	case leaf.node.leaf == nil || leaf.node.at != 0 || leaf.node != leaf.node.leaf.node:
		g.fail("%s: only a whole leaf can be updated", leaf.node.name)
	case leaf.Type().DType != v.Type().DType || leaf.Shape().Elems() != v.Shape().Elems():
		g.fail("%s: updates %v by %v", leaf.node.name, leaf.Type(), v.Type())
	case v.node.leaf == nil && v.node.segment != len(g.segments)-1:
		g.fail("%s: updated by a value of segment %s", leaf.node.name, g.segments[v.node.segment])
	default:
		g.updates = append(g.updates, update{len(g.segments) - 1, leaf.node.leaf, v.whole()})
	}
}

// String prints the graph, a node a line, in the form tests compare.
func (g *Graph) String() string {
	var b strings.Builder
	for s, name := range g.segments {
		fmt.Fprintf(&b, "%s:\n", name)
		for _, n := range g.nodes {
			if n.segment != s {
				continue
			}
			fmt.Fprintf(&b, "  %%%d = %s", n.id, n.kernel)
			for _, v := range n.in {
				fmt.Fprintf(&b, " %s", show(v))
			}
			for _, t := range n.types {
				fmt.Fprintf(&b, " %v", t)
			}
			b.WriteByte('\n')
		}
		for _, u := range g.updates {
			if u.segment == s {
				fmt.Fprintf(&b, "  %s <- %s\n", u.leaf.name, show(u.value))
			}
		}
	}
	return b.String()
}

// show names a value: the leaf or %node, .output where the node has several, [shape]+offset of a view, in elements, and
// /stride where its rows do not lie in one piece.
func show(v Value) string {
	o := v.origin()
	if o != v {
		text := show(o) + v.Shape().String()
		if v.node.at > 0 {
			text += fmt.Sprintf("+%d", v.node.at/v.Type().DType.Size())
		}
		if v.node.stride > 0 {
			text += fmt.Sprintf("/%d", v.node.stride)
		}
		return text
	}
	switch {
	case v.node.leaf != nil:
		return v.node.leaf.name
	case len(v.node.types) > 1:
		return fmt.Sprintf("%%%d.%d", v.node.id, v.out)
	}
	return fmt.Sprintf("%%%d", v.node.id)
}
