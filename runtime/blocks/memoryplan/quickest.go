package memoryplan

import (
	"math"
	"slices"
)

// mostTimed is where a search for the fewest operations ends early.
const mostTimed = 1500

// likely is how many ways are settled because they are likely the shortest.
const likely = 3

// quickest searches for the split with the fewest operations: the shortest way from no layers to all, whose parts cost what
// their stages take. These are known at least, and exactly once a stage has been settled; so what is settled next is always
// the way that would be shortest, until all of it is. least are its operations, and gap is by which share another split may have fewer operations, 0 if
// none has. It ends early once it has asked for the sizes of programs with most layers.
func (q *search) quickest(limit int64, largest []int, most int) (best []int, gap, least float64, err error) {
	stages, start := len(largest), *q.spent
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
			way, _, err := q.shortest(stages, limit, q.about)
			if err != nil {
				return nil, 0, 0, err
			}
			if way != nil {
				if err := settle(way); err != nil {
					return nil, 0, 0, err
				}
			}
		}
		way, bound, err := q.shortest(stages, limit, q.atLeast)
		if err != nil || way == nil || bound >= least {
			return best, 0, least, err
		}
		if *q.spent-start > most {
			return best, least/bound - 1, least, nil
		}
		if err := settle(way); err != nil {
			return nil, 0, 0, err
		}
	}
}

// work is the operations of a token in all stages of a split; infinite if a stage does not fit.
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

// shortest is the split with the fewest operations, where those of a stage that is not settled are told by option; nil if
// none fits.
func (q *search) shortest(stages int, limit int64, told func(shape, int, int64) float64) (split []int, operations float64, err error) {
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
			least = min(least, told(at, i, limit))
		}
		return least
	}
	layers := q.model.NumHiddenLayers
	if err := q.spend(layers * layers / 2000); err != nil { // what it takes, beside programs
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
	for old := range layers { // all stages that start there at once, since they cost the same whichever they are
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
