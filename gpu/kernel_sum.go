package gpu

// sumKernels add up elements in an order that shapes alone decide; see SumBlock and RowBlock.
var sumKernels = []Kernel{
	{
		Name:    "sum_rows",
		Formula: "y[c] = sum_r x[r,c]",
		FLOPs:   elementwise(1),
		Scratch: rowPartials(0),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 1); err != nil {
				return nil, err
			}
			return []Type{{Shape{in[0].Shape.Cols()}, in[0].DType}}, needFloat(in...)
		},
	},
	{
		Name:    "sum",
		Formula: "y[0] = sum x",
		FLOPs:   elementwise(1),
		Scratch: partialSums,
		Infer:   toScalar,
	},
	{
		Name:    "sum_squares",
		Formula: "y[0] = sum x²",
		FLOPs:   elementwise(2),
		Scratch: partialSums,
		Infer:   toScalar,
	},
	{
		Name:    "normalize",
		Formula: "y = x / max(sqrt(s), eps) (inputs x, s: a sum of squares)",
		Attrs:   []string{"Eps"},
		InPlace: [][2]int{{0, 0}},
		FLOPs:   elementwise(1),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 2); err != nil {
				return nil, err
			}
			if err := needFloat(in...); err != nil {
				return nil, err
			}
			return in[:1:1], needType("the sum of squares", in[1], Type{Shape{1}, F32})
		},
	},
}

func init() { register(sumKernels...) }

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

// rowPartials is the scratch of a sum over the rows of input i: one fp32 row a block of RowBlock rows.
func rowPartials(i int) func(Attrs, []Type, []Type) int64 {
	return func(_ Attrs, in, _ []Type) int64 {
		return 4 * blocks(in[i].Shape.Rows(), RowBlock) * int64(in[i].Shape.Cols())
	}
}
