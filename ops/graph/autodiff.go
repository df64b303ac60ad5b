package graph

import (
	"slices"

	"stepflow/gpu"
)

// Grad adds the vector-Jacobian product of y with seed dy, and gives the gradient of each wanted
// leaf; the zero Value where y does not depend on it. acc, when not nil, holds a value for each
// wanted leaf that its gradient is added to, contribution by contribution, so that no gradient
// waits in memory for another; a contribution of another type is cast.
//
// A node is visited only if it leads from a wanted leaf to y: a frozen weight gets no node.
func (g *Graph) Grad(y, dy Value, wanted, acc []Value) []Value {
	b := newBackward(g, wanted, acc)
	out := make([]Value, len(wanted))
	if !b.useful(y) {
		return out
	}
	phase, layer, name := g.phase, g.layer, g.name
	defer func() { g.phase, g.layer, g.name = phase, layer, name }()
	g.phase = gpu.Backward
	b.add(y, dy)
	built := g.nodes // the list grows while we walk
	for i := len(built) - 1; i >= 0; i-- {
		if n := built[i]; b.leads[n] && n.segment == y.node.segment && !b.through(n) {
			return out
		}
	}
	for i, w := range wanted {
		out[i] = b.grads[w]
	}
	return out
}

// backward is a walk from a value back to the leaves whose gradients are wanted.
type backward struct {
	g     *Graph
	want  map[Value]bool
	leads map[*node]bool  // some wanted leaf is reached through an input
	grads map[Value]Value // so far
}

// newBackward marks the nodes that wanted leaves reach.
func newBackward(g *Graph, wanted, acc []Value) *backward {
	b := &backward{g: g, want: map[Value]bool{}, leads: map[*node]bool{}, grads: map[Value]Value{}}
	for i, w := range wanted {
		b.want[w] = true
		if acc != nil {
			b.grads[w] = acc[i]
		}
	}
	for _, n := range g.nodes {
		b.leads[n] = slices.ContainsFunc(n.in, b.useful)
	}
	return b
}

// useful reports whether a value depends on a wanted leaf, or is one.
func (b *backward) useful(v Value) bool {
	return v.Valid() && (b.want[v.origin()] || b.leads[v.origin().node])
}

// add adds d to the gradient of v, or of what v is a view of.
func (b *backward) add(v, d Value) {
	if v == (Value{}) || !d.Valid() {
		return
	}
	if o := v.origin(); o != v {
		v, d = o, b.g.spread(v, d)
	}
	if !d.Shape().Equal(v.Shape()) && d.Shape().Elems() != v.Shape().Elems() {
		b.g.fail("gradient of %s (%s) is %v, the value %v", v.node.kernel, v.node.name, d.Shape(), v.Shape())
		return
	}
	if old := b.grads[v]; old.Valid() {
		if t := old.Type().DType; d.Type().DType != t {
			d = b.g.Op1("cast", gpu.Attrs{DType: t}, d)
		}
		d = b.g.Add(old, d)
	}
	b.grads[v] = d
}

// through adds to the gradients of a node's inputs, if its outputs have any; it returns false if it has no derivative.
func (b *backward) through(n *node) bool {
	douts := make([]Value, len(n.types))
	any := false
	for o := range douts {
		douts[o] = b.grads[Value{n, o}]
		any = any || douts[o].Valid()
	}
	if !any {
		return true
	}
	rule := vjp[n.kernel]
	if rule == nil {
		b.g.fail("%s %s has no derivative", n.kernel, n.name)
		return false
	}
	need := make([]bool, len(n.in))
	for j, v := range n.in {
		need[j] = b.useful(v)
	}
	b.g.layer, b.g.name = n.layer, n.name
	for j, d := range rule(b.g, n, douts, need) {
		if need[j] {
			b.add(n.in[j], d)
		}
	}
	return true
}

// spread gives the gradient of a view's origin: the view's own where it lies, and 0 elsewhere.
func (g *Graph) spread(v, d Value) Value {
	o := v.origin()
	if v.whole() == o {
		return g.Reshape(d, o.Shape()...)
	}
	into := gpu.Attrs{Lo: int(v.node.at / v.Type().DType.Size()), Cols: o.Shape().Elems()}
	flat := g.Op1("slice_grad", into, g.Reshape(d, 1, d.Shape().Elems()))
	return g.Reshape(flat, o.Shape()...)
}

// vjp gives, for each kernel that has a derivative, the gradients of its inputs from those of its
// outputs. need tells which inputs matter; an entry for one that does not may be left out as zero.
var vjp = map[string]func(g *Graph, n *node, dy []Value, need []bool) []Value{
	"copy":          func(_ *Graph, _ *node, dy []Value, _ []bool) []Value { return dy },
	"add":           func(_ *Graph, _ *node, dy []Value, _ []bool) []Value { return []Value{dy[0], dy[0]} },
	"scale":         func(g *Graph, n *node, dy []Value, _ []bool) []Value { return g.Op("scale", n.attrs, dy[0]) },
	"uniform_noise": func(_ *Graph, _ *node, dy []Value, _ []bool) []Value { return []Value{dy[0], {}} },
	"slice": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		return g.Op("slice_grad", gpu.Attrs{Lo: n.attrs.Lo, Cols: n.in[0].Shape().Cols()}, dy[0])
	},
	"cast": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		return g.Op("cast", gpu.Attrs{DType: n.in[0].Type().DType}, dy[0])
	},
	"mul": func(g *Graph, n *node, dy []Value, need []bool) []Value {
		return []Value{
			when(need[0], func() Value { return g.Op1("mul", gpu.Attrs{}, dy[0], n.in[1]) }),
			when(need[1], func() Value { return g.Op1("mul", gpu.Attrs{}, dy[0], n.in[0]) }),
		}
	},
	"bias_add": func(g *Graph, n *node, dy []Value, need []bool) []Value {
		return []Value{dy[0], when(need[1], func() Value { return g.Op1("sum_rows", gpu.Attrs{}, dy[0]) })}
	},
	"broadcast": func(g *Graph, _ *node, dy []Value, _ []bool) []Value {
		return []Value{g.Op1("sum", gpu.Attrs{}, dy[0]), {}}
	},
	"sum": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		return g.Op("broadcast", gpu.Attrs{}, dy[0], n.in[0])
	},
	"sum_squares": func(g *Graph, n *node, dy []Value, need []bool) []Value {
		d := make([]Value, len(n.in))
		for i, x := range n.in {
			d[i] = when(need[i], func() Value {
				dx := g.Op1("broadcast", gpu.Attrs{}, g.View(dy[0], i, gpu.Shape{1}), x)
				return g.Op1("mul", gpu.Attrs{}, dx, g.Op1("scale", gpu.Attrs{Alpha: 2}, x))
			})
		}
		return d
	},
	// y = alpha op(a) op(b) + c. A transposed operand's gradient is the transposed product.
	"matmul": func(g *Graph, n *node, dy []Value, need []bool) []Value {
		a, b, at := n.in[0], n.in[1], n.attrs
		mm := func(x, y Value, tx, ty bool) Value {
			attrs := gpu.Attrs{TransA: tx, TransB: ty, Alpha: at.Alpha}
			if y.Type().DType.Stored() { // y is b: the gradient is as wide as a, which may be padded where b is not
				attrs.Cols = a.Shape().Cols()
			}
			return g.Op1("matmul", attrs, x, y)
		}
		d := []Value{
			when(need[0], func() Value {
				if at.TransA {
					return mm(b, dy[0], at.TransB, true)
				}
				return mm(dy[0], b, false, !at.TransB)
			}),
			when(need[1], func() Value {
				if at.TransB {
					return mm(dy[0], a, true, at.TransA)
				}
				return mm(a, dy[0], !at.TransA, false)
			}),
		}
		if len(n.in) == 3 {
			d = append(d, dy[0])
		}
		return d
	},
	"swiglu": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		return g.Op("swiglu_grad", gpu.Attrs{}, dy[0], n.in[0], n.in[1])
	},
	"embedding": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		return []Value{{}, g.Op1("embedding_grad", gpu.Attrs{Rows: n.in[1].Shape()[0]}, n.in[0], dy[0])}
	},
	"scatter_add": func(g *Graph, n *node, dy []Value, need []bool) []Value {
		return []Value{dy[0], {}, when(need[2], func() Value { return g.Op1("gather", n.attrs, dy[0], n.in[1]) })}
	},
	"gather": func(g *Graph, n *node, dy []Value, need []bool) []Value {
		return []Value{when(need[0], func() Value {
			return g.Op1("scatter_add", n.attrs, g.Op1("zero", gpu.Attrs{}, n.in[0]), n.in[1], dy[0])
		}), {}, dy[0]}[:len(n.in)]
	},
	"rmsnorm": func(g *Graph, n *node, dy []Value, need []bool) []Value {
		rstd := Value{n, 1}
		dw := when(need[1], func() Value { return g.Op1("rmsnorm_grad_w", gpu.Attrs{}, dy[0], n.in[0], rstd) })
		dx := when(need[0], func() Value {
			return g.Op1("rmsnorm_grad_x", gpu.Attrs{Cols: n.attrs.Cols}, dy[0], n.in[0], n.in[1], rstd)
		})
		return []Value{dx, dw}
	},
	"rope": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		a := n.attrs
		a.Inverse = !a.Inverse
		return []Value{g.Op1("rope", a, append(dy[:1:1], n.in[1:]...)...), {}, {}, {}}[:len(n.in)]
	},
	"attention": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		in := append([]Value{dy[0], n.in[0], n.in[1], n.in[2], {n, 0}, {n, 1}}, n.in[3:]...)
		return append(g.Op("attention_grad", n.attrs, in...), Value{})[:len(n.in)]
	},
	"linear_cross_entropy": func(g *Graph, n *node, dy []Value, need []bool) []Value {
		a := n.attrs
		a.Frozen = !need[1]
		d := g.Op("linear_cross_entropy_grad", a, append(dy[:1:1], n.in...)...)
		return append(d[1:len(d):len(d)], Value{}, Value{})[:3]
	},
	"cross_entropy": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		return []Value{g.Op1("cross_entropy_grad", n.attrs, dy[0], n.in[0], n.in[1], Value{n, 1}), {}}
	},
}

func when(cond bool, f func() Value) Value {
	if cond {
		return f()
	}
	return Value{}
}
