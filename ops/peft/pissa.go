package peft

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack"
	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"

	"stepflow/ops"
)

// First values of adapters, as PEFT's init_lora_weights names them.
const (
	InitDefault = "true"  // A at random, B zero
	InitPiSSA   = "pissa" // the principal singular vectors of the weight, which keeps the rest (Meng et al. 2024, arXiv 2404.02948)
	// initPiSSANiter begins the name of the same by a randomised search; the number of its iterations follows.
	initPiSSANiter = "pissa_niter_"
)

// maxIterations bounds the iterations of a search: more change nothing.
const maxIterations = 64

// CheckInit returns why adapters cannot begin with what init_lora_weights says; nil if they can.
func CheckInit(s string) error {
	if _, err := iterations(s); s != InitDefault && err != nil {
		return fmt.Errorf("init_lora_weights is %q: it is true, for a random A and a B of zeros, %q, or %q with N from 0 to %d iterations",
			s, InitPiSSA, initPiSSANiter+"N", maxIterations)
	}
	return nil
}

// iterations of a randomised search for singular vectors; -1 for all of them, exactly.
func iterations(s string) (int, error) {
	if s == InitPiSSA {
		return -1, nil
	}
	digits, ok := strings.CutPrefix(s, initPiSSANiter)
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 || n > maxIterations || strconv.Itoa(n) != digits {
		return 0, fmt.Errorf("%q names no search for singular vectors", s)
	}
	return n, nil
}

// Principal reports whether adapters begin with singular vectors of their weights.
func (s Spec) Principal() bool { return s.Init != "" && s.Init != InitDefault }

// Exact reports whether all singular vectors are computed.
func (s Spec) Exact() bool { return s.Init == InitPiSSA }

// Singular returns the matrices A and B of which scale B A is the best approximation of w of their rank. With its singular
// values S in U S Vᵀ, A is √(S / scale) Vᵀ and B is U √(S / scale). The largest element of each column of U is positive,
// which makes them unique. A row of A that would be zero, as would the column of B, begins as Init makes it: both would
// have no gradient. The values of w are finite, and nobody changes them meanwhile.
//
// It returns when ctx ends. What computes goes on unseen until it has ended, since LAPACK cannot be stopped.
func (s Spec) Singular(ctx context.Context, a Adapter, w []float32, seed uint64) (down, up []float32, err error) {
	done := make(chan bool)
	var d, u []float32
	var e error
	go func() {
		defer close(done)
		d, u, e = s.singular(a, w, seed)
	}()
	select {
	case <-done:
		return d, u, e
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

func (s Spec) singular(a Adapter, w []float32, seed uint64) (down, up []float32, err error) {
	n, err := iterations(s.Init)
	if err != nil {
		return nil, nil, err
	}
	out, in, r := a.Target.Shape[0], a.Target.Shape[1], s.R
	wide := mat.NewDense(out, in, nil)
	for i, x := range w {
		wide.RawMatrix().Data[i] = float64(x)
	}
	left := wide
	var q *mat.Dense
	if n >= 0 {
		q = rangeOf(wide, min(r+oversampling, out, in), n, ops.Rand(seed, a.A.ID+" singular vectors"))
		left = new(mat.Dense)
		left.Mul(q.T(), wide)
	}
	u, vt, values, ok := decompose(left)
	if !ok {
		return nil, nil, fmt.Errorf("the search for the singular values of %s did not end", a.Target.Name)
	}
	if q != nil {
		small := u
		u = new(mat.Dense)
		u.Mul(q, small)
	}
	down, up = Init(a.A, seed, 0), make([]float32, out*r)
	for k := range r {
		if values[k] <= values[0]*1e-7 { // zero, but for what fp32 rounds
			continue
		}
		most := 0.0
		for i := range out {
			if x := u.At(i, k); math.Abs(x) > math.Abs(most) {
				most = x
			}
		}
		root := math.Copysign(math.Sqrt(values[k]/s.Scale()), most)
		for i := range out {
			up[i*r+k] = float32(root * u.At(i, k))
		}
		for i := range in {
			down[k*in+i] = float32(root * vt.At(k, i))
		}
	}
	return down, up, nil
}

// decompose computes x = u diag(values) vt, with as many singular values as x has rows or columns, and destroys x.
func decompose(x *mat.Dense) (u, vt *mat.Dense, values []float64, ok bool) {
	rows, cols := x.Dims()
	n := min(rows, cols)
	u, vt, values = mat.NewDense(rows, n, nil), mat.NewDense(n, cols, nil), make([]float64, n)
	work := make([]float64, workspace(rows, cols))
	ok = lapack64.Gesvd(lapack.SVDStore, lapack.SVDStore, x.RawMatrix(), u.RawMatrix(), vt.RawMatrix(), values, work, len(work))
	return u, vt, values, ok
}

// workspace is how many numbers decompose needs beside its matrices.
func workspace(rows, cols int) int {
	n, size := min(rows, cols), []float64{0}
	first := make([]float64, 2*(rows+cols)) // where it is asked for the size alone, it looks no further into a matrix
	of := func(rows, cols int) blas64.General {
		return blas64.General{Rows: rows, Cols: cols, Stride: cols, Data: first}
	}
	lapack64.Gesvd(lapack.SVDStore, lapack.SVDStore, of(rows, cols), of(rows, n), of(n, cols), nil, size, -1)
	return int(size[0])
}

// SingularBytes returns what Singular takes beside a weight [out, in], in bytes: the weight and the factors in float64, what
// LAPACK works in, and the result.
func (s Spec) SingularBytes(out, in int) int64 {
	n, err := iterations(s.Init)
	if err != nil {
		return 0
	}
	const double, single = 8, 4
	rows, basis := out, 0
	if n >= 0 { // the basis, and the vectors before they are in terms of it
		rows = min(s.R+oversampling, out, in)
		basis = 2*out*rows + rows*in
	}
	factors := (rows + in) * min(rows, in)
	return double*int64(out*in+basis+factors+workspace(rows, in)) + single*int64(s.R*(out+in))
}

// oversampling is how many directions more than those wanted a search keeps.
const oversampling = 8

// rangeOf finds an orthonormal basis of q columns of nearly all that w maps to, by power iterations on random vectors (Halko
// et al. 2011, arXiv 0909.4061, algorithm 4.4).
func rangeOf(w *mat.Dense, q, iterations int, r *rand.Rand) *mat.Dense {
	out, in := w.Dims()
	first := mat.NewDense(in, q, nil)
	for i := range first.RawMatrix().Data {
		first.RawMatrix().Data[i] = r.NormFloat64()
	}
	y, z := mat.NewDense(out, q, nil), mat.NewDense(in, q, nil)
	y.Mul(w, first)
	orthonormal(y.RawMatrix())
	for range iterations {
		z.Mul(w.T(), y)
		orthonormal(z.RawMatrix())
		y.Mul(w, z)
		orthonormal(y.RawMatrix())
	}
	return y
}

// orthonormal makes the columns of x, of which there are no more than rows, orthonormal.
func orthonormal(x blas64.General) {
	tau, size := make([]float64, x.Cols), []float64{0}
	lapack64.Geqrf(x, tau, size, -1)
	work := make([]float64, int(size[0]))
	lapack64.Geqrf(x, tau, work, len(work))
	lapack64.Orgqr(x, tau, size, -1)
	work = make([]float64, int(size[0]))
	lapack64.Orgqr(x, tau, work, len(work))
}

// Apart returns adapters that add to the weights as they were before their principal singular vectors were taken out what
// these add to the rest, and their configuration: of twice the rank, A over A₀ and B beside -B₀, as PEFT converts them.
func (s Spec) Apart(as []Adapter) (Spec, []Adapter) {
	if !s.Principal() {
		return s, as
	}
	scale := s.Scale()
	s.Init, s.R = InitDefault, 2*s.R
	s.Alpha *= scale / s.Scale()
	list := make([]Adapter, len(as))
	for i, a := range as {
		a.A.Shape, a.B.Shape = Shapes(a.Target.Shape, s.R)
		list[i] = a
	}
	return s, list
}

// Beside returns the matrices of such an adapter.
func Beside(down, up, firstDown, firstUp []float32, r int) (a, b []float32) {
	a = append(append(a, down...), firstDown...)
	for o := range len(up) / r {
		b = append(b, up[o*r:][:r]...)
		for _, x := range firstUp[o*r:][:r] {
			b = append(b, -x)
		}
	}
	return a, b
}
