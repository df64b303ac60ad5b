package graph

import "stepflow/gpu"

// Grad adds the vector-Jacobian product of y with seed dy, and gives the gradient of each wanted
// leaf; the zero Value where y does not depend on it. acc, when not nil, holds a value for each
// wanted leaf that its gradient is added to, contribution by contribution, so that no gradient
// waits in memory for another; a contribution of another type is cast.
//
// A node is visited only if it leads from a wanted leaf to y: a frozen weight gets no node.
func (g *Graph) Grad(y, dy Value, wanted, acc []Value) []Value {
	grads := map[Value]Value{}
	if acc != nil {
		for i, w := range wanted {
			grads[w] = acc[i]
		}
	}
	want := map[Value]bool{}
	for _, w := range wanted {
		want[w] = true
	}
	leads := map[*node]bool{} // some wanted leaf is reached through an input
	useful := func(v Value) bool { return v.Valid() && (want[v.origin()] || leads[v.origin().node]) }
	for _, n := range g.nodes {
		for _, v := range n.in {
			if useful(v) {
				leads[n] = true
				break
			}
		}
	}
	saved := *g
	restore := func() { g.phase, g.layer, g.name = saved.phase, saved.layer, saved.name }
	defer restore()
	g.phase = gpu.Backward
	add := func(v, d Value) {
		if v == (Value{}) || !d.Valid() {
			return
		}
		if o := v.origin(); o != v {
			v, d = o, g.spread(v, d)
		}
		if !d.Shape().Equal(v.Shape()) && d.Shape().Elems() != v.Shape().Elems() {
			g.fail("gradient of %s (%s) is %v, the value %v", v.node.kernel, v.node.name, d.Shape(), v.Shape())
			return
		}
		if old := grads[v]; old.Valid() {
			if t := old.Type().DType; d.Type().DType != t {
				d = g.Op1("cast", gpu.Attrs{DType: t}, d)
			}
			d = g.Add(old, d)
		}
		grads[v] = d
	}
	if !useful(y) {
		return make([]Value, len(wanted))
	}
	add(y, dy)
	built := g.nodes // the list grows while we walk
	for i := len(built) - 1; i >= 0; i-- {
		n := built[i]
		if !leads[n] || n.segment != y.node.segment {
			continue
		}
		douts := make([]Value, len(n.types))
		any := false
		for o := range douts {
			douts[o] = grads[Value{n, o}]
			any = any || douts[o].Valid()
		}
		if !any {
			continue
		}
		rule := vjp[n.kernel]
		if rule == nil {
			g.fail("%s %s has no derivative", n.kernel, n.name)
			return make([]Value, len(wanted))
		}
		need := make([]bool, len(n.in))
		for j, v := range n.in {
			need[j] = useful(v)
		}
		g.layer, g.name = n.layer, n.name
		for j, d := range rule(g, n, douts, need) {
			if need[j] {
				add(n.in[j], d)
			}
		}
	}
	out := make([]Value, len(wanted))
	for i, w := range wanted {
		out[i] = grads[w]
	}
	return out
}

// spread gives the gradient of a view's origin: the view's own where it lies, and 0 elsewhere.
func (g *Graph) spread(v, d Value) Value {
	o := v.origin()
	if v.whole() == o {
		return g.Reshape(d, o.Shape()...)
	}
	flat := g.Op1("slice_grad", gpu.Attrs{Lo: int(v.node.at / v.Type().DType.Size()), Cols: o.Shape().Elems()}, g.Reshape(d, 1, d.Shape().Elems()))
	return g.Reshape(flat, o.Shape()...)
}

// vjp gives, for each kernel that has a derivative, the gradients of its inputs from those of its
// outputs. need tells which inputs matter; an entry for one that does not may be left out as zero.
var vjp = map[string]func(g *Graph, n *node, dy []Value, need []bool) []Value{
	"copy":  func(_ *Graph, _ *node, dy []Value, _ []bool) []Value { return dy },
	"add":   func(_ *Graph, _ *node, dy []Value, _ []bool) []Value { return []Value{dy[0], dy[0]} },
	"scale": func(g *Graph, n *node, dy []Value, _ []bool) []Value { return g.Op("scale", n.attrs, dy[0]) },
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
	"sum_squares": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		d := g.Op1("broadcast", gpu.Attrs{}, dy[0], n.in[0])
		return g.Op("mul", gpu.Attrs{}, d, g.Op1("scale", gpu.Attrs{Alpha: 2}, n.in[0]))
	},
	// y = alpha op(a) op(b) + c. A transposed operand's gradient is the transposed product.
	"matmul": func(g *Graph, n *node, dy []Value, need []bool) []Value {
		a, b, at := n.in[0], n.in[1], n.attrs
		mm := func(x, y Value, tx, ty bool) Value {
			return g.Op1("matmul", gpu.Attrs{TransA: tx, TransB: ty, Alpha: at.Alpha}, x, y)
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
	"rmsnorm": func(g *Graph, n *node, dy []Value, need []bool) []Value {
		rstd := Value{n, 1}
		dw := when(need[1], func() Value { return g.Op1("rmsnorm_grad_w", gpu.Attrs{}, dy[0], n.in[0], rstd) })
		dx := when(need[0], func() Value { return g.Op1("rmsnorm_grad_x", gpu.Attrs{}, dy[0], n.in[0], n.in[1], rstd) })
		return []Value{dx, dw}
	},
	"rope": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		a := n.attrs
		a.Inverse = !a.Inverse
		return []Value{g.Op1("rope", a, dy[0], n.in[1], n.in[2]), {}, {}}
	},
	"attention": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		in := append([]Value{dy[0], n.in[0], n.in[1], n.in[2], {n, 0}, {n, 1}}, n.in[3:]...)
		return append(g.Op("attention_grad", n.attrs, in...), Value{})[:len(n.in)]
	},
	"linear_cross_entropy": func(g *Graph, n *node, dy []Value, need []bool) []Value {
		d := g.Op("linear_cross_entropy_grad", gpu.Attrs{Chunk: n.attrs.Chunk, Frozen: !need[1]}, append(dy[:1:1], n.in...)...)
		return append(d[1:len(d):len(d)], Value{}, Value{})[:3]
	},
	"cross_entropy": func(g *Graph, n *node, dy []Value, _ []bool) []Value {
		return []Value{g.Op1("cross_entropy_grad", gpu.Attrs{}, dy[0], n.in[0], n.in[1], Value{n, 1}), {}}
	},
}

func when(cond bool, f func() Value) Value {
	if cond {
		return f()
	}
	return Value{}
}
