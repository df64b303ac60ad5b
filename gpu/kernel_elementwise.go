package gpu

// elementwiseKernels compute each element from those at its place.
var elementwiseKernels = []Kernel{
	{
		Name:    "add",
		Formula: "y = a + b",
		InPlace: [][2]int{{0, 0}, {0, 1}},
		FLOPs:   elementwise(1),
		Infer:   sameAs0(2),
	},
	{
		Name:    "mul",
		Formula: "y = a b, element by element",
		InPlace: [][2]int{{0, 0}, {0, 1}},
		FLOPs:   elementwise(1),
		Infer:   sameAs0(2),
	},
	{
		Name:    "scale",
		Formula: "y = alpha x",
		Attrs:   []string{"Alpha"},
		InPlace: [][2]int{{0, 0}},
		FLOPs:   elementwise(1),
		Infer:   sameAs0(1),
	},
	{
		Name:    "bias_add",
		Formula: "y[r,c] = x[r,c] + b[c]",
		InPlace: [][2]int{{0, 0}},
		FLOPs:   elementwise(1),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 2); err != nil {
				return nil, err
			}
			if err := needType("the bias", in[1], Type{Shape{in[0].Shape.Cols()}, in[0].DType}); err != nil {
				return nil, err
			}
			return []Type{in[0]}, nil
		},
	},
	{
		Name: "uniform_noise",
		Formula: "y[r,c] = x[r,c] + alpha u, with u drawn uniformly from [-1, 1) by splitmix64 of seed[0], a whole number below 2^24, " +
			"and the element, number (r + rows seed[1]) Cols + c; columns from Cols on stay (inputs x, seed)",
		Attrs:   []string{"Alpha", "Cols"},
		InPlace: [][2]int{{0, 0}},
		FLOPs:   elementwise(2),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 2); err != nil {
				return nil, err
			}
			return []Type{in[0]}, needType("the seed", in[1], Type{Shape{2}, F32})
		},
	},
	{
		Name:    "swiglu",
		Formula: "y = g sigmoid(g) u (inputs g, u); Shazeer 2020, arXiv 2002.05202",
		InPlace: [][2]int{{0, 0}, {0, 1}},
		Strided: Strided{In: 2, Out: 1},
		FLOPs:   elementwise(5),
		Infer:   sameAs0(2),
	},
	{
		Name:    "swiglu_grad",
		Formula: "with s = sigmoid(g): dg = dy u s (1 + g (1-s)), du = dy g s (inputs dy, g, u)",
		InPlace: [][2]int{{0, 1}, {1, 2}},
		Strided: Strided{In: 3, Out: 2},
		FLOPs:   elementwise(10),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			out, err := sameAs0(3)(a, in)
			if err != nil {
				return nil, err
			}
			return []Type{out[0], out[0]}, nil
		},
	},
}

func init() { register(elementwiseKernels...) }
