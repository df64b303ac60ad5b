package graph_test

import (
	"fmt"

	"stepflow/gpu"
	"stepflow/ops/graph"
)

// A step of gradient descent on y = x wᵀ. The gradient of w is added to its buffer by the product that makes it; y
// itself, which no update needs, is never computed.
func ExampleCompile() {
	f32 := func(shape ...int) gpu.Type { return gpu.Type{Shape: shape, DType: gpu.F32} }
	g := graph.New()
	x := g.Leaf("x", gpu.RoleInput, f32(4, 3))
	dy := g.Leaf("dy", gpu.RoleInput, f32(4, 5))
	w := g.Leaf("w", gpu.RoleWeight, f32(5, 3))
	dw := g.Leaf("dw", gpu.RoleGradient, f32(5, 3))

	g.Segment("micro", gpu.Forward)
	y := g.Linear(x, w, graph.Value{})
	g.Update(dw, g.Grad(y, dy, []graph.Value{w}, []graph.Value{dw})[0])

	g.Segment("update", gpu.Update)
	g.Update(w, g.Add(g.Op1("scale", gpu.Attrs{Alpha: -0.01}, dw), w))

	p, err := graph.Compile(g, gpu.Caps{Alignment: 64})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(g)
	fmt.Printf("%d launches, %d bytes of leaves, %d of values in between\n",
		len(p.Launches), p.ResidentBytes, p.TransientBytes)
	// Output:
	// micro:
	//   %2 = matmul dy x dw f32[5,3]
	//   dw <- %2
	// update:
	//   %3 = scale dw f32[5,3]
	//   %4 = add %3 w f32[5,3]
	//   w <- %4
	// 3 launches, 320 bytes of leaves, 64 of values in between
}
