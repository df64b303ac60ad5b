package graph

import (
	"slices"
	"strings"

	"stepflow/gpu"
)

// pack makes one product of those that read the same matrix, as q, k, v and gate, up do. Their weights become
// neighbours in the arena; with nothing between them, their rows are those of one matrix W:
//
//	y = x Wᵀ     the results are columns of y, and are read there
//	dx = dy W    the gradients of the results are columns of dy, and are written there
//	dW += dyᵀ x
//
// Each leaf keeps its buffer, name and shape. Products stay apart where a result is read by a kernel that takes no rows
// that lie apart, such as a norm of q; where columns would not begin at multiples of 16 bytes, which a thread of a card
// moves at once; and where weights do not fill whole units of the arena's alignment.
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

	// What look finds, and what rebuild does.
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

// rebuild drops dead nodes and updates by their values, and inserts new nodes before those that they were made for.
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

// alone returns the only reader of a value; nil where there are more or none, or where an update reads it too.
func (p *packer) alone(v Value) *use {
	if u := p.usesOf(v); len(u) == 1 && len(p.updates[v]) == 0 {
		return &u[0]
	}
	return nil
}

// takeRows reports whether all readers of a value, but those of one kernel, take it with rows that lie apart.
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

// wholeLeaf returns the leaf that a value is; nil where it is another value or a view.
func wholeLeaf(v Value) *leaf {
	if v.node.leaf == nil || v != v.origin() {
		return nil
	}
	return v.node.leaf
}

// sideName names several modules of one place: layers.0.mlp.gate_proj+up_proj.
func sideName(nodes []*node) string {
	name := nodes[0].name
	for _, n := range nodes[1:] {
		name += "+" + n.name[strings.LastIndexByte(n.name, '.')+1:]
	}
	return name
}

// projection is a product x wᵀ, and the node that adds its bias b; that is the product itself where there is no bias.
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
	var all groups[projectionKey, projection]
	for _, n := range p.g.nodes {
		if x, ok := p.projection(n); ok {
			all.add(projectionKey{n.in[0], n.segment, n.recomputed, n.attrs.Alpha, x.w.role, x.b != nil}, x)
		}
	}
	for _, list := range all.lists {
		p.project(list)
	}
}

// groups collects lists by a key, in the order in which the keys come first.
type groups[K comparable, V any] struct {
	lists [][]V
	at    map[K]int // indices of lists
}

func (g *groups[K, V]) add(key K, v V) {
	i, ok := g.at[key]
	if !ok {
		if g.at == nil {
			g.at = map[K]int{}
		}
		i = len(g.lists)
		g.at[key] = i
		g.lists = append(g.lists, nil)
	}
	g.lists[i] = append(g.lists[i], v)
}

// narrow reports whether the right operand of a product has another element type than the left one: such weights stay
// apart, since each is widened on its own.
func narrow(n *node) bool { return n.in[0].Type().DType != n.in[1].Type().DType }

func (p *packer) projection(n *node) (x projection, ok bool) {
	if n.kernel != "matmul" || len(n.in) != 2 || n.attrs.TransA || !n.attrs.TransB || narrow(n) {
		return x, false
	}
	x = projection{product: n, end: n, w: wholeLeaf(n.in[1])}
	y := Value{n, 0}
	if u := p.alone(y); u != nil && u.node.kernel == "bias_add" && u.input == 0 && u.node.in[0] == y {
		x.end, x.b = u.node, wholeLeaf(u.node.in[1])
	}
	return x, x.w != nil && (x.end == n || x.b != nil) && p.takeRows(Value{x.end, 0}, "")
}

// project makes one product of several. Their results become columns of its result.
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
