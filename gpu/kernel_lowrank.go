package gpu

import (
	"fmt"
	"math/bits"
)

// lowRankKernels are what optimizers in a subspace of the gradient are made of, beside products.
var lowRankKernels = []Kernel{
	{
		Name: "adam",
		Formula: "g' = coef g; m = β1 m + (1-β1) g'; v = β2 v + (1-β2) g'²; y = bias m / (sqrt(v) + eps); m and v are kept, and " +
			"y = 0, when coef is not finite; Kingma & Ba 2015, alg. 1, with both bias corrections in one factor " +
			"(inputs g, m, v, coef, hyper = [lr, bias, …])",
		Attrs:   []string{"Beta1", "Beta2", "Eps"},
		InPlace: [][2]int{{0, 0}, {1, 1}, {2, 2}},
		FLOPs:   elementwise(11),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 5, 5); err != nil {
				return nil, err
			}
			if in[0].DType != F32 {
				return nil, fmt.Errorf("the gradient is %v, not f32", in[0])
			}
			return in[:3:3], needTypes(in[1:], []string{"the first moment", "the second moment", "the clip coefficient", "hyper"},
				in[0], in[0], scalar, hypers)
		},
	},
	{
		Name: "random_matrix",
		Formula: "y[r,c] = alpha (popcount(splitmix64(2^40 seed + 2^20 r + c)) - 32) / 4, [rows, cols]; the columns from lo on are " +
			"0 unless lo is 0: independent draws with the mean 0 and the variance alpha², the same on every device " +
			"(input seed: a whole number below 2^24)",
		Attrs: []string{"Rows", "Cols", "Lo", "Alpha", "DType"},
		FLOPs: none,
		Infer: func(a Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 1); err != nil {
				return nil, err
			}
			y := Type{Shape{a.Rows, a.Cols}, a.DType}
			if a.Rows < 1 || a.Cols < 1 || a.Rows > 1<<20 || a.Cols > 1<<20 || a.Lo < 0 || a.Lo > a.Cols {
				return nil, fmt.Errorf("draws %d rows of %d columns, of which %d count; neither may be more than 2^20", a.Rows, a.Cols, a.Lo)
			}
			if err := needFloat(y); err != nil {
				return nil, err
			}
			return []Type{y}, needType("the seed", in[0], scalar)
		},
	},
	{
		Name: "align_rows",
		Formula: "y[r,:] = x[r,:], or -x[r,:] where sum_c x[r,c] p[r,c] < 0, of the type of p; y = p when coef is not finite " +
			"(inputs x, p, coef)",
		InPlace: [][2]int{{0, 1}},
		FLOPs:   elementwise(2),
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 3, 3); err != nil {
				return nil, err
			}
			if in[0].DType != F32 || !in[1].DType.IsFloat() || !in[1].Shape.Equal(in[0].Shape) {
				return nil, fmt.Errorf("aligns %v with %v", in[0], in[1])
			}
			return in[1:2:2], needType("the clip coefficient", in[2], scalar)
		},
	},
	{
		Name: "eigh",
		Formula: "v, the eigenvectors of (x + xᵀ)/2, of which each is a row; those of larger eigenvalues come first; the largest " +
			"element of each is positive; one-sided Jacobi, Hestenes 1958 (input x [n, n])",
		// Two rotations of two rows and three products of them, for n (n-1) / 2 pairs, in about 8 sweeps.
		FLOPs: func(_ Attrs, in, _ []Type) int64 {
			n := int64(in[0].Shape.Cols())
			return Product(8*9, n, n, n)
		},
		Scratch: func(_ Attrs, in, _ []Type) int64 {
			n := int64(in[0].Shape.Cols())
			return Product(4, n, 2*n+2)
		},
		Infer: func(_ Attrs, in []Type) ([]Type, error) {
			if err := arity(in, 1, 1); err != nil {
				return nil, err
			}
			if n := in[0].Shape.Cols(); in[0].DType != F32 || in[0].Shape.Rows() != n {
				return nil, fmt.Errorf("%v is not a square matrix in f32", in[0])
			}
			return in[:1:1], nil
		},
	},
}

func init() { register(lowRankKernels...) }

// Eigh's sweeps end when no two rows have a cosine above EighTolerance, and after EighSweeps at the latest.
const (
	EighTolerance = 1e-6
	EighSweeps    = 24
)

// RandomElement is element [row, col] of random_matrix with alpha 1.
func RandomElement(seed uint32, row, col int) float32 {
	return float32(bits.OnesCount64(splitmix64(uint64(seed)<<40+uint64(row)<<20+uint64(col)))-32) / 4
}
