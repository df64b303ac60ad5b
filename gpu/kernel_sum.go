package gpu

import "fmt"

// sumKernels add up elements in an order that shapes alone decide; see SumBlock and RowBlock.
var sumKernels = []Kernel{
	{
		Name:    "sum_rows",
		Formula: "y[c] = acc[c] + sum_r x[r,c], of the type of acc (inputs x, acc optional)",
		InPlace: [][2]int{{0, 1}},
		FLOPs:   withAddend(1, elementwise(1)),
		Scratch: rowPartials(0),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 2); err != nil {
				return nil, err
			}
			return rowSums(in, 1)
		},
	},
	{
		Name:    "sum",
		Formula: "y[0] = sum x",
		FLOPs:   elementwise(1),
		Scratch: partialSums,
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 1); err != nil {
				return nil, err
			}
			return []Type{scalar}, needFloat(in...)
		},
	},
	{
		Name:    "sum_squares",
		Formula: "y[i] = sum x_i² (inputs x_0, x_1, …, of any floating-point types)",
		FLOPs: func(_ Attrs, in, _ []Type) (n int64) {
			for _, t := range in {
				n = Sum(n, Product(2, int64(t.Shape.Elems())))
			}
			return n
		},
		Scratch: partialSums,
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if len(in) == 0 {
				return nil, fmt.Errorf("takes at least one input")
			}
			return []Type{{Shape{len(in)}, F32}}, needFloat(in...)
		},
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

// partialSums is the scratch of sums over all elements: an fp32 number for each block of SumBlock elements of each
// input, in order.
func partialSums(_ Attrs, in, _ []Type) (n int64) {
	for _, t := range in {
		n = Sum(n, 4*blocks(t.Shape.Elems(), SumBlock))
	}
	return n
}

// rowSums infers the sum over the rows of input 0, of its type, or of that of an accumulator, which is input acc.
func rowSums(in []Type, acc int) ([]Type, error) {
	y := Type{Shape{in[0].Shape.Cols()}, in[0].DType}
	if err := needFloat(in...); err != nil {
		return nil, err
	}
	if len(in) > acc {
		y.DType = in[acc].DType
		return []Type{y}, needType("the accumulator", in[acc], y)
	}
	return []Type{y}, nil
}

// rowPartials is the scratch of a sum over the rows of input i: one fp32 row a block of RowBlock rows.
func rowPartials(i int) func(Attrs, []Type, []Type) int64 {
	return func(_ Attrs, in, _ []Type) int64 {
		return 4 * blocks(in[i].Shape.Rows(), RowBlock) * int64(in[i].Shape.Cols())
	}
}
