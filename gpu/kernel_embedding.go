package gpu

import "fmt"

// embeddingKernels read rows of a table by ids, and add to them.
var embeddingKernels = []Kernel{
	{
		Name:    "embedding",
		Formula: "y[t,:] = w[ids[t],:] (inputs ids, w)",
		FLOPs:   none,
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 2); err != nil {
				return nil, err
			}
			if in[0].DType != I32 || len(in[1].Shape) != 2 {
				return nil, fmt.Errorf("takes i32 ids and a table [vocabulary, hidden], not %v and %v", in[0], in[1])
			}
			return []Type{{append(append(Shape(nil), in[0].Shape...), in[1].Shape[1]), in[1].DType}}, nil
		},
	},
	{
		Name: "embedding_grad",
		Formula: "dw[v,:] = acc[v,:] + sum_{t: ids[t]=v} dy[t,:], of the type of acc, in order of t, or, on a device " +
			"with a workspace, in an order that shapes and ids fix (inputs ids, dy, acc optional)",
		Attrs:   []string{"Rows"},
		InPlace: [][2]int{{0, 2}},
		FLOPs:   func(_ Attrs, in, _ []Type) int64 { return int64(in[1].Shape.Elems()) },
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 3); err != nil {
				return nil, err
			}
			if in[0].DType != I32 || in[0].Shape.Elems() != in[1].Shape.Rows() {
				return nil, fmt.Errorf("takes i32 ids and one row each of dy, not %v and %v", in[0], in[1])
			}
			out := Type{Shape{a.Rows, in[1].Shape.Cols()}, in[1].DType}
			if len(in) == 3 {
				if !in[2].DType.IsFloat() || in[2].Shape.Cols() != out.Shape[1] {
					return nil, fmt.Errorf("the accumulator %v has not the %d columns of dy", in[2], out.Shape[1])
				}
				out = in[2]
			}
			return []Type{out}, nil
		},
	},
}

func init() { register(embeddingKernels...) }
