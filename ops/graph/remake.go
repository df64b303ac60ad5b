package graph

import "stepflow/gpu"

// Remade builds a value that is cheaper to make again than to keep: after Remake the backward pass has its own.
func (g *Graph) Remade(build func() Value) Value {
	from := len(g.nodes)
	v := build()
	for _, n := range g.nodes[from:] {
		n.remade = true
	}
	return v
}

// Remake gives each node of the backward pass that reads a value of Remade, or of what that was made from, a copy of its own, made
// just before it. The value itself is then in memory only as long as the forward pass reads it. Remake is called after Grad and
// before Recompute, on the segment under construction. The copies have the same bits; they are marked as recomputed.
func (g *Graph) Remake() {
	seg := len(g.segments) - 1
	var nodes []*node
	next := len(g.nodes)
	for _, n := range g.nodes {
		if n.segment == seg && n.phase == gpu.Backward {
			copies := map[*node]*node{}
			var again func(n *node) *node
			again = func(n *node) *node {
				if !n.remade || n.leaf != nil || n.segment != seg || n.phase != gpu.Forward {
					return nil
				}
				if copies[n] == nil {
					c := n.again(again)
					c.id = next
					next++
					copies[n] = c
					nodes = append(nodes, c)
				}
				return copies[n]
			}
			n.in = n.reading(again)
		}
		nodes = append(nodes, n)
	}
	g.nodes = nodes
}
