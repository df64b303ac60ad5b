package gpu

import "fmt"

func sameAs0(n int) func(Attrs, []Type) ([]Type, error) {
	return func(_ Attrs, in []Type) ([]Type, error) {
		if err := arity(in, n, n); err != nil {
			return nil, err
		}
		if err := needFloat(in...); err != nil {
			return nil, err
		}
		for i := 1; i < n; i++ {
			if err := needSame("operands", in[0], in[i]); err != nil {
				return nil, err
			}
		}
		return []Type{in[0]}, nil
	}
}

func toScalar(_ Attrs, in []Type) ([]Type, error) {
	if err := arity(in, 1, 1); err != nil {
		return nil, err
	}
	if err := needFloat(in...); err != nil {
		return nil, err
	}
	return []Type{{Shape{1}, F32}}, nil
}

func partialSums(_ Attrs, in, _ []Type) int64 { return 4 * blocks(in[0].Shape.Elems(), SumBlock) }

func init() {
	register(
		Kernel{Name: "zero", Formula: "y = 0, of the type of x", Infer: sameAs0(1), FLOPs: elementwise(0), InPlace: [][2]int{{0, 0}}},
		Kernel{Name: "copy", Formula: "y = x", Infer: sameAs0(1), FLOPs: elementwise(0)},
		Kernel{Name: "cast", Formula: "y = x rounded to nearest even in dtype", FLOPs: elementwise(0),
			Attrs: []string{"DType"},
			Infer: func(a Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 1, 1); err != nil {
					return nil, err
				}
				if !a.DType.IsFloat() || !in[0].DType.IsFloat() {
					return nil, fmt.Errorf("casts between floating-point types, not %v to %v", in[0].DType, a.DType)
				}
				return []Type{{in[0].Shape, a.DType}}, nil
			}},
		Kernel{Name: "cast_stochastic", Formula: "y = x rounded stochastically to bf16 by a seed, a whole number below 2^24 (inputs x, seed)", FLOPs: elementwise(0),
			Infer: func(_ Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 2, 2); err != nil {
					return nil, err
				}
				if in[0].DType != F32 {
					return nil, fmt.Errorf("rounds f32, not %v", in[0])
				}
				return []Type{{in[0].Shape, BF16}}, needType("the seed", in[1], Type{Shape{1}, F32})
			}},
		Kernel{Name: "add", Formula: "y = a + b", Infer: sameAs0(2), FLOPs: elementwise(1), InPlace: [][2]int{{0, 0}, {0, 1}}},
		Kernel{Name: "mul", Formula: "y = a b, element by element", Infer: sameAs0(2), FLOPs: elementwise(1), InPlace: [][2]int{{0, 0}, {0, 1}}},
		Kernel{Name: "scale", Formula: "y = alpha x", Attrs: []string{"Alpha"}, Infer: sameAs0(1), FLOPs: elementwise(1), InPlace: [][2]int{{0, 0}}},
		Kernel{Name: "bias_add", Formula: "y[r,c] = x[r,c] + b[c]", FLOPs: elementwise(1), InPlace: [][2]int{{0, 0}},
			Infer: func(_ Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 2, 2); err != nil {
					return nil, err
				}
				if err := needType("the bias", in[1], Type{Shape{in[0].Shape.Cols()}, in[0].DType}); err != nil {
					return nil, err
				}
				return []Type{in[0]}, nil
			}},
		Kernel{Name: "sum_rows", Formula: "y[c] = sum_r x[r,c]", FLOPs: elementwise(1),
			Infer: func(_ Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 1, 1); err != nil {
					return nil, err
				}
				return []Type{{Shape{in[0].Shape.Cols()}, in[0].DType}}, needFloat(in...)
			},
			Scratch: rowPartials(0)},
		Kernel{Name: "broadcast", Formula: "y = s[0], of the type of x (inputs s, x)", FLOPs: func(Attrs, []Type, []Type) int64 { return 0 },
			InPlace: [][2]int{{0, 1}},
			Infer: func(_ Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 2, 2); err != nil {
					return nil, err
				}
				if err := needType("the scalar", in[0], Type{Shape{1}, F32}); err != nil {
					return nil, err
				}
				return []Type{in[1]}, needFloat(in[1])
			}},
		Kernel{Name: "slice", Formula: "y[r,c] = x[r,lo+c] for c < cols", FLOPs: none,
			Attrs: []string{"Lo", "Cols"},
			Infer: func(a Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 1, 1); err != nil {
					return nil, err
				}
				if a.Lo < 0 || a.Cols < 1 || a.Cols > in[0].Shape.Cols()-a.Lo {
					return nil, fmt.Errorf("takes columns inside %v, not %d from %d on", in[0], a.Cols, a.Lo)
				}
				return []Type{{in[0].Shape.withCols(a.Cols), in[0].DType}}, needFloat(in...)
			}},
		Kernel{Name: "slice_grad", Formula: "dx[r,c] = acc[r,c] + dy[r,c-lo] for lo <= c < lo + columns of dy, else acc[r,c], of the type of acc (inputs dy, acc optional)",
			Attrs:   []string{"Lo", "Cols"},
			InPlace: [][2]int{{0, 1}}, FLOPs: elementwise(1),
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
			}},
		Kernel{Name: "sum", Formula: "y[0] = sum x", Infer: toScalar, FLOPs: elementwise(1), Scratch: partialSums},
		Kernel{Name: "sum_squares", Formula: "y[0] = sum x²", Infer: toScalar, FLOPs: elementwise(2), Scratch: partialSums},
		Kernel{Name: "normalize", Formula: "y = x / max(sqrt(s), eps) (inputs x, s: a sum of squares)",
			Attrs: []string{"Eps"},
			FLOPs: elementwise(1), InPlace: [][2]int{{0, 0}},
			Infer: func(_ Attrs, in []Type) ([]Type, error) {
				if err := arity(in, 2, 2); err != nil {
					return nil, err
				}
				if err := needFloat(in...); err != nil {
					return nil, err
				}
				return in[:1:1], needType("the sum of squares", in[1], Type{Shape{1}, F32})
			}},
		Kernel{Name: "swiglu", Formula: "y = g sigmoid(g) u (inputs g, u); Shazeer 2020, arXiv 2002.05202", Infer: sameAs0(2), FLOPs: elementwise(5), InPlace: [][2]int{{0, 0}, {0, 1}}},
		Kernel{Name: "swiglu_grad", Formula: "with s = sigmoid(g): dg = dy u s (1 + g (1-s)), du = dy g s (inputs dy, g, u)", FLOPs: elementwise(10),
			InPlace: [][2]int{{0, 1}, {1, 2}},
			Infer: func(a Attrs, in []Type) ([]Type, error) {
				out, err := sameAs0(3)(a, in)
				if err != nil {
					return nil, err
				}
				return []Type{out[0], out[0]}, nil
			}},
	)
}

// rowPartials is the scratch of a sum over the rows of input i: one fp32 row a block of RowBlock rows.
func rowPartials(i int) func(Attrs, []Type, []Type) int64 {
	return func(_ Attrs, in, _ []Type) int64 {
		return 4 * blocks(in[i].Shape.Rows(), RowBlock) * int64(in[i].Shape.Cols())
	}
}
