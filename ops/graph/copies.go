package graph

import "stepflow/gpu"

// again copies a node of the forward pass into the backward pass, where it reads what instead gives.
func (n *node) again(instead func(*node) *node) *node {
	c := *n
	c.phase, c.recomputed = gpu.Backward, true
	c.in = n.reading(instead)
	return &c
}

// reading returns what the node reads, with the values of the nodes that instead gives for others; nil leaves a node as it is.
func (n *node) reading(instead func(*node) *node) []Value {
	in := make([]Value, len(n.in))
	for i, v := range n.in {
		o := v.origin()
		if c := instead(o.node); c != nil {
			v = v.onto(Value{c, o.out})
		}
		in[i] = v
	}
	return in
}
