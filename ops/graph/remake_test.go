package graph

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/ref"
)

// TestRemake: weights that are made again have the gradients of those that are kept, and are in memory one at a time, also where
// the activations of layers are computed again.
func TestRemake(t *testing.T) {
	const layers, width, rows, rank, some = 5, 32, 4, 2, 9
	weight := int64(4 * width * width)
	run := func(remake, recompute bool) (p *gpu.Program, grads [][]float64) {
		g := New()
		x := g.Leaf("x", gpu.RoleInput, f32(rows, width))
		var leaves, wanted []Value
		for i := range layers {
			leaf := func(name string, t gpu.Type) Value { return g.Leaf(fmt.Sprintf("%s%d", name, i), gpu.RoleWeight, t) }
			leaves = append(leaves, leaf("b", f32(width, rank)), leaf("a", f32(rank, width)),
				leaf("at", gpu.Type{Shape: gpu.Shape{some}, DType: gpu.I32}), leaf("v", f32(some)))
			wanted = append(wanted, leaves[4*i], leaves[4*i+1], leaves[4*i+3])
		}
		g.Segment("run", gpu.Forward)
		y := x
		for i := range layers {
			g.At(i, "layer")
			w := g.Remade(func() Value {
				return g.Op1("scatter_add", gpu.Attrs{}, g.Matmul(leaves[4*i], leaves[4*i+1], false, false), leaves[4*i+2], leaves[4*i+3])
			})
			y = g.Linear(y, w, Value{})
			y = g.Op1("swiglu", gpu.Attrs{}, y, y)
		}
		g.Update(g.Leaf("y", gpu.RoleOutput, y.Type()), y)
		var out []Value
		for i, d := range g.Grad(y, y, wanted, nil) {
			out = append(out, g.Leaf(fmt.Sprintf("grad%d", i), gpu.RoleGradient, wanted[i].Type()))
			g.Update(out[i], d)
		}
		if remake {
			g.Remake()
		}
		if recompute {
			g.Recompute(func(int) bool { return false })
		}
		p, err := Compile(g, gpu.Caps{Alignment: 4})
		if err != nil {
			t.Fatal(err)
		}
		l, err := ref.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for _, b := range p.Buffers {
			v := make([]float64, b.Operand.Type.Shape.Elems())
			for i := range v {
				if v[i] = r.NormFloat64() / 4; b.Operand.Type.DType == gpu.I32 {
					v[i] = float64(i * 100)
				}
			}
			l.Set(b.Operand, v)
		}
		if err := l.Run(0, len(p.Launches), false); err != nil {
			t.Fatal(err)
		}
		for i := range out {
			b, _ := p.Buffer(fmt.Sprintf("grad%d", i))
			grads = append(grads, l.Get(b.Operand))
		}
		return p, grads
	}
	kept, want := run(false, false)
	if kept.TransientBytes < layers*weight {
		t.Fatalf("without Remake %d bytes are taken", kept.TransientBytes)
	}
	for _, recompute := range []bool{false, true} {
		p, grads := run(true, recompute)
		for i := range want {
			if !slices.Equal(grads[i], want[i]) {
				t.Errorf("recompute %t: gradient %d is %v, want %v", recompute, i, grads[i], want[i])
			}
		}
		activations := int64(4 * 3 * layers * rows * width)
		if p.TransientBytes > 2*weight+activations {
			t.Errorf("recompute %t: %d bytes are taken, of which a weight and its gradient are %d", recompute, p.TransientBytes, 2*weight)
		}
		var made, again int
		for _, x := range p.Launches {
			if x.Kernel == "scatter_add" {
				if made++; x.Recomputed {
					again++
				}
			}
		}
		most := 2*layers - 1 // the first layer's input needs no gradient
		if recompute {
			most += layers
		}
		if made > most || again != made-layers {
			t.Errorf("recompute %t: a weight was made %d times, %d of them again", recompute, made, again)
		}
	}
}
