package gpu

import "fmt"

// moveKernels give values that are there already: copied, converted, repeated, or part of them.
var moveKernels = []Kernel{
	{
		Name:    "zero",
		Formula: "y = 0, of the type of x",
		InPlace: [][2]int{{0, 0}},
		FLOPs:   elementwise(0),
		Infer:   sameAs0(1),
	},
	{
		Name:    "copy",
		Formula: "y = x",
		FLOPs:   elementwise(0),
		Infer:   sameAs0(1),
	},
	{
		Name:    "cast",
		Formula: "y = x rounded to nearest even in dtype",
		Attrs:   []string{"DType"},
		FLOPs:   elementwise(0),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 1); err != nil {
				return nil, err
			}
			if !a.DType.IsFloat() || !in[0].DType.IsFloat() {
				return nil, fmt.Errorf("casts between floating-point types, not %v to %v", in[0].DType, a.DType)
			}
			return []Type{{in[0].Shape, a.DType}}, nil
		},
	},
	{
		Name:    "cast_stochastic",
		Formula: "y = x rounded stochastically to bf16 by a seed, a whole number below 2^24 (inputs x, seed)",
		FLOPs:   elementwise(0),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 2); err != nil {
				return nil, err
			}
			if in[0].DType != F32 {
				return nil, fmt.Errorf("rounds f32, not %v", in[0])
			}
			return []Type{{in[0].Shape, BF16}}, needType("the seed", in[1], Type{Shape{1}, F32})
		},
	},
	{
		Name:    "broadcast",
		Formula: "y = s[0], of the type of x (inputs s, x)",
		InPlace: [][2]int{{0, 1}},
		FLOPs:   func(Attrs, []Type, []Type) int64 { return 0 },
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 2); err != nil {
				return nil, err
			}
			if err := needType("the scalar", in[0], Type{Shape{1}, F32}); err != nil {
				return nil, err
			}
			return []Type{in[1]}, needFloat(in[1])
		},
	},
	{
		Name:    "slice",
		Formula: "y[r,c] = x[r,lo+c] for c < cols",
		Attrs:   []string{"Lo", "Cols"},
		FLOPs:   none,
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 1); err != nil {
				return nil, err
			}
			if a.Lo < 0 || a.Cols < 1 || a.Cols > in[0].Shape.Cols()-a.Lo {
				return nil, fmt.Errorf("takes columns inside %v, not %d from %d on", in[0], a.Cols, a.Lo)
			}
			return []Type{{in[0].Shape.withCols(a.Cols), in[0].DType}}, needFloat(in...)
		},
	},
	{
		Name: "slice_grad",
		Formula: "dx[r,c] = acc[r,c] + dy[r,c-lo] for lo <= c < lo + columns of dy, else acc[r,c], " +
			"of the type of acc (inputs dy, acc optional)",
		Attrs:   []string{"Lo", "Cols"},
		InPlace: [][2]int{{0, 1}},
		FLOPs:   elementwise(1),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 2); err != nil {
				return nil, err
			}
			if err := needFloat(in...); err != nil {
				return nil, err
			}
			out := Type{in[0].Shape.withCols(a.Cols), in[0].DType}
			if len(in) == 2 {
				out = in[1]
			}
			if out.Shape.Rows() != in[0].Shape.Rows() || a.Lo < 0 || out.Shape.Cols()-a.Lo < in[0].Shape.Cols() {
				return nil, fmt.Errorf("%v does not lie in %v from column %d on", in[0], out, a.Lo)
			}
			return []Type{out}, nil
		},
	},
}

func init() { register(moveKernels...) }
