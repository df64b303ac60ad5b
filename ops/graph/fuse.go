package graph

import "stepflow/gpu"

// accumulates lists kernels with an optional last input that is added to one of their results: the
// number of inputs they have without it, and the result.
type accumulates map[string]struct{ inputs, out int }

var (
	products = accumulates{"matmul": {2, 0}, "embedding_grad": {2, 0}, "linear_cross_entropy_grad": {4, 2},
		"slice_grad": {1, 0}, "gather": {2, 0}}
	// Gradients of gains and biases, and of what a norm reads beside the residual connection.
	sums = accumulates{"sum_rows": {1, 0}, "rmsnorm_grad_w": {3, 0}, "rmsnorm_grad_x": {4, 0}}
)

// fuse turns add(x, k(...)) into k(..., x) where k can accumulate and nobody else reads its result: one pass over
// memory less, and one buffer. A cast in between goes too: the sum is made in fp32 and rounded once, to the type of x.
// So does a change of shape. If early, k stays where it is, if x is there: what else k reads need not be kept any longer.
func fuse(into accumulates, early bool) func(*Graph, gpu.Caps) {
	return func(g *Graph, _ gpu.Caps) { g.fuse(into, early) }
}

// uses counts the readers of each value, updates among them, by its number.
func (g *Graph) uses() []int {
	uses := make([]int, number(g.nodes))
	use := func(v Value) {
		if v.node.leaf == nil {
			uses[v.number()]++
		}
	}
	for _, n := range g.nodes {
		for _, v := range n.in {
			use(v)
		}
	}
	for _, u := range g.updates {
		use(u.value)
	}
	return uses
}

// takes reports whether a node's kernel may have v as one more input.
func (n *node) takes(v Value) bool {
	var in []gpu.Type
	for _, x := range append(n.in[:len(n.in):len(n.in)], v) {
		in = append(in, x.Type())
	}
	_, err := gpu.Lookup(n.kernel).Infer(n.attrs, in)
	return err == nil
}

func (g *Graph) fuse(into accumulates, early bool) {
	uses := g.uses()
	became := replacement{}
	for i, n := range g.nodes {
		became.in(g, n) // readers come after what they read, so each is visited once
		if n.kernel != "add" || n.apart {
			continue
		}
		for _, j := range []int{1, 0} {
			k, other := n.in[j].whole(), n.in[1-j]
			if k.node.kernel == "cast" && uses[k.number()] == 1 && k.node.in[0].node.leaf == nil {
				k = k.node.in[0].whole()
			}
			a, ok := into[k.node.kernel]
			if !ok || k.out != a.out || len(k.node.in) != a.inputs || uses[k.number()] != 1 {
				continue
			}
			reshaped := !k.Shape().Equal(other.Shape())
			if reshaped {
				other = g.Reshape(other, k.Shape()...)
			}
			if !k.node.takes(other) {
				continue
			}
			there := other.node.leaf != nil || early && other.origin().node.pos < k.node.pos
			if len(k.node.types) > 1 && !there {
				continue // its other results are read too, so it stays where it is
			}
			if len(k.node.types) > 1 || early && there {
				k.node.in = append(k.node.in[:len(k.node.in):len(k.node.in)], other)
				k.node.types = append([]gpu.Type(nil), k.node.types...)
				k.node.types[k.out] = other.Type()
				became[Value{n, 0}] = k
				break
			}
			fused := *k.node
			fused.id, fused.phase = n.id, max(n.phase, k.node.phase)
			fused.in = append(append([]Value(nil), k.node.in...), other)
			fused.types = []gpu.Type{other.Type()}
			if reshaped {
				g.nodes[i] = &fused
				became[Value{n, 0}] = Value{&fused, 0}
				fused.pos, fused.value = n.pos, n.value
				break
			}
			*n = fused // readers hold the node: they see the fused one
			g.nodes[i] = n
			break
		}
	}
	became.updates(g)
}
