// Package peft adds low-rank adapters to frozen projections: LoRA (Hu et al. 2021) and ReLoRA
// (Lialin et al. 2023), with the names of Hugging Face's PEFT. The adapters of SLTrain (Han et al. 2024) take the place of
// projections that are trained.
package peft

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"slices"
	"sort"
	"strings"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// Spec is an adapter's configuration.
type Spec struct {
	Method        string // "lora", "relora" or "sltrain"
	R             int
	Alpha         float64
	UseRSLora     bool     // scale alpha/sqrt(r) instead of alpha/r (Kalajdzievski 2023)
	Init          string   // what adapters begin with: "" or InitDefault, InitPiSSA, …
	LRRatio       float64  // the learning rate of B by that of A (Hayou et al. 2024, LoRA+); 0 stands for 1
	TargetModules []string // names such as q_proj, patterns such as *.mlp.*, or "all-linear"
	ResetEvery    int      // relora: optimizer steps between merge and restart
	RestartWarmup int      // relora: steps over which the learning rate comes back after a restart
	MergeRounding string   // of bf16 weights: RoundStochastic or RoundRemainder
	Sparsity      float64  // sltrain: the share of a weight's elements that have a value beside the product

	// Relora: the share of each moment of the optimizer that a restart makes zero, the smallest magnitudes or elements at
	// random. If both are 0, all of the moments begin again.
	MagnitudePruning, RandomPruning float64
}

// How a merge rounds to bf16. Rounding to nearest alone would lose every change of less than half a unit in a weight's last place,
// which after a short cycle is most of them.
const (
	RoundStochastic = "stochastic" // up or down at random, right in the mean
	RoundRemainder  = "remainder"  // to nearest; what is left over waits in a bf16 remainder for the next merge
)

// Scale is the factor of the adapter's product.
func (s Spec) Scale() float64 {
	if s.UseRSLora {
		return s.Alpha / math.Sqrt(float64(s.R))
	}
	return s.Alpha / float64(s.R)
}

// Rate is what the learning rate of a parameter is multiplied by.
func (s Spec) Rate(p ops.Param) float64 {
	if p.Kind == ops.KindLoraB && s.LRRatio > 0 {
		return s.LRRatio
	}
	return 1
}

// KeepsRemainders reports whether what rounding keeps out of weights of this type at a merge waits for the next one, in as many
// bytes again.
func (s Spec) KeepsRemainders(weights gpu.DType) bool {
	return s.Method == "relora" && weights == gpu.BF16 && s.MergeRounding == RoundRemainder
}

// Adapter is the pair of matrices on one projection: y = W x + scale B A x. An adapter of sltrain also has Values, and makes W
// from all three.
type Adapter struct {
	Target ops.Param
	A, B   ops.Param // [r, in], [out, r]
	Values ops.Param // sltrain: [n]
}

// Module is the name of a projection without ".weight".
func Module(p ops.Param) string { return trim(p.Name) }

func trim(name string) string { return strings.TrimSuffix(name, ".weight") }

// Shapes returns the shapes of the two matrices of rank r on a projection [out, in].
func Shapes(projection gpu.Shape, r int) (a, b gpu.Shape) {
	return gpu.Shape{r, projection[1]}, gpu.Shape{projection[0], r}
}

// Match finds the adapters of those parameters that candidate accepts. Every target must match
// some projection of the model; the error lists what there is.
func (s Spec) Match(params []ops.Param, candidate func(ops.Param) bool) ([]Adapter, error) {
	var list []Adapter
	var targets []ops.Param
	used := make([]bool, len(s.TargetModules))
	for _, p := range params {
		if p.Kind != ops.KindLinear && p.Kind != ops.KindHead {
			continue
		}
		hit := false
		for i, t := range s.TargetModules {
			if matches(t, p) {
				used[i], hit = true, true
			}
		}
		if hit && candidate(p) {
			targets = append(targets, p)
		}
	}
	for i, t := range s.TargetModules {
		if !used[i] {
			return nil, fmt.Errorf("target_modules: %q matches no linear layer; there are %s", t,
				cmp.Or(strings.Join(modules(params), ", "), "none"))
		}
	}
	if err := s.fits(targets); err != nil {
		return nil, err
	}
	for _, p := range targets {
		base, id := Module(p), trim(p.ID)
		a, b := Shapes(p.Shape, s.R)
		x := Adapter{Target: p,
			A: ops.Param{ID: id + ".lora_A.weight", Name: base + ".lora_A.weight", Shape: a, Layer: p.Layer,
				Kind: ops.KindLoraA},
			B: ops.Param{ID: id + ".lora_B.weight", Name: base + ".lora_B.weight", Shape: b, Layer: p.Layer,
				Kind: ops.KindLoraB}}
		if s.Composes() {
			s.compose(&x)
		}
		list = append(list, x)
	}
	return list, nil
}

// fits returns why projections are too small, or too large, for adapters; nil if they are not. The smallest of all decides, so that
// what the error advises is enough for the others too.
func (s Spec) fits(targets []ops.Param) error {
	if len(targets) == 0 {
		return nil
	}
	rank := func(p ops.Param) int { return min(p.Shape[0], p.Shape[1]) }
	p := slices.MinFunc(targets, func(a, b ops.Param) int { return cmp.Compare(rank(a), rank(b)) })
	if s.R > rank(p) {
		return fmt.Errorf("rank %d is larger than %s, which is %d x %d: choose r of at most %d", s.R, Module(p), p.Shape[0], p.Shape[1],
			rank(p))
	}
	if s.Composes() {
		return s.fitsPlaces(targets)
	}
	return nil
}

func matches(target string, p ops.Param) bool {
	m := Module(p)
	if target == "all-linear" {
		return p.Kind == ops.KindLinear
	}
	if m == target || strings.HasSuffix(m, "."+target) {
		return true
	}
	ok, err := path.Match(target, m)
	return err == nil && ok
}

// modules lists the last parts of the projections' names.
func modules(params []ops.Param) (names []string) {
	seen := map[string]bool{}
	for _, p := range params {
		if p.Kind == ops.KindLinear || p.Kind == ops.KindHead {
			m := Module(p)
			m = m[strings.LastIndexByte(m, '.')+1:]
			if !seen[m] {
				seen[m] = true
				names = append(names, m)
			}
		}
	}
	sort.Strings(names)
	return names
}

// Params lists the adapters' own parameters.
func Params(as []Adapter) (list []ops.Param) {
	for _, a := range as {
		list = append(list, a.A, a.B)
		if a.Values.Kind == ops.KindSparse {
			list = append(list, a.Values)
		}
	}
	return list
}

// Hook is the projection with its adapter: y = x Wᵀ + scale (x Aᵀ) Bᵀ, where the product B A is never formed; or, with an adapter
// that takes the place of the weight, y = x (scale B A + S)ᵀ.
func (s Spec) Hook(as []Adapter, weight func(name string) graph.Value) graph.Projection {
	by := map[string]Adapter{}
	for _, a := range as {
		by[Module(a.Target)] = a
	}
	return func(g *graph.Graph, module string, x, w, b graph.Value) graph.Value {
		a, ok := by[module]
		if ok && s.Composes() {
			return g.Linear(x, s.composed(g, a, weight), b)
		}
		y := g.Linear(x, w, b)
		if !ok {
			return y
		}
		low := g.Matmul(x, weight(a.A.Name), false, true)
		up := g.Op1("matmul", gpu.Attrs{TransB: true, Alpha: s.Scale()}, low, weight(a.B.Name))
		return g.Add(y, up)
	}
}

// Merged is what a merge reads of an adapter beside its matrices: their fp32 masters, where there are any, and for a bf16 weight
// either the remainder of the merges before or the seed [1] of its rounding.
type Merged struct{ A, B, Remainder, Seed graph.Value }

// Merge adds the segment that folds the adapters into their weights, W = W + scale B A, and makes B zero, so that the model
// computes the same function with idle adapters. The product and the sum are made in fp32, of the masters where there are any.
//
// A bf16 weight takes the sum rounded stochastically by its seed (Zamirai et al. 2020), or to nearest: its remainder then takes
// what that left over, rounded to bf16, and is part of the next sum (Kahan 1965).
//
// It gives the Frobenius norms [1], over all adapters, of their products and of what rounding kept out of weights and
// remainders; none of the latter for fp32 weights.
func (s Spec) Merge(g *graph.Graph, as []Adapter, weight func(name string) graph.Value, more func(Adapter) Merged) (product, lost graph.Value) {
	var products, losses []graph.Value
	wide := func(v graph.Value) graph.Value { return g.Op1("cast", gpu.Attrs{DType: gpu.F32}, v) }
	narrow := func(v graph.Value) graph.Value { return g.Op1("cast", gpu.Attrs{DType: gpu.BF16}, v) }
	less := func(x, y graph.Value) graph.Value { return g.Add(x, g.Op1("scale", gpu.Attrs{Alpha: -1}, y)) }
	squares := func(v graph.Value) graph.Value { return g.Op1("sum_squares", gpu.Attrs{}, v) }
	for _, a := range as {
		g.At(a.Target.Layer, Module(a.Target))
		w, la, lb, m := weight(a.Target.Name), weight(a.A.Name), weight(a.B.Name), more(a)
		half := w.Type().DType == gpu.BF16
		fa, fb := m.A, m.B
		switch {
		case fa.Valid():
		case half:
			fa, fb = wide(la), wide(lb)
		default:
			fa, fb = la, lb
		}
		delta := g.Op1("matmul", gpu.Attrs{Alpha: s.Scale()}, fb, fa)
		products = append(products, squares(delta))
		if !half {
			g.Update(w, g.Add(w, delta))
		} else {
			sum := g.Add(wide(w), delta)
			var rounded, rest graph.Value
			if m.Remainder.Valid() {
				sum = g.Add(sum, wide(m.Remainder))
				rounded = narrow(sum)
				rest = less(sum, wide(rounded))
				kept := narrow(rest)
				g.Update(m.Remainder, kept)
				rest = less(rest, wide(kept))
			} else {
				rounded = g.Op1("cast_stochastic", gpu.Attrs{}, sum, m.Seed)
				rest = less(sum, wide(rounded))
			}
			g.Update(w, rounded)
			losses = append(losses, squares(rest))
		}
		for _, v := range []graph.Value{lb, m.B} {
			if v.Valid() {
				g.Update(v, g.Op1("zero", gpu.Attrs{}, v))
			}
		}
	}
	g.At(-1, "merge")
	norm := func(sums []graph.Value) graph.Value { return g.Op("clip", gpu.Attrs{}, sums...)[0] }
	if product = norm(products); len(losses) > 0 {
		lost = norm(losses)
	}
	return product, lost
}

// MergeSeed is the seed of the stochastic rounding of merge number merge, from 0, into an adapter's weight: a whole number below 2^24.
func MergeSeed(a Adapter, seed uint64, merge int) float32 {
	return float32(ops.Rand(seed+uint64(merge)*0x9e3779b97f4a7c15, a.Target.ID).Uint32() >> 8)
}

// Init gives A Kaiming-uniform values with a = sqrt(5), that is uniform in ±1/sqrt(in), and B zero,
// as PEFT does; restart numbers the ReLoRA cycle, each with values of its own.
func Init(p ops.Param, seed uint64, restart int) []float32 {
	v := make([]float32, p.Shape.Elems())
	if p.Kind == ops.KindLoraA {
		r := ops.Rand(seed+uint64(restart)*0x9e3779b97f4a7c15, p.ID)
		bound := 1 / math.Sqrt(float64(p.Shape[1]))
		for i := range v {
			v[i] = float32((2*r.Float64() - 1) * bound)
		}
	}
	return v
}
