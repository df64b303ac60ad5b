package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/gputest"
	"stepflow/gpu/ref"
)

func f32(s ...int) gpu.Type { return gpu.Type{Shape: s, DType: gpu.F32} }

// TestGradients compares every derivative rule with central differences in float64.
func TestGradients(t *testing.T) {
	covered := map[string]bool{}
	for _, c := range gputest.Cases() {
		if halves(c) { // a rounded function has no differences to take
			continue
		}
		if vjp[c.Kernel] == nil || c.Stride != nil {
			continue
		}
		size := 0
		for _, x := range c.In {
			size += x.Shape.Elems()
		}
		if size > 2500 || c.In[0].DType == gpu.BF16 {
			continue
		}
		covered[c.Kernel] = true
		t.Run(c.String(), func(t *testing.T) { gradient(t, c) })
	}
	for k := range vjp {
		if !covered[k] {
			t.Errorf("no case checks the derivative of %s", k)
		}
	}
}

func gradient(t *testing.T, c gputest.Case) {
	g := New()
	var leaves, wanted []Value
	for i, x := range c.In {
		v := g.Leaf(fmt.Sprintf("in%d", i), gpu.RoleInput, x)
		leaves = append(leaves, v)
		if x.DType.IsFloat() && !(c.Kernel == "rope" && i > 0) && !(c.Kernel == "broadcast" && i > 0) &&
			!(c.Kernel == "uniform_noise" && i > 0) {
			wanted = append(wanted, v)
		}
	}
	g.Segment("run", gpu.Forward)
	y := g.Op(c.Kernel, c.Attrs, leaves...)[0]
	// The loss is y · weights, so that every element of the seed differs.
	seed := g.Leaf("seed", gpu.RoleInput, y.Type())
	loss := g.Leaf("loss", gpu.RoleOutput, f32(1))
	g.Update(loss, g.Op1("sum", gpu.Attrs{}, g.Op1("mul", gpu.Attrs{}, y, seed)))
	grads := g.Grad(y, seed, wanted, nil)
	for i, d := range grads {
		if !d.Valid() {
			t.Fatalf("no gradient for %s", wanted[i].node.name)
		}
		g.Update(g.Leaf("grad"+wanted[i].node.name, gpu.RoleGradient, d.Type()), d)
	}
	p, err := Compile(g, gpu.Caps{Alignment: 8})
	if err != nil {
		t.Fatal(err)
	}
	l, err := ref.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	buffer := func(name string) gpu.Operand { b, _ := p.Buffer(name); return b.Operand }
	in := gputest.Inputs(c, 3)
	r := rand.New(rand.NewPCG(5, 5))
	sv := make([]float64, y.Shape().Elems())
	for i := range sv {
		sv[i] = r.NormFloat64()
	}
	l.Set(buffer("seed"), sv)
	run := func() float64 {
		for i, v := range in {
			l.Set(buffer(fmt.Sprintf("in%d", i)), v)
		}
		if err := l.Run(0, len(p.Launches), false); err != nil {
			t.Fatal(err)
		}
		return l.Get(buffer("loss"))[0]
	}
	run()
	analytics := make([][]float64, len(wanted))
	for i, w := range wanted {
		analytics[i] = l.Get(buffer("grad" + w.node.name))
	}
	for i, w := range wanted {
		analytic := analytics[i]
		var at int
		fmt.Sscanf(w.node.name, "in%d", &at)
		x := in[at]
		for n := 0; n < min(len(x), 24); n++ {
			j := r.IntN(len(x))
			const h = 1e-5
			old := x[j]
			x[j] = old + h
			up := run()
			x[j] = old - h
			down := run()
			x[j] = old
			numeric := (up - down) / (2 * h)
			if math.Abs(numeric-analytic[j]) > 1e-6*(1+math.Abs(numeric)) {
				t.Fatalf("%s[%d]: derivative %g, central difference %g", w.node.name, j, analytic[j], numeric)
			}
		}
	}
}

// TestPlacement checks the invariant on random graphs: what the compiled program computes in its
// shared arena is what the formulas say, for every leaf, run after run.
func TestPlacement(t *testing.T) {
	for seed := uint64(0); seed < 300; seed++ {
		r := rand.New(rand.NewPCG(seed, 9))
		g := New()
		type formula func(env map[Value][]float64) []float64
		eval := map[Value]formula{}
		env := map[Value][]float64{}
		n := 1 + r.IntN(40)
		var values, states []Value
		for i := 0; i < 1+r.IntN(4); i++ {
			v := g.Leaf(fmt.Sprintf("s%d", i), gpu.RoleWeight, f32(n))
			states = append(states, v)
			env[v] = make([]float64, n)
			for j := range env[v] {
				env[v][j] = r.NormFloat64()
			}
		}
		g.Segment("run", gpu.Forward)
		values = append(values, states...)
		var order []Value
		for i := 0; i < 1+r.IntN(25); i++ {
			a, b := values[r.IntN(len(values))], values[r.IntN(len(values))]
			var v Value
			switch r.IntN(4) {
			case 0:
				v = g.Add(a, b)
				eval[v] = func(e map[Value][]float64) []float64 {
					return zip(e[a], e[b], func(x, y float64) float64 { return x + y })
				}
			case 1:
				v = g.Op1("scale", gpu.Attrs{Alpha: 0.5}, a)
				eval[v] = func(e map[Value][]float64) []float64 {
					return zip(e[a], e[a], func(x, _ float64) float64 { return 0.5 * x })
				}
			case 2:
				v = g.Op1("copy", gpu.Attrs{}, a)
				eval[v] = func(e map[Value][]float64) []float64 { return e[a] }
			case 3:
				v = g.Op1("mul", gpu.Attrs{}, g.Op1("scale", gpu.Attrs{Alpha: 0.1}, a), b)
				eval[v] = func(e map[Value][]float64) []float64 {
					return zip(e[a], e[b], func(x, y float64) float64 { return 0.1 * x * y })
				}
			}
			values = append(values, v)
			order = append(order, v)
		}
		updates := map[Value]Value{}
		for _, s := range states {
			if r.IntN(3) > 0 {
				updates[s] = order[r.IntN(len(order))]
				g.Update(s, updates[s])
			}
		}
		p, err := Compile(g, gpu.Caps{Alignment: 8})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if p.TransientBytes < p.LowerBound {
			t.Fatalf("seed %d: %d bytes are less than the %d alive at once", seed, p.TransientBytes, p.LowerBound)
		}
		l, err := ref.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		at := func(s Value) gpu.Operand { b, _ := p.Buffer(s.node.name); return b.Operand }
		for _, s := range states {
			l.Set(at(s), env[s])
		}
		for run := 0; run < 3; run++ {
			if err := l.Run(0, len(p.Launches), false); err != nil {
				t.Fatal(err)
			}
			for _, v := range order {
				env[v] = eval[v](env)
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
						t.Fatalf("seed %d, run %d: %s[%d] is %g, want %g\n%s", seed, run, s.node.name, j, x, env[s][j], g)
					}
				}
			}
		}
	}
}

func zip(a, b []float64, f func(x, y float64) float64) []float64 {
	c := make([]float64, len(a))
	for i := range c {
		c[i] = f(a[i], b[i])
	}
	return c
}

func TestFrozenWeightHasNoNode(t *testing.T) {
	g := New()
	x, w, u := g.Leaf("x", gpu.RoleInput, f32(4, 3)), g.Leaf("w", gpu.RoleWeight, f32(5, 3)), g.Leaf("u", gpu.RoleWeight, f32(2, 5))
	g.Segment("run", gpu.Forward)
	y := g.Linear(g.Linear(x, w, Value{}), u, Value{})
	before := len(g.nodes)
	dy := g.Leaf("dy", gpu.RoleInput, y.Type())
	d := g.Grad(y, dy, []Value{u}, nil)
	if len(g.nodes) != before+1 {
		t.Errorf("the gradient of the last weight alone takes one product, not %d nodes:\n%s", len(g.nodes)-before, g)
	}
	if d := g.Grad(y, dy, []Value{g.Leaf("other", gpu.RoleWeight, f32(1))}, nil); d[0].Valid() {
		t.Error("a leaf that the value does not depend on has a gradient")
	}
	if !d[0].Valid() {
		t.Error("no gradient")
	}
}

func TestFuseAndAccumulateInPlace(t *testing.T) {
	g := New()
	x, w, acc := g.Leaf("x", gpu.RoleInput, f32(4, 3)), g.Leaf("w", gpu.RoleWeight, f32(5, 3)), g.Leaf("acc", gpu.RoleGradient, f32(5, 3))
	dy := g.Leaf("dy", gpu.RoleInput, f32(4, 5))
	g.Segment("run", gpu.Backward)
	y := g.Linear(x, w, Value{})
	g.Update(acc, g.Grad(y, dy, []Value{w}, []Value{acc})[0])
	p, err := Compile(g, gpu.Caps{Alignment: 64})
	if err != nil {
		t.Fatal(err)
	}
	want := "run:\n  %2 = matmul dy x acc f32[5,3]\n  acc <- %2\n"
	if got := g.String(); got != want {
		t.Errorf("after the passes:\n%swant:\n%s", got, want)
	}
	if p.TransientBytes != 0 {
		t.Errorf("the gradient is added in place, yet %d transient bytes are planned", p.TransientBytes)
	}
}

// Gradients of bf16 weights that are added up in fp32: products and rows of the embedding add to the accumulator itself, and
// what cannot is cast first.
func TestAccumulateInFP32(t *testing.T) {
	bf16 := func(s ...int) gpu.Type { return gpu.Type{Shape: s, DType: gpu.BF16} }
	i32 := gpu.Type{Shape: gpu.Shape{1, 4}, DType: gpu.I32}
	g := New()
	ids, targets := g.Leaf("ids", gpu.RoleInput, i32), g.Leaf("targets", gpu.RoleInput, i32)
	table, gain, w := g.Leaf("table", gpu.RoleWeight, bf16(7, 3)), g.Leaf("gain", gpu.RoleWeight, bf16(3)), g.Leaf("w", gpu.RoleWeight, bf16(3, 3))
	wanted := []Value{table, gain, w}
	var acc []Value
	for _, v := range wanted {
		acc = append(acc, g.Leaf("acc/"+v.node.name, gpu.RoleGradient, f32(v.Shape()...)))
	}
	dy := g.Leaf("dy", gpu.RoleInput, f32(1, 4))
	g.Segment("run", gpu.Backward)
	x := g.Op1("rmsnorm", gpu.Attrs{Eps: 1e-5}, g.Op1("embedding", gpu.Attrs{}, ids, table), gain)
	nll := g.Op1("linear_cross_entropy", gpu.Attrs{Chunk: 2}, g.Linear(x, w, Value{}), table, targets) // tied
	for i, d := range g.Grad(nll, dy, wanted, acc) {
		g.Update(acc[i], d)
	}
	if _, err := Compile(g, gpu.Caps{Alignment: 64}); err != nil {
		t.Fatal(err)
	}
	casts := 0
	for _, n := range g.nodes {
		switch n.kernel {
		case "cast":
			casts++
			if n.in[0].node.kernel != "rmsnorm_grad_w" {
				t.Errorf("the gradient of %s is cast, not added", n.in[0].node.kernel)
			}
		case "linear_cross_entropy_grad":
			if n.types[2].DType != gpu.F32 || len(n.in) != 5 {
				t.Errorf("the head's gradient is %v", n.types[2])
			}
		}
	}
	if casts != 1 {
		t.Errorf("%d casts in\n%s", casts, g)
	}
	for _, u := range g.updates {
		if n := u.value.node; n.types[u.value.out].DType != gpu.F32 {
			t.Errorf("%s is updated by %v", u.leaf.name, n.types[u.value.out])
		}
	}
}

// The backward pass of a chunked loss gives the loss too, adds the weight's gradient in place, and
// comes before whoever reads the loss; without a backward pass the forward one stays.
func TestJoinedLoss(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		g := New()
		h, w, acc := g.Leaf("h", gpu.RoleInput, f32(1, 4, 3)), g.Leaf("w", gpu.RoleWeight, f32(5, 3)), g.Leaf("acc", gpu.RoleGradient, f32(5, 3))
		u, accU := g.Leaf("u", gpu.RoleWeight, f32(3, 3)), g.Leaf("accu", gpu.RoleGradient, f32(3, 3))
		targets, seed := g.Leaf("t", gpu.RoleInput, gpu.Type{Shape: gpu.Shape{1, 4}, DType: gpu.I32}), g.Leaf("seed", gpu.RoleInput, f32(1, 4))
		loss, only := g.Leaf("loss", gpu.RoleOutput, f32(1)), g.Leaf("only", gpu.RoleOutput, f32(1, 4))
		forward := func() Value {
			return g.Op1("linear_cross_entropy", gpu.Attrs{Chunk: 2}, g.Linear(h, u, Value{}), w, targets)
		}
		g.Segment("run", gpu.Forward)
		nll := forward()
		g.Update(loss, g.Op1("sum", gpu.Attrs{}, g.Op1("mul", gpu.Attrs{}, nll, seed)))
		wanted, accs := []Value{w, u}, []Value{acc, accU}
		if frozen {
			wanted, accs = wanted[1:], accs[1:]
		}
		for i, d := range g.Grad(nll, seed, wanted, accs) {
			g.Update(accs[i], d)
		}
		g.Segment("probe", gpu.Forward)
		g.Update(only, forward())
		if _, err := Compile(g, gpu.Caps{Alignment: 64}); err != nil {
			t.Fatal(err)
		}
		want := "linear_cross_entropy_grad seed %0 w t acc f32[1,4] f32[1,4,3] f32[5,3]"
		if frozen {
			want = "linear_cross_entropy_grad seed %0 w t f32[1,4] f32[1,4,3]\n"
		}
		run, probe, _ := strings.Cut(g.String(), "probe:")
		if !strings.Contains(run, want) || strings.Contains(run, "linear_cross_entropy ") || strings.Index(run, "= mul") < strings.Index(run, "linear") {
			t.Errorf("frozen %t:\n%swant one launch for loss and gradients, before the sum:\n%s", frozen, g, want)
		}
		if !strings.Contains(probe, "linear_cross_entropy ") {
			t.Errorf("the forward pass alone lost its loss:\n%s", g)
		}
	}
}

// The activation is a product's epilogue, whose readers in the backward pass take both results from
// it; where the product is read before the activation is made, both stay.
func TestActivationIsAnEpilogue(t *testing.T) {
	for _, early := range []bool{false, true} {
		g := New()
		x, w, v := g.Leaf("x", gpu.RoleInput, f32(4, 3)), g.Leaf("w", gpu.RoleWeight, f32(5, 3)), g.Leaf("v", gpu.RoleWeight, f32(5, 3))
		dv, dw, out := g.Leaf("dv", gpu.RoleGradient, f32(5, 3)), g.Leaf("dw", gpu.RoleGradient, f32(5, 3)), g.Leaf("out", gpu.RoleOutput, f32(4, 5))
		dy := g.Leaf("dy", gpu.RoleInput, f32(4, 5))
		g.Segment("run", gpu.Forward)
		gate, up := g.Linear(x, w, Value{}), g.Linear(x, v, Value{})
		if early {
			gate = g.Add(gate, up)
		}
		y := g.Op1("swiglu", gpu.Attrs{}, gate, up)
		g.Update(out, y)
		for i, d := range g.Grad(y, dy, []Value{w, v}, []Value{dw, dv}) {
			g.Update([]Value{dw, dv}[i], d)
		}
		if _, err := Compile(g, gpu.Caps{Alignment: 64}); err != nil {
			t.Fatal(err)
		}
		if got := g.String(); strings.Contains(got, "= matmul_swiglu x v") == early || strings.Contains(got, "= swiglu ") != early {
			t.Errorf("early %t:\n%s", early, got)
		}
	}
}

func TestErrorsStick(t *testing.T) {
	g := New()
	a, b := g.Leaf("a", gpu.RoleInput, f32(2, 3)), g.Leaf("b", gpu.RoleInput, f32(2, 4))
	g.Segment("run", gpu.Forward)
	g.At(3, "layers.3.mlp")
	g.Update(a, g.Add(g.Add(a, b), a))
	_, err := Compile(g, gpu.Caps{})
	if err == nil || !strings.Contains(err.Error(), "layers.3.mlp") || !strings.Contains(err.Error(), "f32[2,4]") {
		t.Errorf("the error names neither place nor shapes: %v", err)
	}
}

// halves reports whether a case works in bf16.
func halves(c gputest.Case) bool {
	for _, t := range c.In {
		if t.DType == gpu.BF16 {
			return true
		}
	}
	return c.Attrs.DType == gpu.BF16
}
