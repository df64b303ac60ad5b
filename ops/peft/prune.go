package peft

import (
	"math"
	"slices"

	"stepflow/ops"
)

// Prunes reports whether a restart keeps a part of what the optimizer knows of the adapters.
func (s Spec) Prunes() bool { return s.MagnitudePruning > 0 || s.RandomPruning > 0 }

// Kept reports which elements of the moments of p a restart keeps: those whose first moment is large, or some at random.
// restart is its number, from 1. Without pruning it keeps none.
//
// The authors of ReLoRA prune each moment by itself. Where only the first is kept, the next step of A divides it by eps: its
// gradient is 0, since B is.
func (s Spec) Kept(p ops.Param, first []float32, seed uint64, restart int) []bool {
	kept := make([]bool, len(first))
	switch {
	case s.RandomPruning > 0:
		r := ops.Rand(seed+uint64(restart)*0x9e3779b97f4a7c15, p.ID+" pruned")
		for i := range kept {
			kept[i] = r.Float64() >= s.RandomPruning
		}
	case s.MagnitudePruning > 0:
		most := quantile(first, s.MagnitudePruning)
		for i, x := range first {
			kept[i] = math.Abs(float64(x)) > most
		}
	}
	return kept
}

// quantile of the magnitudes, between neighbours by linear interpolation, as torch.quantile computes it.
func quantile(v []float32, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	m := make([]float64, len(v))
	for i, x := range v {
		m[i] = math.Abs(float64(x))
	}
	slices.Sort(m)
	at := q * float64(len(m)-1)
	lo := int(at)
	return m[lo] + (m[min(lo+1, len(m)-1)]-m[lo])*(at-float64(lo))
}
