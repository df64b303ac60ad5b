package gpu

import "fmt"

// lossKernels are cross-entropy and its derivative, of logits and of the product that makes them.
var lossKernels = []Kernel{
	{
		Name: "cross_entropy",
		Formula: "lse[r] = log sum_{c < cols} exp x[r,c], of all columns where cols is 0; " +
			"nll[r] = lse[r] - x[r,target[r]], 0 where target[r] < 0 (inputs logits x, targets)",
		Attrs: []string{"Cols"},
		FLOPs: elementwise(4),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 2); err != nil {
				return nil, err
			}
			if in[1].DType != I32 || in[1].Shape.Elems() != in[0].Shape.Rows() {
				return nil, fmt.Errorf("takes one i32 target a row, not %v for %v", in[1], in[0])
			}
			return []Type{{in[1].Shape, F32}, {in[1].Shape, F32}}, needCounted(a, in[0].Shape.Cols())
		},
	},
	{
		Name: "cross_entropy_grad",
		Formula: "dx[r,c] = (exp(x[r,c]-lse[r]) - [c = target[r]]) dnll[r], 0 where target[r] < 0, and where c >= cols > 0 " +
			"(inputs dnll, x, targets, lse)",
		Attrs:   []string{"Cols"},
		InPlace: [][2]int{{0, 1}},
		FLOPs:   func(_ Attrs, in, _ []Type) int64 { return Product(4, int64(in[1].Shape.Elems())) },
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 4, 4); err != nil {
				return nil, err
			}
			if err := needSame("dnll and lse", in[0], in[3]); err != nil {
				return nil, err
			}
			return []Type{in[1]}, needCounted(a, in[1].Shape.Cols())
		},
	},
	headKernel("linear_cross_entropy", "cross_entropy, with cols, of the logits h wᵀ, chunk rows of which are in memory at a time "+
		"(inputs h, w, targets)"),
	headKernel("linear_score", "nll as linear_cross_entropy gives it; greedy[r] = 1 where target[r] >= 0 is the first of the largest "+
		"logits of row r, else 0 (inputs h, w, targets)"),
	{
		Name: "linear_cross_entropy_grad",
		Formula: "with x = h wᵀ, chunk rows at a time: nll as cross_entropy gives it, " +
			"dx = (softmax(x) - onehot(target)) dnll, 0 as in cross_entropy_grad, dh = dx w, and unless frozen " +
			"dw = acc + dxᵀ h, added chunk by chunk in the type of acc, or, on a device with a workspace, in fp32 and " +
			"rounded once (inputs dnll, h, w, targets, acc optional)",
		Attrs:    []string{"Chunk", "Frozen", "Cols"},
		InPlace:  [][2]int{{2, 4}},
		Products: true,
		FLOPs: func(a Attrs, in, _ []Type) int64 {
			products := 6
			if a.Frozen {
				products = 4
			}
			return Product(logits(in[1], in[2]), int64(products*in[1].Shape.Cols()+8))
		},
		Scratch: func(a Attrs, in, _ []Type) int64 {
			return Product(4, int64(min(a.Chunk, in[1].Shape.Rows())), int64(in[2].Shape.Rows()))
		},
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 4, 5); err != nil {
				return nil, err
			}
			if err := headShapes(a, in[1], in[2], in[3]); err != nil {
				return nil, err
			}
			if err := needType("dnll", in[0], Type{in[3].Shape, F32}); err != nil {
				return nil, err
			}
			out := []Type{in[0], in[1]}
			if a.Frozen {
				return out, arity(in, 4, 4)
			}
			if len(in) < 5 {
				return append(out, in[2]), nil
			}
			if !in[4].DType.IsFloat() || !in[4].Shape.Equal(in[2].Shape) {
				return nil, fmt.Errorf("the accumulator %v has not the shape of the weight %v", in[4], in[2])
			}
			return append(out, in[4]), nil
		},
	},
}

func init() { register(lossKernels...) }

// headKernel is a kernel that gives two numbers a row of the logits h wᵀ, of which it holds chunk rows at a time.
func headKernel(name, formula string) Kernel {
	return Kernel{
		Name:     name,
		Formula:  formula,
		Attrs:    []string{"Chunk", "Cols"},
		Products: true,
		FLOPs: func(_ Attrs, in, _ []Type) int64 {
			return Product(logits(in[0], in[1]), int64(2*in[0].Shape.Cols()+4))
		},
		Scratch: func(a Attrs, in, _ []Type) int64 {
			return Product(4, int64(min(a.Chunk, in[0].Shape.Rows())), int64(in[1].Shape.Rows()))
		},
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 3, 3); err != nil {
				return nil, err
			}
			if err := headShapes(a, in[0], in[1], in[2]); err != nil {
				return nil, err
			}
			return []Type{{in[2].Shape, F32}, {in[2].Shape, F32}}, nil
		},
	}
}

// logits counts the elements of h wᵀ.
func logits(h, w Type) int64 { return Product(int64(h.Shape.Rows()), int64(w.Shape.Rows())) }

func headShapes(a Attrs, h, w, targets Type) error {
	if err := needFloat(h, w); err != nil {
		return err
	}
	if a.Chunk < 1 {
		return fmt.Errorf("takes a chunk of at least one row, not %d", a.Chunk)
	}
	if len(w.Shape) != 2 || w.DType != h.DType || w.Shape[1] != h.Shape.Cols() {
		return fmt.Errorf("takes a weight [vocabulary, %d] of the type of %v, not %v", h.Shape.Cols(), h, w)
	}
	if targets.DType != I32 || targets.Shape.Elems() != h.Shape.Rows() {
		return fmt.Errorf("takes one i32 target a row, not %v for %v", targets, h)
	}
	return needCounted(a, w.Shape[0])
}
