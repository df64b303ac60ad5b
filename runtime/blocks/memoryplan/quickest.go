package memoryplan

import (
	"math"
	"slices"
)

// mostTimed is how many layers of programs a search for the fewest operations asks for the sizes of before it ends early.
const mostTimed = 1500

// likely is how many splits are settled because they are guessed to have the fewest operations.
const likely = 3

// quickest searches for the split with the fewest operations: the shortest path from no layers to all of them, where each stage is
// a step as long as its operations. Of a stage that is not settled, only the least length is known. The path that is the shortest
// by these lengths is settled, which may make it longer, until none is shorter than the best one that is settled, or than enough.
//
// least are the operations of the best split, and no split has fewer than bound. bound is below both least and enough only if the
// search ended early: once all searches together have asked for the sizes of programs with most layers.
func (q *search) quickest(limit int64, largest []int, enough float64, most int) (best []int, least, bound float64, err error) {
	stages := len(largest)
	best, least = largest, math.Inf(1)
	settle := func(split []int) error {
		n, err := q.work(split, limit)
		if err == nil && n < least {
			best, least = split, n
		}
		return err
	}
	if err := settle(largest); err != nil {
		return nil, 0, 0, err
	}
	for tries := 0; ; tries++ {
		if tries < likely {
			guess, _, err := q.shortest(stages, limit, q.guessOperations)
			if err != nil {
				return nil, 0, 0, err
			}
			if guess != nil {
				if err := settle(guess); err != nil {
					return nil, 0, 0, err
				}
			}
		}
		split, bound, err := q.shortest(stages, limit, q.leastOperations)
		if err != nil || split == nil || bound >= min(least, enough) {
			return best, least, least, err
		}
		if q.common.spent > most {
			return best, least, bound, nil
		}
		if err := settle(split); err != nil {
			return nil, 0, 0, err
		}
	}
}

// work returns the operations of a token in all stages of a split; infinite if a stage does not fit.
func (q *search) work(split []int, limit int64) (sum float64, err error) {
	old := 0
	for _, fresh := range split {
		c, err := q.best(shape{fresh, old}, limit, true)
		if err != nil {
			return 0, err
		}
		if c == nil {
			return math.Inf(1), nil
		}
		sum += c.operations
		old += fresh
	}
	return sum, nil
}

// shortest returns the split with the fewest operations, given those of a stage that is not settled with each option; nil if none
// fits.
func (q *search) shortest(stages int, limit int64, with func(at shape, option int, limit int64) float64) (split []int,
	operations float64, err error) {
	for old := range 2 { // a first stage, and one that continues another
		for _, i := range q.choices(old) {
			if _, err := q.cost(lined{i, old == 0}); err != nil {
				return nil, 0, err
			}
		}
	}
	cost := func(at shape) float64 {
		if c, ok := q.done[settled{at, limit, true}]; ok {
			if c == nil {
				return math.Inf(1)
			}
			return c.operations
		}
		least := math.Inf(1)
		for _, i := range q.choices(at.old) {
			least = min(least, with(at, i, limit))
		}
		return least
	}
	layers := q.model.NumHiddenLayers
	if err := q.spend(layers * layers / 2000); err != nil { // for the loops below
		return nil, 0, err
	}
	type end struct {
		sum  float64
		last int // stage's layers
	}
	ends := make([][]end, stages+1) // by stages and layers so far
	for k := range ends {
		ends[k] = slices.Repeat([]end{{sum: math.Inf(1)}}, layers+1)
	}
	ends[0][0].sum = 0
	for old := range layers { // what a stage costs depends on its layers, not on its number: each is asked for once
		for fresh := 1; fresh <= q.space(old); fresh++ {
			c := math.Inf(1)
			for k := range stages {
				if math.IsInf(ends[k][old].sum, 1) {
					continue
				}
				if math.IsInf(c, 1) {
					if c = cost(shape{fresh, old}); math.IsInf(c, 1) {
						break
					}
				}
				if to := &ends[k+1][old+fresh]; ends[k][old].sum+c < to.sum {
					*to = end{ends[k][old].sum + c, fresh}
				}
			}
		}
	}
	if operations = ends[stages][layers].sum; math.IsInf(operations, 1) {
		return nil, operations, nil
	}
	for k, n := stages, layers; k > 0; k-- {
		split = append(split, ends[k][n].last)
		n -= ends[k][n].last
	}
	slices.Reverse(split)
	return split, operations, nil
}
