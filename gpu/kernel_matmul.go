package gpu

import "fmt"

// MatmulDims reads m, n and k of a product; operands of more than two dimensions are matrices
// of all leading extents by the last. A quantised y may have fewer rows and columns than the product's k and n, which is
// then a.Cols: it has no padding, and counts as if it had zeros there.
func MatmulDims(a Attrs, x, y Type) (m, n, k int, err error) {
	m, k = x.Shape.Rows(), x.Shape.Cols()
	if a.TransA {
		m, k = k, m
	}
	k2, n := y.Shape.Rows(), y.Shape.Cols()
	if a.TransB {
		k2, n = n, k2
	}
	if m < 1 || n < 1 || k < 1 {
		return 0, 0, 0, fmt.Errorf("an extent of %v or %v is zero", x, y)
	}
	if y.DType.Stored() {
		k2, n = max(k2, k), max(n, a.Cols)
	} else if a.Cols != 0 {
		return 0, 0, 0, fmt.Errorf("takes the columns of %v as they are, not %d", y, a.Cols)
	}
	if k != k2 {
		return 0, 0, 0, fmt.Errorf("inner extents %d and %d of %v and %v differ (transposed: %t, %t)",
			k, k2, x, y, a.TransA, a.TransB)
	}
	return m, n, k, nil
}

// matmulType infers a product's result from operands a, b and, where there is one, an addend.
func matmulType(a Attrs, in []Type) (Type, error) {
	if in[0].DType != in[1].DType && !in[1].DType.NarrowerThan(in[0].DType) {
		return Type{}, fmt.Errorf("operands %v and %v differ in element type", in[0], in[1])
	}
	m, n, _, err := MatmulDims(a, in[0], in[1])
	if err != nil {
		return Type{}, err
	}
	if len(in) == 3 {
		if in[2].Shape.Rows() != m || in[2].Shape.Cols() != n {
			return Type{}, fmt.Errorf("the addend %v is not [%d,%d]", in[2], m, n)
		}
		return in[2], nil
	}
	out := Type{Shape{m, n}, in[0].DType}
	if !a.TransA {
		out.Shape = in[0].Shape.withCols(n)
	}
	return out, nil
}

// matmulKernels multiply matrices.
var matmulKernels = []Kernel{
	{
		Name:  "matmul",
		Attrs: []string{"TransA", "TransB", "Alpha", "Cols"},
		Formula: "y = alpha op(a) op(b) + c, op transposing where told, " +
			"c optional and of any type, which is then that of y; sums in fp32; b may be bf16 where a is f32, or quantised: " +
			"its values are then rounded to the type of a, and zeros surround it up to a's extent and to Cols columns",
		Strided:  Strided{In: 3, Out: 1},
		Products: true,
		InPlace:  [][2]int{{0, 2}},
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 2, 3); err != nil {
				return nil, err
			}
			if err := needProduct(in); err != nil {
				return nil, err
			}
			out, err := matmulType(a, in)
			return []Type{out}, err
		},
		FLOPs: matmulFLOPs,
	},
	{
		Name:  "matmul_swiglu",
		Attrs: []string{"TransA", "TransB", "Alpha", "Cols"},
		Formula: "u = alpha op(a) op(b) + c, y = g sigmoid(g) u (inputs a, b, g, c; c optional; outputs u, y); " +
			"u is rounded to its type first",
		Products: true,
		InPlace:  [][2]int{{0, 3}, {1, 2}},
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 3, 4); err != nil {
				return nil, err
			}
			if err := needProduct(in); err != nil {
				return nil, err
			}
			u, err := matmulType(a, append(in[:2:2], in[3:]...))
			if err != nil {
				return nil, err
			}
			return []Type{u, in[2]}, needSame("the gate and the product", in[2], u)
		},
		FLOPs: func(a Attrs, in, out []Type) int64 {
			return Sum(matmulFLOPs(a, in, out), Product(5, int64(in[2].Shape.Elems())))
		},
	},
}

// needProduct checks the element types of a product's operands: the second may be quantised.
func needProduct(in []Type) error {
	if in[1].DType.Stored() {
		in = append(in[:1:1], in[2:]...)
	}
	return needFloat(in...)
}

func init() { register(matmulKernels...) }

func matmulFLOPs(a Attrs, in, _ []Type) int64 {
	m, n, k, _ := MatmulDims(a, in[0], in[1])
	return Product(2, int64(m), int64(n), int64(k))
}
