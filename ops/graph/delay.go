package graph

import "stepflow/gpu"

// Late builds a value that is made when it is first read, wherever it is built.
func (g *Graph) Late(build func() Value) Value {
	from := len(g.nodes)
	v := build()
	for _, n := range g.nodes[from:] {
		n.late = true
	}
	return v
}

// delay moves what Late has built to where it is first read: until then it takes no memory.
func delay(g *Graph, _ gpu.Caps) {
	number(g.nodes)
	first := make([]*node, len(g.nodes)) // the first reader of a node
	for i := len(g.nodes) - 1; i >= 0; i-- {
		for _, v := range g.nodes[i].in {
			if o := v.origin().node; o.leaf == nil {
				first[o.pos] = g.nodes[i]
			}
		}
	}
	before := map[*node][]*node{}
	for _, n := range g.nodes {
		if r := first[n.pos]; n.late && r != nil {
			before[r] = append(before[r], n)
		}
	}
	if len(before) == 0 {
		return
	}
	nodes := make([]*node, 0, len(g.nodes))
	var put func(n *node)
	put = func(n *node) {
		for _, x := range before[n] {
			put(x)
		}
		nodes = append(nodes, n)
	}
	for _, n := range g.nodes {
		if !n.late || first[n.pos] == nil {
			put(n)
		}
	}
	g.nodes = nodes
}
