package gpu

// normKernels are RMSNorm and its derivatives.
var normKernels = []Kernel{
	{
		Name: "rmsnorm",
		Formula: "rstd[r] = 1/sqrt(sum_c x[r,c]²/cols + eps), y[r,c] = x[r,c] rstd[r] w[c], where cols is the number " +
			"of columns if it is 0; Zhang & Sennrich 2019, eq. 4",
		Attrs: []string{"Eps", "Cols"},
		FLOPs: elementwise(4),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 2); err != nil {
				return nil, err
			}
			if err := needCounted(a, in[0].Shape.Cols()); err != nil {
				return nil, err
			}
			if err := needType("the gain", in[1], Type{Shape{in[0].Shape.Cols()}, in[0].DType}); err != nil {
				return nil, err
			}
			return []Type{in[0], {in[0].Shape[:len(in[0].Shape)-1], F32}}, nil
		},
	},
	{
		Name: "rmsnorm_grad_x",
		Formula: "dx[r,c] = rstd[r] (dy[r,c] w[c] - x[r,c] rstd[r]²/cols sum_k dy[r,k] w[k] x[r,k]) + a[r,c], cols as in " +
			"rmsnorm (inputs dy, x, w, rstd, a optional)",
		Attrs:   []string{"Cols"},
		InPlace: [][2]int{{0, 4}, {0, 0}},
		FLOPs:   withAddend(4, elementwise(8)),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 4, 5); err != nil {
				return nil, err
			}
			if err := needSame("dy and x", in[0], in[1]); err != nil {
				return nil, err
			}
			if err := needCounted(a, in[0].Shape.Cols()); err != nil {
				return nil, err
			}
			if len(in) == 5 {
				return in[4:5:5], needType("the addend", in[4], in[0])
			}
			return []Type{in[0]}, nil
		},
	},
	{
		Name:    "rmsnorm_grad_w",
		Formula: "dw[c] = acc[c] + sum_r dy[r,c] x[r,c] rstd[r], of the type of acc (inputs dy, x, rstd, acc optional)",
		InPlace: [][2]int{{0, 3}},
		FLOPs:   withAddend(3, elementwise(3)),
		Scratch: rowPartials(0),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 3, 4); err != nil {
				return nil, err
			}
			if err := needSame("dy and x", in[0], in[1]); err != nil {
				return nil, err
			}
			return rowSums(in, 3)
		},
	},
}

func init() { register(normKernels...) }
