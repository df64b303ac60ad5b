package graph

import (
	"fmt"
	"math"

	"stepflow/gpu"
)

// beside is the one operation of a graph that is no launch: its output is the matrix whose columns are its inputs,
// since their kernels write them there.
var beside = &gpu.Kernel{Name: "beside", Strided: gpu.Strided{In: math.MaxInt}, Infer: inferBeside}

func inferBeside(_ gpu.Attrs, in []gpu.Type) ([]gpu.Type, error) {
	t := gpu.Type{Shape: append(gpu.Shape(nil), in[0].Shape...), DType: in[0].DType}
	last := len(t.Shape) - 1
	for _, x := range in[1:] {
		if x.DType != t.DType || x.Shape.Rows() != in[0].Shape.Rows() {
			return nil, fmt.Errorf("%v and %v are not columns of one matrix", in[0], x)
		}
		t.Shape[last] += x.Shape.Cols()
	}
	return []gpu.Type{t}, nil
}

// kernelOf returns the row of a node's operation.
func kernelOf(n *node) *gpu.Kernel {
	if n.kernel == beside.Name {
		return beside
	}
	return gpu.Lookup(n.kernel)
}
