package growth

import (
	"fmt"
	"math"
)

// Cost is the bytes of one stage that trains fresh layers on top of old frozen ones.
type Cost func(fresh, old int) int64

// Bytes is what one parameter of each kind takes: 16 trainable and 2 frozen in bf16 with fp32
// master weights and moments, 16 and 4 in fp32 (arXiv 2504.04151, section 3.2).
type Bytes struct{ Trainable, Frozen int64 }

// States is the paper's formula for the states of stage i, and more: with P, E the parameters of a
// layer and of its adapters, and rest, restFrozen those outside the layers that train or not,
//
//	P_i = t·n_i·P + f·N_{i-1}·P + t·N_{i-1}·E + t·rest + f·restFrozen
func (b Bytes) States(layer, adapter, rest, restFrozen int64) Cost {
	return func(fresh, old int) int64 {
		n, o := int64(fresh), int64(old)
		return b.Trainable*n*layer + b.Frozen*o*layer + b.Trainable*o*adapter + b.Trainable*rest + b.Frozen*restFrozen
	}
}

// Room is the most layers that may be added on top of n > 0.
type Room func(n int) int

// Gaps is the room of interpolation: one new layer between two neighbours.
func Gaps(n int) int { return n - 1 }

// Unbounded is the room of the paper's integer program, and of stacking.
func Unbounded(int) int { return math.MaxInt32 }

// Partition splits L layers into K stages so that the largest stage is as small as possible; of
// equal splits it gives the lexicographically smallest, which trains fewest layers first. The
// program is solved exactly, by dynamic programming over (stages left, layers so far).
func Partition(layers, stages int, cost Cost, room Room) (split []int, peak int64, err error) {
	if stages < 1 || layers < stages {
		return nil, 0, fmt.Errorf("%d layers cannot be trained in %d stages: each stage adds at least one", layers, stages)
	}
	const never = math.MaxInt64
	// best[k][n] is the least peak of k more stages when n layers are there.
	best := make([][]int64, stages+1)
	for k := range best {
		best[k] = make([]int64, layers+1)
		for n := range best[k] {
			best[k][n] = never
		}
	}
	best[0][layers] = 0
	most := func(n int) int { // layers that may be added on top of n
		if n == 0 {
			return layers
		}
		return min(room(n), layers-n)
	}
	for k := 1; k <= stages; k++ {
		for n := 0; n < layers; n++ {
			for add := 1; add <= most(n); add++ {
				if rest := best[k-1][n+add]; rest != never {
					best[k][n] = min(best[k][n], max(rest, cost(add, n)))
				}
			}
		}
	}
	peak = best[stages][0]
	if peak == never {
		return nil, 0, fmt.Errorf("%d layers cannot be reached in %d stages: a stage adds at most one layer between two old ones", layers, stages)
	}
	n := 0
	for k := stages; k > 0; k-- {
		for add := 1; add <= most(n); add++ {
			if rest := best[k-1][n+add]; rest != never && max(rest, cost(add, n)) <= peak {
				split = append(split, add)
				n += add
				break
			}
		}
	}
	return split, peak, nil
}

// Fewest finds the smallest number of stages whose peak is within the budget. When there is none
// it returns ok = false with the split of least peak.
func Fewest(layers int, budget int64, cost Cost, room Room) (split []int, peak int64, ok bool) {
	peak = math.MaxInt64
	for k := 1; k <= layers; k++ {
		s, p, err := Partition(layers, k, cost, room)
		if err != nil {
			continue
		}
		if p <= budget {
			return s, p, true
		}
		if p < peak {
			split, peak = s, p
		}
	}
	return split, peak, false
}
