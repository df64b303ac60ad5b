package optim

import (
	"stepflow/gpu"
	"stepflow/ops/graph"
)

// The randomised search for singular vectors (Halko et al. 2011, arXiv 0909.4061, algorithms 4.4 and 5.1).
const (
	oversampling    = 8 // vectors that are sought beyond those that are kept
	powerIterations = 2
	rotations       = 2
	// leastSingular is what is added to the singular values, relative to the Frobenius norm of the matrix: so the vectors are
	// independent, whatever its rank, and at random for a gradient of zero, such as a new layer's that begins as the identity.
	leastSingular = 1e-5
)

// singularVectors gives the first rank singular vectors of the shorter side of a matrix, as rows [rank, short] in fp32,
// those of larger singular values first. tensor is its shape without padding, seed a value [1].
//
// It is a power iteration on random vectors, whose span comes to hold those that are sought, and then the turn of the basis
// that makes them singular vectors: eigenvectors of the Gram matrix of the gradient in it. The Gram matrix has the squares
// of singular values, so that small ones drown in the rounding of large ones. In the basis that the first turn gives its
// rows are of their own sizes, and a second turn, by Jacobi rotations, which are relative to these, sets the small ones right.
func singularVectors(g *graph.Graph, grad graph.Value, tensor gpu.Shape, x subspace, seed graph.Value) graph.Value {
	short, long := x.axes()
	n, wide := min(x.rank+oversampling, tensor[short]), grad.Shape()[short]
	a := to(g, grad, gpu.F32)
	a = g.Op1("normalize", gpu.Attrs{Eps: 1e-30}, a, g.Op1("sum_squares", gpu.Attrs{}, a))
	// Rows of the short side to rows of the long one, and back.
	there := func(q graph.Value) graph.Value { return g.Matmul(q, a, false, long == 0) }
	back := func(z, q graph.Value) graph.Value {
		return g.Op1("matmul", gpu.Attrs{Alpha: 1, TransB: long == 1}, z, a, g.Op1("scale", gpu.Attrs{Alpha: leastSingular}, q))
	}
	q := orthonormal(g, g.Op1("random_matrix", gpu.Attrs{Rows: n, Cols: wide, Lo: tensor[short], Alpha: 1, DType: gpu.F32}, seed))
	for range powerIterations {
		q = orthonormal(g, back(orthonormal(g, there(q)), q))
	}
	for range rotations {
		z := there(q)
		q = g.Matmul(g.Op1("eigh", gpu.Attrs{}, g.Matmul(z, z, false, true)), q, false, false)
	}
	return g.View(q, 0, gpu.Shape{x.rank, wide})
}

// Newton-Schulz iterations X = a X + (b A + c A²) X, A = X Xᵀ. The first raises small singular values 3.4 times a step, up to
// within 0.3 of 1; the second, of order 3, ends at 1 from there (Higham 2008, Functions of Matrices, equation 8.20).
var newtonSchulz = []struct {
	coefficients [3]float64
	steps        int
}{{NSCoefficients, 10}, {[3]float64{15. / 8, -10. / 8, 3. / 8}, 4}}

// orthonormal gives rows that are orthonormal and span what those of x do, as far as its singular values are above about
// 1e-5 of its norm: its polar factor. Products alone make it, and none of them loses what a Gram matrix does: an error in A
// is a relative one of small singular values, which the steps after mend. The Cholesky factor of X Xᵀ fails from 1e-4 on.
func orthonormal(g *graph.Graph, x graph.Value) graph.Value {
	x = g.Op1("normalize", gpu.Attrs{Eps: 1e-30}, x, g.Op1("sum_squares", gpu.Attrs{}, x))
	for _, run := range newtonSchulz {
		a, b, c := run.coefficients[0], run.coefficients[1], run.coefficients[2]
		for range run.steps {
			gram := g.Matmul(x, x, false, true)
			p := g.Op1("matmul", gpu.Attrs{Alpha: c}, gram, gram, g.Op1("scale", gpu.Attrs{Alpha: b}, gram))
			x = g.Op1("matmul", gpu.Attrs{Alpha: 1}, p, x, g.Op1("scale", gpu.Attrs{Alpha: a}, x))
		}
	}
	return x
}
