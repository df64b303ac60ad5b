package gpu

import "fmt"

// channelKernels are sums over the rows and columns of a matrix, and what is made of them: updates that are scaled by
// channel. Sums of squares are in fp32, whatever the matrix is.
var channelKernels = []Kernel{
	{
		Name:    "row_squares",
		Formula: "y[r] = sum_c x[r,c]², in f32",
		FLOPs:   elementwise(2),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 1); err != nil {
				return nil, err
			}
			return []Type{{Shape{in[0].Shape.Rows()}, F32}}, needFloat(in...)
		},
	},
	{
		Name:    "column_squares",
		Formula: "y[c] = sum_r x[r,c]², in f32",
		FLOPs:   elementwise(2),
		Scratch: rowPartials(0),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 1); err != nil {
				return nil, err
			}
			return []Type{{Shape{in[0].Shape.Cols()}, F32}}, needFloat(in...)
		},
	},
	{
		Name:    "scale_rows",
		Formula: "y[r,c] = x[r,c] s[r], in f32 (inputs x, s)",
		FLOPs:   elementwise(1),
		Infer:   inferScaled(Shape.Rows),
	},
	{
		Name:    "scale_columns",
		Formula: "y[r,c] = x[r,c] s[c], in f32 (inputs x, s)",
		FLOPs:   elementwise(1),
		Infer:   inferScaled(Shape.Cols),
	},
	{
		Name:    "inverse_rms",
		Formula: "y = 1 / max(sqrt(s / cols), eps) (input s: sums of so many squares)",
		Attrs:   []string{"Cols", "Eps"},
		InPlace: [][2]int{{0, 0}},
		FLOPs:   elementwise(3),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 1); err != nil {
				return nil, err
			}
			if in[0].DType != F32 || a.Cols < 1 || !(a.Eps > 0) {
				return nil, fmt.Errorf("the roots of %v, sums of %d squares, at least %g", in[0], a.Cols, a.Eps)
			}
			return in[:1:1], nil
		},
	},
	{
		Name: "channel_factors",
		Formula: "f[i] = coef (sqrt(a[i]) / bias) / (coef sqrt(b[i]) + 1e-8), norm = sqrt(sum_i f[i]² q[i]); where a norm " +
			"before p > 0 was exceeded by more than 1 %, f and norm are divided by norm / (1.01 (p + 1e-8)); " +
			"s[i] = alpha bias f[i]; p is kept, and s = 0, when coef is not finite; a and b of one element stand for all; " +
			"Zhu et al. 2024 (arXiv 2412.05270), alg. 1, and Chen et al. 2024 (arXiv 2410.01623), eq. 10 " +
			"(inputs a, b, q: sums of squares of what Adam makes of channels of the projected gradient, of these channels, " +
			"and of those to be scaled; p, coef, hyper = [lr, bias, …])",
		Attrs:   []string{"Alpha"},
		InPlace: [][2]int{{1, 3}},
		FLOPs:   func(_ Attrs, in, _ []Type) int64 { return Product(10, int64(in[2].Shape.Elems())) },
		Infer:   inferChannelFactors,
	},
	{
		Name: "ema_squares",
		Formula: "y = β x + (1-β) (coef² s / cols + eps) for the first rows elements, all if rows is 0, and 0 for others; " +
			"y = x when coef is not finite; Shazeer & Stern 2018 (arXiv 1804.04235), alg. 4 " +
			"(inputs x, s: sums of so many squares, coef, hyper = [lr, β, …])",
		Attrs:   []string{"Cols", "Rows", "Eps"},
		InPlace: [][2]int{{0, 0}},
		FLOPs:   elementwise(5),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 4, 4); err != nil {
				return nil, err
			}
			if in[0].DType != F32 || a.Cols < 1 || a.Rows < 0 || a.Rows > in[0].Shape.Elems() {
				return nil, fmt.Errorf("the average %v of means of %d squares, of which %d count", in[0], a.Cols, a.Rows)
			}
			return in[:1:1], needTypes(in[1:], []string{"the sum of squares", "the clip coefficient", "hyper"}, in[0], scalar, hypers)
		},
	},
	{
		Name: "row_factors",
		Formula: "y[i] = coef sqrt(mean(x) / x[i]), the mean over the first rows elements, all if rows is 0; 0 where x[i] is 0; " +
			"Shazeer & Stern 2018, alg. 4 (inputs x, coef)",
		Attrs: []string{"Rows"},
		FLOPs: elementwise(4),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 2); err != nil {
				return nil, err
			}
			if in[0].DType != F32 || a.Rows < 0 || a.Rows > in[0].Shape.Elems() {
				return nil, fmt.Errorf("the mean of the first %d of %v", a.Rows, in[0])
			}
			return in[:1:1], needType("the clip coefficient", in[1], scalar)
		},
	},
	{
		Name: "scale_rate",
		Formula: "hyper with its first element times max(eps, sqrt(s / cols)); Shazeer & Stern 2018, alg. 4 " +
			"(inputs s: a sum of so many squares, hyper)",
		Attrs: []string{"Cols", "Eps"},
		FLOPs: elementwise(3),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 2); err != nil {
				return nil, err
			}
			if a.Cols < 1 {
				return nil, fmt.Errorf("the mean of %d squares", a.Cols)
			}
			return in[1:2:2], needTypes(in, []string{"the sum of squares", "hyper"}, scalar, hypers)
		},
	},
}

func init() { register(channelKernels...) }

// inferScaled checks a matrix and as many factors as it has of something.
func inferScaled(count func(Shape) int) func(Attrs, []Type) ([]Type, error) {
	return func(_ Attrs, in []Type) ([]Type, error) {
		if err := arity(in, 2, 2); err != nil {
			return nil, err
		}
		if err := needFloat(in...); err != nil {
			return nil, err
		}
		return []Type{{in[0].Shape, F32}}, needType("the factors", in[1], Type{Shape{count(in[0].Shape)}, F32})
	}
}

// inferChannelFactors checks sums of squares of channels, or of all of them together, and the scalars of an update.
func inferChannelFactors(_ Attrs, in []Type) ([]Type, error) {
	if err := arity(in, 6, 6); err != nil {
		return nil, err
	}
	if in[2].DType != F32 || len(in[2].Shape) != 1 {
		return nil, fmt.Errorf("the sums of squares of channels are %v, not a vector in f32", in[2])
	}
	if !in[0].Equal(scalar) {
		if err := needType("the sums of squares of what Adam makes", in[0], in[2]); err != nil {
			return nil, err
		}
	}
	return []Type{in[2], scalar}, needTypes([]Type{in[1], in[3], in[4], in[5]},
		[]string{"the sums of squares of the projected gradient", "the norm before", "the clip coefficient", "hyper"},
		in[0], scalar, scalar, hypers)
}
