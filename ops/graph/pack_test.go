package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/ref"
)

// mixture builds random graphs of projections of few matrices and of what reads them.
type mixture struct {
	*Graph
	r           *rand.Rand
	values      map[int][]Value // [2, 3, width], by their width
	weights     []Value         // [8 or 4, 8 or 4]
	biases      []Value
	cos, sin    Value
	wanted, acc []Value
}

func mixed(seed uint64) *mixture {
	m := &mixture{Graph: New(), r: rand.New(rand.NewPCG(seed, 21)), values: map[int][]Value{}}
	for i := range 2 {
		m.values[8] = append(m.values[8], m.Leaf(fmt.Sprint("x", i), gpu.RoleInput, f32(2, 3, 8)))
	}
	m.cos, m.sin = m.Leaf("cos", gpu.RoleConst, f32(3, 2)), m.Leaf("sin", gpu.RoleConst, f32(3, 2))
	for i := range 8 + m.r.IntN(12) {
		rows := 4 << m.r.IntN(2)
		if i < 2 {
			rows = 4 << i // one of each
		}
		w := m.Leaf(fmt.Sprint("w", i), gpu.RoleWeight, f32(rows, 8))
		b := m.Leaf(fmt.Sprint("b", i), gpu.RoleWeight, f32(w.Shape()[0]))
		m.weights, m.biases = append(m.weights, w), append(m.biases, b)
		for _, x := range []Value{w, b} {
			if m.r.IntN(4) > 0 {
				m.wanted = append(m.wanted, x)
				m.acc = append(m.acc, m.Leaf("acc/"+x.node.name, gpu.RoleGradient, x.Type()))
			}
		}
	}
	m.Segment("run", gpu.Forward)
	half := func(v Value) Value { return m.Op1("scale", gpu.Attrs{Alpha: 0.5}, v) }
	for _, w := range m.weights {
		if m.r.IntN(8) == 0 {
			m.Update(w, half(w))
		}
	}
	for range 3 + m.r.IntN(12) {
		m.grow()
	}
	m.differentiate()
	for i, x := range m.acc { // as it was before
		if m.r.IntN(8) == 0 {
			m.Update(m.Leaf(fmt.Sprint("before", i), gpu.RoleOutput, x.Type()), half(x))
		}
	}
	return m
}

func (m *mixture) any(width int) Value {
	list := m.values[width]
	return list[m.r.IntN(len(list))]
}

func (m *mixture) give(v Value) { m.values[v.Shape().Cols()] = append(m.values[v.Shape().Cols()], v) }

// project is x wᵀ of a random weight of so many rows, with or without a bias and an adapter; now and then others may
// read it.
func (m *mixture) project(x Value, width int) Value {
	i := m.r.IntN(len(m.weights))
	for m.weights[i].Shape()[0] != width {
		i = (i + 1) % len(m.weights)
	}
	var bias Value
	if m.r.IntN(4) == 0 {
		bias = m.biases[i]
	}
	y := m.Linear(x, m.weights[i], bias)
	if m.r.IntN(4) == 0 && width == 8 {
		y = m.Add(y, m.Linear(m.Linear(x, m.weights[1], Value{}), m.weights[1], Value{}))
	}
	if m.r.IntN(8) == 0 {
		m.give(y)
	}
	return y
}

func (m *mixture) rotate(x Value) Value {
	if m.r.IntN(3) == 0 {
		return x
	}
	return m.Op1("rope", gpu.Attrs{Heads: x.Shape().Cols() / 4}, x, m.cos, m.sin)
}

// grow adds a few operations.
func (m *mixture) grow() {
	x := m.any(8)
	switch m.r.IntN(6) {
	case 0, 1:
		width := 4 << m.r.IntN(2)
		m.give(m.Op1("swiglu", gpu.Attrs{}, m.project(x, width), m.project(x, width)))
	case 2, 3:
		q, k, v := m.project(x, 8), m.project(x, 4), m.project(x, 4)
		m.give(m.Op("attention", gpu.Attrs{Heads: 2, KVHeads: 1}, m.rotate(q), m.rotate(k), v)[0])
	case 4:
		m.give(m.Add(x, m.any(8)))
		m.give(m.Add(x, m.Linear(x, m.weights[1], Value{})))
	case 5:
		m.give(m.rotate(m.project(x, 8)))
	}
}

// differentiate asks for the gradients of the last value, and for some others.
func (m *mixture) differentiate() {
	list := m.values[8]
	y := list[len(list)-1]
	if y.node.leaf != nil {
		y = m.Linear(y, m.weights[0], Value{})
	}
	dy := m.Leaf("dy", gpu.RoleInput, y.Type())
	m.Update(m.Leaf("y", gpu.RoleOutput, y.Type()), y)
	for i, d := range m.Grad(y, dy, m.wanted, m.acc) {
		if d.Valid() && d != m.acc[i] {
			m.Update(m.acc[i], d)
		}
	}
	for i, v := range list {
		if v.node.leaf == nil && m.r.IntN(8) == 0 {
			m.Update(m.Leaf(fmt.Sprint("out", i), gpu.RoleOutput, v.Type()), v)
		}
	}
}

// TestPackingChangesNothing compiles random graphs for a device of few launches and for another, and compares every
// leaf after two runs.
func TestPackingChangesNothing(t *testing.T) {
	packed, joints := 0, 0
	for seed := uint64(0); seed < 600; seed++ {
		var all [2]map[string][]float64
		var text string
		for i, few := range []bool{false, true} {
			g := mixed(seed).Graph
			p, err := Compile(g, gpu.Caps{Alignment: 32, FewLaunches: few})
			if err != nil {
				t.Fatalf("seed %d: %v\n%s", seed, err, g)
			}
			text = g.String()
			packed, joints = packed+strings.Count(text, "|"), joints+strings.Count(text, "beside")
			l, err := ref.Open(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range p.Buffers {
				r := rand.New(rand.NewPCG(seed, uint64(len(b.Name)+int(b.Name[len(b.Name)-1]))))
				v := make([]float64, b.Operand.Type.Shape.Elems())
				for j := range v {
					v[j] = 0.5 * r.NormFloat64()
				}
				l.Set(b.Operand, v)
			}
			all[i] = map[string][]float64{}
			for range 2 {
				if err := l.Run(0, len(p.Launches), false); err != nil {
					t.Fatal(err)
				}
			}
			for _, b := range p.Buffers {
				all[i][b.Name] = l.Get(b.Operand)
			}
		}
		for name, want := range all[0] {
			most := 0.0
			for _, x := range want {
				most = math.Max(most, math.Abs(x))
			}
			for j, x := range all[1][name] {
				if !(math.Abs(x-want[j]) <= 1e-9*most) {
					t.Fatalf("seed %d: %s[%d] is %g, not %g\n%s", seed, name, j, x, want[j], text)
				}
			}
		}
	}
	if packed < 1000 || joints < 100 {
		t.Errorf("%d leaves are read with others and %d gradients put side by side: too few", packed, joints)
	}
}
