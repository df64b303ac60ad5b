package peft

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// sltrain is the method that composes a weight from a low-rank product and from values at some of its elements,
// W = scale B A + S (Han et al. 2024, arXiv 2406.02214, eq. 2). The places of these elements are drawn once, and never change.
const sltrain = "sltrain"

// searched is the search for the low-rank part of a weight that has values already, unless Init names another.
const searched = initPiSSANiter + "4"

// Composes reports whether adapters take the place of weights that are trained, instead of being added to frozen ones.
func (s Spec) Composes() bool { return s.Method == sltrain }

// fitsPlaces returns why projections are too small, or too large, to have values at some places; nil if they are not.
func (s Spec) fitsPlaces(targets []ops.Param) error {
	elems := func(p ops.Param) int64 { return gpu.Product(int64(p.Shape[0]), int64(p.Shape[1])) }
	bySize := func(a, b ops.Param) int { return cmp.Compare(elems(a), elems(b)) }
	if p := slices.MaxFunc(targets, bySize); elems(p) > math.MaxInt32 {
		return fmt.Errorf("%s has %d elements, and sltrain numbers them in 32 bits, up to %d", Module(p), elems(p), math.MaxInt32)
	}
	if p := slices.MinFunc(targets, bySize); s.values(elems(p)) < 1 {
		return fmt.Errorf("a sparsity of %g is less than one element of %s, which is %d x %d: choose at least %g", s.Sparsity, Module(p),
			p.Shape[0], p.Shape[1], leastSparsity(elems(p)))
	}
	return nil
}

// values returns how many values a weight of so many elements has.
func (s Spec) values(elems int64) int { return int(s.Sparsity * float64(elems)) }

// leastSparsity returns the smallest sparsity with which a weight of so many elements has a value, rounded up to two digits.
func leastSparsity(elems int64) float64 {
	unit := math.Pow(10, math.Floor(math.Log10(1/float64(elems)))-1)
	x, _ := strconv.ParseFloat(fmt.Sprintf("%.2g", math.Ceil(1/float64(elems)/unit)*unit), 64)
	return min(x, 1)
}

// compose adds the values at some places to the adapter of a weight.
func (s Spec) compose(a *Adapter) {
	n := s.values(a.Target.Elems())
	a.Values = ops.Param{ID: trim(a.Target.ID) + ".sparse_value", Name: Module(a.Target) + ".sparse_value", Shape: gpu.Shape{n},
		Layer: a.Target.Layer, Kind: ops.KindSparse}
}

// Places is the name of the tensor that holds the numbers of the elements that a.Values is added to.
func (a Adapter) Places() string { return Module(a.Target) + ".sparse_index" }

// PlacesType is the type of that tensor.
func (a Adapter) PlacesType() gpu.Type { return gpu.Type{Shape: a.Values.Shape, DType: gpu.I32} }

// composed makes the weight that an adapter takes the place of. Each product that reads the weight makes it again, and none keeps it.
func (s Spec) composed(g *graph.Graph, a Adapter, weight func(name string) graph.Value) graph.Value {
	return g.Remade(func() graph.Value {
		product := g.Op1("matmul", gpu.Attrs{Alpha: s.Scale()}, weight(a.B.Name), weight(a.A.Name))
		return g.Op1("scatter_add", gpu.Attrs{Cols: a.Target.Shape[1]}, product, weight(a.Places()), weight(a.Values.Name))
	})
}

// Draw draws the places of an adapter, in ascending order. Every set of that many elements is equally likely, as if a random
// permutation of all elements were cut off, but without the memory for one (Knuth, The Art of Computer Programming, vol. 2, 3.4.2,
// algorithm S).
func Draw(a Adapter, seed uint64) []int32 {
	r := ops.Rand(seed, a.Values.ID+" places")
	left, list := a.Values.Shape[0], make([]int32, 0, a.Values.Shape[0])
	for i, n := 0, a.Target.Shape.Elems(); left > 0; i++ {
		if int(r.Uint32N(uint32(n-i))) < left {
			list, left = append(list, int32(i)), left-1
		}
	}
	return list
}

// CheckPlaces returns why numbers cannot be the places of an adapter; nil if they can.
func CheckPlaces(a Adapter, list []int32) error {
	if len(list) != a.Values.Shape[0] {
		return fmt.Errorf("%s has %d numbers, and %s has %d elements", a.Places(), len(list), a.Values.Name, a.Values.Shape[0])
	}
	all := a.Target.Shape.Elems()
	for k, n := range list {
		if n < 0 || int(n) >= all {
			return fmt.Errorf("%s[%d] is %d, and %s %v has elements 0 to %d", a.Places(), k, n, a.Target.Name, a.Target.Shape, all-1)
		}
		if k > 0 && n <= list[k-1] {
			return fmt.Errorf("%s[%d] is %d, and [%d] before it is %d: each must be larger than the one before", a.Places(), k, n, k-1,
				list[k-1])
		}
	}
	return nil
}

// First is what a composed weight begins with.
type First struct {
	Down, Up, Values []float32
	All, Lost        float64 // squares of Frobenius norms: of the weight that was there, and of what its parts leave of it
}

// Begin returns the first values of an adapter that has no weight to begin with: A and B as in LoRA, and values uniform in
// ±1/sqrt(in).
func Begin(a Adapter, seed uint64) First {
	f := First{Down: Init(a.A, seed, 0), Up: Init(a.B, seed, 0), Values: make([]float32, a.Values.Shape[0])}
	r, bound := ops.Rand(seed, a.Values.ID), 1/math.Sqrt(float64(a.Target.Shape[1]))
	for i := range f.Values {
		f.Values[i] = float32((2*r.Float64() - 1) * bound)
	}
	return f
}

// turns is how often Decompose goes over the two parts of a weight again. Of weights that were sums of such parts, the first parts
// left 0.26 to 0.47 of the norm, and the parts after these turns 0.004 to 0.12.
const turns = 4

// Decompose returns the first values of an adapter that takes the place of a weight w: a product of its rank, and values at the
// places, whose sum is close to w. The product and the values are found in turn, each as the best approximation of what the other
// leaves of w (Zhou and Tao 2011, GoDec, here with given places). round rounds values as the device stores them.
func (s Spec) Decompose(ctx context.Context, a Adapter, w []float32, places []int32, seed uint64, round func([]float32) []float32) (f First,
	err error) {
	f.Values = make([]float32, len(places))
	rest := make([]float32, len(w))
	for range 1 + turns {
		copy(rest, w)
		for k, n := range places {
			rest[n] -= f.Values[k]
		}
		if f.Down, f.Up, err = s.searching().Singular(ctx, a, rest, seed); err != nil {
			return f, err
		}
		f.Down, f.Up = round(f.Down), round(f.Up)
		copy(rest, w)
		AddProduct(rest, f.Up, f.Down, -s.Scale(), s.R, a.Target.Shape[1])
		if err := (gpu.Type{Shape: a.Target.Shape, DType: gpu.F32}).Finite(rest); err != nil { // products of large singular vectors
			return f, fmt.Errorf("%s is too large to be taken apart: of what its best product leaves, %w", a.Target.Name, err)
		}
		for k, n := range places {
			f.Values[k], rest[n] = rest[n], 0
		}
	}
	for i, x := range rest {
		f.All += float64(w[i]) * float64(w[i])
		f.Lost += float64(x) * float64(x)
	}
	return f, nil
}

// searching returns s with a search for singular vectors.
func (s Spec) searching() Spec {
	if !s.Principal() {
		s.Init = searched
	}
	return s
}

// DecomposeBytes returns the bytes that Decompose takes beside the weight and what it returns.
func (s Spec) DecomposeBytes(a Adapter) int64 {
	const single = 4 // of an element of what one part leaves
	return single*a.Target.Elems() + s.searching().SingularBytes(a.Target.Shape[0], a.Target.Shape[1])
}

// Compose returns the weight that an adapter takes the place of, in fp32.
func (s Spec) Compose(a Adapter, down, up, values []float32, places []int32) []float32 {
	w := make([]float32, a.Target.Shape.Elems())
	AddProduct(w, up, down, s.Scale(), a.A.Shape[0], a.Target.Shape[1])
	for k, n := range places {
		w[n] += values[k]
	}
	return w
}
