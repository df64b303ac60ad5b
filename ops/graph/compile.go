package graph

import (
	"fmt"
	"slices"
	"time"

	"stepflow/gpu"
)

// Pass is a step of compilation that rewrites the graph.
type Pass struct {
	Name string
	Run  func(*Graph, gpu.Caps)
	On   func(gpu.Caps) bool // the devices that it is for; nil for all
}

// Passes is the list Compile runs, in order.
var Passes = []Pass{
	{Name: "prune", Run: prune},
	{Name: "join", Run: join},
	{Name: "fuse", Run: fuse(products, false)},
	{Name: "prune", Run: prune, On: fewLaunches}, // so that pack counts no readers that fuse has replaced
	{Name: "pack", Run: pack, On: fewLaunches},
	{Name: "fuse sums", Run: fuse(sums, true), On: fewLaunches},
	{Name: "activate", Run: activate, On: manyLaunches},
	{Name: "stride", Run: stride},
	{Name: "prune", Run: prune},
	{Name: "delay", Run: delay},
	{Name: "hasten", Run: hasten},
}

// Each launch of a card costs time of its own. There, what is computed of one matrix is one product, and an activation is a
// launch of its own in any case.
func fewLaunches(c gpu.Caps) bool  { return c.FewLaunches }
func manyLaunches(c gpu.Caps) bool { return !c.FewLaunches }

// rewrite runs the passes that are for a device with these capabilities.
func rewrite(g *Graph, caps gpu.Caps) {
	for _, p := range Passes {
		if p.On == nil || p.On(caps) {
			g.time(p.Name, func() { p.Run(g, caps) })
		}
	}
}

// Compile runs the passes and lays the graph out as a program for a device with these capabilities.
func Compile(g *Graph, caps gpu.Caps) (*gpu.Program, error) {
	if g.err != nil {
		return nil, g.err
	}
	rewrite(g, caps)
	if err := verify(g); err != nil {
		return nil, fmt.Errorf("graph: after the passes: %w", err)
	}
	var p *gpu.Program
	g.time("lower", func() { p = lower(g, caps) })
	return p, p.Verify()
}

// time does a part of compilation, and tells how long it took.
func (g *Graph) time(pass string, f func()) {
	start := time.Now()
	f()
	if g.Timed != nil {
		g.Timed(pass, start, time.Since(start))
	}
}

// Fits reports whether the program that Compile would make takes an arena of at most limit bytes, in less
// time: no launches are made. The graph is used up, as by Compile.
func Fits(g *Graph, caps gpu.Caps, limit int64) (bool, error) {
	if g.err != nil {
		return false, g.err
	}
	rewrite(g, caps)
	return fits(g, caps, limit), nil
}

// Bytes is the arena of the program that Compile would make, in less time: no launches are made. The graph is used up, as by
// Compile.
func Bytes(g *Graph, caps gpu.Caps) (int64, error) {
	if g.err != nil {
		return 0, g.err
	}
	rewrite(g, caps)
	return arena(g, caps), nil
}

// Kept returns the bytes that buffers of the given roles take in the arena of the program that Compile would make.
func (g *Graph) Kept(caps gpu.Caps, roles ...gpu.Role) (n int64) {
	for _, l := range g.leaves {
		if slices.Contains(roles, l.role) {
			n = gpu.Sum(n, gpu.Align(l.node.types[0].Bytes(), caps.Alignment))
		}
	}
	return n
}

// FLOPs counts what Program.FLOPs counts of the program that Compile would make for a device that asks for nothing, in
// less time. The graph, which has no error, is used up.
func FLOPs(g *Graph) func(segment string) (n, recomputed int64) {
	rewrite(g, gpu.Caps{})
	p := &gpu.Program{}
	for s, name := range g.segments {
		lo := len(p.Launches)
		for _, n := range g.nodes {
			if n.segment != s {
				continue
			}
			in := make([]gpu.Type, len(n.in))
			for i, v := range n.in {
				in[i] = v.Type()
			}
			flops := gpu.Lookup(n.kernel).FLOPs(n.attrs, in, n.types)
			p.Launches = append(p.Launches, gpu.Launch{FLOPs: flops, Recomputed: n.recomputed})
		}
		p.Segments = append(p.Segments, gpu.Segment{Name: name, Lo: lo, Hi: len(p.Launches)})
	}
	return p.FLOPs
}

// verify checks that inputs come before their uses in the same segment and that types are as inferred.
func verify(g *Graph) error {
	number(g.nodes)
	made := func(n *node, by int) bool { return n.pos < by && g.nodes[n.pos] == n }
	var ts []gpu.Type
	for at, n := range g.nodes {
		ts = ts[:0]
		for _, v := range n.in {
			if o := v.origin().node; o.leaf == nil && (!made(o, at) || o.segment != n.segment) {
				return fmt.Errorf("%s %s uses %s before it is made", n.kernel, n.name, show(v))
			}
			ts = append(ts, v.Type())
		}
		out, err := kernelOf(n).Infer(n.attrs, ts)
		if err != nil {
			return fmt.Errorf("%s %s: %w", n.kernel, n.name, err)
		}
		for i := range out {
			if out[i].DType != n.types[i].DType || out[i].Shape.Elems() != n.types[i].Shape.Elems() {
				return fmt.Errorf("%s %s: output %d is %v, inferred %v", n.kernel, n.name, i, n.types[i], out[i])
			}
		}
	}
	return nil
}

// prune drops every node that no update needs: a gradient nobody asked for has no launch. What other ranks wait for stays.
func prune(g *Graph, _ gpu.Caps) {
	number(g.nodes)
	live := make([]bool, len(g.nodes))
	need := func(v Value) {
		if v.node.leaf == nil {
			live[v.origin().node.pos] = true
		}
	}
	for _, u := range g.updates {
		need(u.value)
	}
	for i := len(g.nodes) - 1; i >= 0; i-- {
		if live[i] = live[i] || kernelOf(g.nodes[i]).Collective; live[i] {
			for _, v := range g.nodes[i].in {
				need(v)
			}
		}
	}
	kept := g.nodes[:0:0]
	for i, n := range g.nodes {
		if live[i] {
			kept = append(kept, n)
		}
	}
	g.nodes = kept
}

// join lets the backward pass of a chunked loss give the loss too: it has the logits a second time
// anyway, so the forward launch is dropped. Who reads the loss moves after it.
func join(g *Graph, _ gpu.Caps) {
	for at := 0; at < len(g.nodes); at++ {
		back := g.nodes[at]
		if back.kernel != "linear_cross_entropy_grad" {
			continue
		}
		for i, fwd := range g.nodes[:at] {
			if fwd.kernel != "linear_cross_entropy" || fwd.segment != back.segment ||
				!sameValues(fwd.in, back.in[1:4]) {
				continue
			}
			after := map[*node]bool{fwd: true} // what depends on the loss
			var kept, moved []*node
			for _, n := range g.nodes[i+1 : at] {
				for _, v := range n.in {
					after[n] = after[n] || after[v.origin().node]
				}
				if after[n] {
					moved = append(moved, n)
				} else {
					kept = append(kept, n)
				}
			}
			independent := true
			for _, v := range back.in {
				independent = independent && !after[v.origin().node]
			}
			if !independent || g.isRead(Value{fwd, 1}) {
				break
			}
			g.replace(replacement{{fwd, 0}: {back, 0}})
			order := append(g.nodes[:i+1:i+1], kept...)
			order = append(append(order, back), moved...)
			g.nodes = append(order, g.nodes[at+1:]...)
			break
		}
	}
}

func sameValues(a, b []Value) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// isRead reports whether anything reads v.
func (g *Graph) isRead(v Value) bool {
	for _, n := range g.nodes {
		for _, x := range n.in {
			if x.origin() == v {
				return true
			}
		}
	}
	for _, u := range g.updates {
		if u.value.origin() == v {
			return true
		}
	}
	return false
}

// replacement is what values became.
type replacement map[Value]Value

// of returns what a value, or a view of it, became, in the shape that it had.
func (r replacement) of(g *Graph, v Value) Value {
	by, ok := r[v.origin()]
	if !ok {
		return v
	}
	if shape := v.Shape(); !by.Shape().Equal(shape) && v == v.origin() {
		return g.Reshape(by, shape...)
	}
	return v.onto(by)
}

// in makes a node read what its inputs became.
func (r replacement) in(g *Graph, n *node) {
	for i, v := range n.in {
		n.in[i] = r.of(g, v)
	}
}

// updates makes updates read what their values became.
func (r replacement) updates(g *Graph) {
	for i, u := range g.updates {
		g.updates[i].value = r.of(g, u.value)
	}
}

// replace makes every reader of a value read what it became.
func (g *Graph) replace(r replacement) {
	for _, n := range g.nodes {
		r.in(g, n)
	}
	r.updates(g)
}

// activate makes the activation of a product its epilogue: swiglu(gate, matmul(..)) is one launch
// that gives both, where nobody reads the product in between.
func activate(g *Graph, _ gpu.Caps) {
	first := make([]int, number(g.nodes)) // index of the first reader
	for i := len(g.nodes) - 1; i >= 0; i-- {
		for _, v := range g.nodes[i].in {
			if v.node.leaf == nil {
				first[v.number()] = i
			}
		}
	}
	became := replacement{}
	now := func(v Value) Value {
		if by, ok := became[v]; ok {
			return by
		}
		return v
	}
	for i, n := range g.nodes {
		if n.kernel != "swiglu" {
			continue
		}
		gate, up := now(n.in[0]), now(n.in[1])
		m := up.node
		if m.kernel != "matmul" || m.segment != n.segment || gate.node == m {
			continue
		}
		if early := first[up.number()] < i; early || !n.types[0].Equal(up.Type()) {
			continue
		}
		fused := *m
		fused.id, fused.kernel, fused.recomputed = n.id, "matmul_swiglu", n.recomputed
		fused.in = append([]Value{m.in[0], m.in[1], gate}, m.in[2:]...)
		fused.types = []gpu.Type{up.Type(), n.types[0]}
		g.nodes[i] = &fused
		became[up] = Value{&fused, 0}
		became[Value{n, 0}] = Value{&fused, 1}
	}
	g.replace(became)
}

// stride lets products read columns of a matrix where they lie, where nobody else reads the copy of them.
func stride(g *Graph, _ gpu.Caps) {
	cannot := make([]bool, number(g.nodes)) // outputs of slices that must be copied
	for _, n := range g.nodes {
		for i, v := range n.in {
			o := v.origin()
			if o.node.kernel != "slice" {
				continue
			}
			sameRows := v.whole() == o && v.Shape().Cols() == o.Shape().Cols()
			cannot[o.number()] = cannot[o.number()] || i >= kernelOf(n).Strided.In || !sameRows ||
				o.node.in[0].node.stride != 0
		}
	}
	for _, u := range g.updates {
		if o := u.value.origin(); o.node.kernel == "slice" {
			cannot[o.number()] = true
		}
	}
	for _, n := range g.nodes {
		for i, v := range n.in {
			o := v.origin()
			if o.node.kernel != "slice" || cannot[o.number()] {
				continue
			}
			from := o.node.in[0]
			n.in[i] = g.columns(from, o.node.attrs.Lo, v.Type())
		}
	}
}
