package gpu

import "fmt"

// sparseKernels add to some elements of a matrix, and read them. An element is given by its number, row-major in the columns that
// count, so that padding does not change it. Numbers are distinct and ascending.
var sparseKernels = []Kernel{
	{
		Name: "scatter_add",
		Formula: "y = x, and v[k] added to y[at[k] / cols, at[k] % cols]; cols is the columns of x if it is 0; at is distinct and " +
			"ascending (inputs x, at, v)",
		Attrs:   []string{"Cols"},
		InPlace: [][2]int{{0, 0}},
		FLOPs:   func(_ Attrs, in, _ []Type) int64 { return int64(in[1].Shape.Elems()) },
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 3, 3); err != nil {
				return nil, err
			}
			if err := needPlaces(a, in[0], in[1]); err != nil {
				return nil, err
			}
			return in[:1:1], needType("what is added", in[2], Type{in[1].Shape, in[0].DType})
		},
	},
	{
		Name: "gather",
		Formula: "y[k] = acc[k] + x[at[k] / cols, at[k] % cols], of the type of acc; cols is the columns of x if it is 0; at is distinct " +
			"and ascending (inputs x, at, acc optional)",
		Attrs:   []string{"Cols"},
		InPlace: [][2]int{{0, 2}},
		FLOPs:   withAddend(2, none),
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 3); err != nil {
				return nil, err
			}
			if err := needPlaces(a, in[0], in[1]); err != nil {
				return nil, err
			}
			y := Type{in[1].Shape, in[0].DType}
			if len(in) == 3 {
				if y.DType = in[2].DType; !y.DType.IsFloat() {
					return nil, fmt.Errorf("the accumulator is %v, not floating point", in[2])
				}
				return []Type{y}, needType("the accumulator", in[2], y)
			}
			return []Type{y}, nil
		},
	},
}

func init() { register(sparseKernels...) }

// needPlaces checks the numbers of some elements of a matrix.
func needPlaces(a Attrs, x, at Type) error {
	if !x.DType.IsFloat() || len(x.Shape) != 2 || at.DType != I32 || len(at.Shape) != 1 || at.Shape.Elems() > x.Shape.Elems() {
		return fmt.Errorf("takes a matrix and i32 numbers of some of its elements, not %v and %v", x, at)
	}
	return needCounted(a, x.Shape.Cols())
}
