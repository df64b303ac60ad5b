package graph

import (
	"slices"

	"stepflow/gpu"
)

// Remade builds a value that is cheaper to make again than to keep: after Remake the backward pass has its own.
func (g *Graph) Remade(build func() Value) Value {
	from := len(g.nodes)
	v := build()
	for _, n := range g.nodes[from:] {
		n.remade = true
	}
	return v
}

// Remake lets each node of the backward pass that reads a value of Remade, or what that was made of, read a copy that is made just
// before it, so that the value is in memory no longer than its readers in the forward pass need it. It is called after Grad and
// before Recompute, on the segment under construction. The copies have the same bits; they are marked as recomputed.
func (g *Graph) Remake() {
	seg := len(g.segments) - 1
	forward := func(n *node) bool {
		return n.remade && n.leaf == nil && n.segment == seg && n.phase == gpu.Forward
	}
	var nodes []*node
	next := len(g.nodes)
	for _, n := range g.nodes {
		if n.segment == seg && n.phase == gpu.Backward {
			copies := map[*node]*node{}
			var again func(n *node) []Value
			again = func(n *node) []Value {
				in := slices.Clone(n.in)
				for i, v := range in {
					o := v.origin()
					if !forward(o.node) {
						continue
					}
					c := copies[o.node]
					if c == nil {
						x := *o.node
						c = &x
						copies[o.node] = c
						c.in = again(o.node)
						c.phase, c.recomputed, c.id = gpu.Backward, true, next
						next++
						nodes = append(nodes, c)
					}
					in[i] = v.onto(Value{c, o.out})
				}
				return in
			}
			n.in = again(n)
		}
		nodes = append(nodes, n)
	}
	g.nodes = nodes
}
