package graph

import (
	"slices"

	"stepflow/gpu"
)

// hasten moves what updates a leaf in a backward pass to where its inputs are made and nobody needs the old leaf any more.
// A gradient is then in memory from its product to its update, and not to the end of the pass (Lv et al. 2023,
// arXiv 2306.09782). Nodes of other segments, and all that is no update, keep their order.
func hasten(g *Graph, _ gpu.Caps) {
	for s := range g.segments {
		if g.has(s, gpu.Backward) && g.has(s, gpu.Update) {
			g.hasten(s)
		}
	}
}

// has reports whether a segment has nodes of a phase.
func (g *Graph) has(segment int, phase gpu.Phase) bool {
	return slices.ContainsFunc(g.nodes, func(n *node) bool { return n.segment == segment && n.phase == phase })
}

func (g *Graph) hasten(segment int) {
	values := number(g.nodes)
	late := func(n *node) bool { return n.segment == segment && n.phase == gpu.Update }
	read := map[*leaf]int{} // the last node that reads a leaf, of those that stay
	for i, n := range g.nodes {
		if n.segment != segment || late(n) {
			continue
		}
		for _, v := range n.in {
			if l := v.origin().node.leaf; l != nil {
				for _, part := range append([]*leaf{l}, l.parts...) {
					read[part] = i
				}
			}
		}
	}
	after := make([]int, values) // by values: the node that the update is behind, of those that stay
	for _, u := range g.updates {
		if o := u.value.origin(); u.segment == segment && o.node.leaf == nil {
			for _, part := range append([]*leaf{u.leaf}, u.leaf.parts...) {
				after[o.number()] = max(after[o.number()], read[part])
			}
		}
	}
	moved := map[int][]*node{} // by the node that they come behind
	for _, n := range g.nodes {
		if !late(n) {
			continue
		}
		at := 0
		for _, v := range n.in {
			switch o := v.origin(); {
			case o.node.leaf != nil:
			case late(o.node):
				at = max(at, after[o.number()])
			default:
				at = max(at, o.node.pos)
			}
		}
		for i := range n.types {
			at = max(at, after[n.value+i])
		}
		for i := range n.types {
			after[n.value+i] = at
		}
		moved[at] = append(moved[at], n)
	}
	nodes := make([]*node, 0, len(g.nodes))
	for i, n := range g.nodes {
		if !late(n) {
			nodes = append(nodes, n)
		}
		nodes = append(nodes, moved[i]...)
	}
	g.nodes = nodes
}
