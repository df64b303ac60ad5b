package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/ref"
)

// part gives the elements of a value that a slice takes, row-major.
func part(x []float64, s gpu.Shape, axis, lo, n int) (y []float64) {
	inner := s[axis+1:].Elems()
	for i := range x {
		if at := i / inner % s[axis]; at >= lo && at < lo+n {
			y = append(y, x[i])
		}
	}
	return y
}

// TestViewsOfValues compiles random graphs whose operations read values in other shapes and in parts, and compares every
// leaf, run after run, with what the formulas say: a view keeps alive what it lies in, and nothing is overwritten under it.
func TestViewsOfValues(t *testing.T) {
	views, strided := 0, 0
	for seed := uint64(0); seed < 400; seed++ {
		r := rand.New(rand.NewPCG(seed, 16))
		g := New()
		env := map[Value][]float64{}
		eval := map[Value]func() []float64{}
		shapes := []gpu.Shape{{2, 3, 4}, {6, 4}, {24}, {4, 6}, {1, 24}, {2, 12}}
		var states, values, order []Value
		for i := range 1 + r.IntN(3) {
			v := g.Leaf(fmt.Sprintf("s%d", i), gpu.RoleWeight, f32(shapes[r.IntN(len(shapes))]...))
			for range v.Shape().Elems() {
				env[v] = append(env[v], r.NormFloat64())
			}
			states, values = append(states, v), append(values, v)
		}
		square := g.Leaf("square", gpu.RoleConst, f32(2, 2))
		env[square] = []float64{1, 0.25, -0.5, 1}
		g.Segment("run", gpu.Forward)
		made := func(v Value, f func() []float64) {
			eval[v] = f
			values, order = append(values, v), append(order, v)
		}
		for range 2 + r.IntN(25) {
			a := values[r.IntN(len(values))]
			s := a.Shape()
			switch r.IntN(7) {
			case 0, 1: // another shape of as many elements
				if s.Elems() != 24 {
					continue
				}
				made(g.Reshape(a, shapes[r.IntN(len(shapes))]...), func() []float64 { return env[a] })
			case 2: // entries of an axis
				axis := r.IntN(len(s))
				lo := r.IntN(s[axis])
				n := 1 + r.IntN(s[axis]-lo)
				made(g.Slice(a, axis, lo, n), func() []float64 { return part(env[a], s, axis, lo, n) })
			case 3: // a product that may read columns in place
				if len(s) != 2 || s[1] < 2 {
					continue
				}
				lo := r.IntN(s[1] - 1)
				made(g.Matmul(g.Slice(a, 1, lo, 2), square, false, false), func() (y []float64) {
					x, m := part(env[a], s, 1, lo, 2), env[square]
					for i := 0; i < len(x); i += 2 {
						y = append(y, x[i]*m[0]+x[i+1]*m[2], x[i]*m[1]+x[i+1]*m[3])
					}
					return y
				})
			case 4:
				made(g.Op1("scale", gpu.Attrs{Alpha: 0.5}, a), func() []float64 { return zip(env[a], env[a], func(x, _ float64) float64 { return 0.5 * x }) })
			default:
				b := values[r.IntN(len(values))]
				if b.Shape().Elems() != s.Elems() {
					continue
				}
				if !b.Shape().Equal(s) {
					view, of := g.Reshape(b, s...), b
					made(view, func() []float64 { return env[of] })
					b = view
				}
				made(g.Add(g.Op1("scale", gpu.Attrs{Alpha: 0.5}, a), b), func() []float64 { return zip(env[a], env[b], func(x, y float64) float64 { return 0.5*x + y }) })
			}
		}
		updates := map[Value]Value{}
		for _, s := range states {
			var fit []Value
			for _, v := range order {
				if v.Shape().Elems() == s.Shape().Elems() && v.node.leaf == nil {
					fit = append(fit, v)
				}
			}
			if len(fit) > 0 && r.IntN(4) > 0 {
				updates[s] = fit[r.IntN(len(fit))]
				g.Update(s, updates[s])
			}
		}
		for i, v := range order { // some that no state has room for
			if r.IntN(4) == 0 && v.node.leaf == nil {
				out := g.Leaf(fmt.Sprintf("out%d", i), gpu.RoleOutput, v.Type())
				states, updates[out] = append(states, out), v
				g.Update(out, v)
			}
		}
		text := g.String()
		p, err := Compile(g, gpu.Caps{Alignment: 8})
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		for _, l := range p.Launches {
			for _, o := range l.In {
				views++
				if o.Stride != 0 {
					strided++
				}
			}
		}
		l, err := ref.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		at := func(s Value) gpu.Operand { b, _ := p.Buffer(s.node.name); return b.Operand }
		for s := range env {
			if _, ok := p.Buffer(s.node.name); ok {
				l.Set(at(s), env[s])
			}
		}
		for run := range 3 {
			if err := l.Run(0, len(p.Launches), false); err != nil {
				t.Fatal(err)
			}
			for _, v := range order {
				env[v] = slices.Clone(eval[v]())
			}
			next := map[Value][]float64{}
			for s, v := range updates {
				next[s] = env[v]
			}
			for s, v := range next {
				env[s] = v
			}
			for _, s := range states {
				for j, x := range l.Get(at(s)) {
					if math.Abs(x-env[s][j]) > 1e-12*(1+math.Abs(x)) {
						t.Fatalf("seed %d, run %d: %s[%d] is %g, want %g\n%s\nafter the passes:\n%s", seed, run, s.node.name, j, x, env[s][j], text, g)
					}
				}
			}
		}
	}
	if strided < 50 {
		t.Errorf("of %d operands %d are read with a stride: the graphs try too little", views, strided)
	}
}

// attend is a layer with one projection for q, k and v, and a norm of each head of q: y [2, 3, 8] of x [2, 3, 8].
func attend(g *Graph, x, w, gain, out Value) Value {
	g.At(0, "layer")
	qkv := g.Linear(x, w, Value{}) // [2, 3, 8+4+4]
	q, k, v := g.Slice(qkv, 2, 0, 8), g.Slice(qkv, 2, 8, 4), g.Slice(qkv, 2, 12, 4)
	heads := g.Reshape(q, 2, 3, 2, 4)
	q = g.Reshape(g.Op1("rmsnorm", gpu.Attrs{Eps: 1e-6}, heads, gain), 2, 3, 8)
	a := g.Op("attention", gpu.Attrs{Heads: 2, KVHeads: 1}, q, k, v)[0]
	last := g.Slice(a, 1, 2, 1) // of each sequence; its rows do not lie in one piece
	g.At(-1, "sum")
	half := g.View(g.Linear(a, out, Value{}), 24, gpu.Shape{1, 3, 8}) // the second sequence
	return g.Add(g.Op1("sum", gpu.Attrs{}, g.Reshape(g.Op1("mul", gpu.Attrs{}, half, half), 24)), g.Op1("sum_squares", gpu.Attrs{}, last))
}

// TestGradientsThroughViews compares the gradients of a layer that reshapes and slices with central differences, with
// activations in memory and computed again, and added to what is there.
func TestGradientsThroughViews(t *testing.T) {
	for _, recompute := range []bool{false, true} {
		g := New()
		leaf := func(name string, s ...int) Value { return g.Leaf(name, gpu.RoleWeight, f32(s...)) }
		wanted := []Value{leaf("x", 2, 3, 8), leaf("w", 16, 8), leaf("gain", 4), leaf("out", 8, 8)}
		var acc []Value
		for _, w := range wanted {
			acc = append(acc, g.Leaf("acc/"+w.node.name, gpu.RoleGradient, w.Type()))
		}
		one, loss := g.Leaf("one", gpu.RoleConst, f32(1)), g.Leaf("loss", gpu.RoleOutput, f32(1))
		g.Segment("run", gpu.Forward)
		y := attend(g, wanted[0], wanted[1], wanted[2], wanted[3])
		g.Update(loss, y)
		for i, d := range g.Grad(y, one, wanted, acc) {
			g.Update(acc[i], d)
		}
		if recompute {
			g.Recompute(func(int) bool { return false })
		}
		p, err := Compile(g, gpu.Caps{Alignment: 64})
		if err != nil {
			t.Fatal(err)
		}
		if text := g.String(); strings.Count(text, "= slice_grad ") != 6 || strings.Count(text, "= add ") != 2 { // of the loss, and of gain
			t.Errorf("the parts of a gradient are added up by slice_grad itself:\n%s", text)
		}
		l, err := ref.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		at := func(name string) gpu.Operand { b, _ := p.Buffer(name); return b.Operand }
		r := rand.New(rand.NewPCG(3, 4))
		values := map[string][]float64{"one": {1}}
		for _, w := range wanted {
			for range w.Shape().Elems() {
				values[w.node.name] = append(values[w.node.name], r.NormFloat64())
			}
		}
		run := func() float64 {
			for name, v := range values {
				l.Set(at(name), v)
			}
			for _, w := range wanted {
				start := make([]float64, w.Shape().Elems())
				for i := range start {
					start[i] = 0.5
				}
				l.Set(at("acc/"+w.node.name), start)
			}
			if err := l.Run(0, len(p.Launches), false); err != nil {
				t.Fatal(err)
			}
			return l.Get(at("loss"))[0]
		}
		for _, w := range wanted {
			run()
			analytic := slices.Clone(l.Get(at("acc/" + w.node.name)))
			x := values[w.node.name]
			for j := range x {
				const h = 1e-5
				old := x[j]
				x[j] = old + h
				up := run()
				x[j] = old - h
				down := run()
				x[j] = old
				if numeric := (up-down)/(2*h) + 0.5; math.Abs(numeric-analytic[j]) > 1e-6*(1+math.Abs(numeric)) {
					t.Fatalf("recompute %t: %s[%d]: derivative %g, central difference %g", recompute, w.node.name, j, analytic[j], numeric)
				}
			}
		}
	}
}

// TestViewsCostNothing: a change of shape is no launch and takes no memory, and a product reads columns where they lie.
func TestViewsCostNothing(t *testing.T) {
	g := New()
	x, w, y := g.Leaf("x", gpu.RoleInput, f32(4, 6)), g.Leaf("w", gpu.RoleWeight, f32(5, 3)), g.Leaf("y", gpu.RoleOutput, f32(4, 5))
	g.Segment("run", gpu.Forward)
	g.Update(y, g.Linear(g.Slice(g.Reshape(g.Op1("scale", gpu.Attrs{Alpha: 2}, g.Reshape(x, 2, 12)), 4, 6), 1, 3, 3), w, Value{}))
	p, err := Compile(g, gpu.Caps{Alignment: 4})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Launches) != 2 || p.TransientBytes != 4*24 || p.Launches[1].In[0].Stride != 6 {
		t.Errorf("%d launches and %d transient bytes, want the 2 of scale and product and 96:\n%s", len(p.Launches), p.TransientBytes, g)
	}
}

// TestViewErrors: what does not fit sticks as an error.
func TestViewErrors(t *testing.T) {
	for want, make := range map[string]func(g *Graph, x, y Value) Value{
		"cannot be read as [5]":   func(g *Graph, x, _ Value) Value { return g.Reshape(x, 5) },
		"stays inside":            func(g *Graph, x, _ Value) Value { return g.View(x, 3, gpu.Shape{4}) },
		"view of a missing value": func(g *Graph, _, _ Value) Value { return g.View(Value{}, 0, gpu.Shape{1}) },
		"of axis 1 do not lie":    func(g *Graph, x, _ Value) Value { return g.Slice(x, 1, 2, 2) },
		"of axis 2 do not lie":    func(g *Graph, _, y Value) Value { return g.Slice(y, 2, 0, 1) },
		"of axis 0 do not lie":    func(g *Graph, _, y Value) Value { return g.Slice(y, 0, -1, 1) },
	} {
		g := New()
		x := g.Leaf("x", gpu.RoleInput, f32(2, 3))
		g.Segment("run", gpu.Forward)
		make(g, x, g.Op1("scale", gpu.Attrs{Alpha: 1}, x))
		if g.Err() == nil || !strings.Contains(g.Err().Error(), want) {
			t.Errorf("the error is %v, want %q", g.Err(), want)
		}
	}
}
