package graph

import "stepflow/gpu"

// Recompute drops the activations of layers after the forward pass and computes them again just
// before the backward pass needs them (Chen et al. 2016, "Training deep nets with sublinear memory
// cost"): of each layer for which keep is false only its input stays in memory. It is called after
// Grad, on the segment under construction. The same operations run on the same inputs, so results
// keep their bits; the launches that were added are marked as recomputed.
func (g *Graph) Recompute(keep func(layer int) bool) {
	seg := len(g.segments) - 1
	mine := func(n *node) bool { return n.leaf == nil && n.segment == seg }
	first := map[int]int{} // layer → index of the first backward node that reads one of its activations
	for i, n := range g.nodes {
		if !mine(n) || n.phase != gpu.Backward {
			continue
		}
		for _, v := range n.in {
			if f := v.origin().node; mine(f) && f.phase == gpu.Forward && f.layer >= 0 && !keep(f.layer) {
				if _, ok := first[f.layer]; !ok {
					first[f.layer] = i
				}
			}
		}
	}
	clones := map[*node]*node{}
	added := map[int][]*node{} // by the index they go before
	// clone gives the copy of a forward node of a layer, and of what it needs inside the layer.
	var clone func(n *node, at int) *node
	clone = func(n *node, at int) *node {
		if clones[n] == nil {
			c := n.again(func(f *node) *node {
				if mine(f) && f.phase == gpu.Forward && f.layer == n.layer {
					return clone(f, at)
				}
				return nil
			})
			clones[n] = c
			added[at] = append(added[at], c)
		}
		return clones[n]
	}
	for _, n := range g.nodes {
		if !mine(n) || n.phase != gpu.Backward {
			continue
		}
		n.in = n.reading(func(f *node) *node {
			if mine(f) && f.phase == gpu.Forward && f.layer >= 0 && !keep(f.layer) && f.layer == n.layer {
				return clone(f, first[f.layer])
			}
			return nil
		})
	}
	nodes := make([]*node, 0, len(g.nodes)+len(clones))
	for i, n := range g.nodes {
		for _, c := range added[i] {
			c.id = len(g.nodes) + len(nodes)
			nodes = append(nodes, c)
		}
		nodes = append(nodes, n)
	}
	g.nodes = nodes
}
