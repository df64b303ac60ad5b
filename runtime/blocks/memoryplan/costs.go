package memoryplan

import (
	"math"
	"slices"
)

// costs are the least operations of a token with an option: those outside the layers, and some for each new layer, for each old
// one, and for each that is computed again.
type costs struct {
	rest, fresh, old, again float64
	layer                   int64 // about the bytes that a layer takes which is not computed again
	needs                   []need
}

// need is how many layers of a stage must be computed again within a limit; math.MaxInt if the stage does not fit.
type need struct {
	shape
	limit     int64
	recompute int
}

// least returns the least operations that a stage may have within a limit. A stage with at least as many new layers as another,
// and at least as many in all, needs at least as many computed again; and if the other does not fit, neither does it.
func (c *costs) least(at shape, limit int64) float64 { return c.with(at, limit, 0) }

// with is least if at least n layers are computed again.
func (c *costs) with(at shape, limit int64, n int) float64 {
	for _, x := range c.needs {
		if x.limit >= limit && x.fresh <= at.fresh && x.fresh+x.old <= at.fresh+at.old {
			n = max(n, x.recompute)
		}
	}
	if n == math.MaxInt {
		return math.Inf(1)
	}
	return c.rest + c.fresh*float64(at.fresh) + c.old*float64(at.old) + c.again*float64(n)
}

// again is what computing layers again costs: the least operations for each, and about the bytes that it saves. Both hardly depend on
// the optimizer, so that the searches of a plan share them.
type again struct {
	operations float64
	bytes      int64
}

// cost returns the costs of an option, as if new layers were as far up as possible: gradients then pass through the fewest layers.
// Options that are alike have the same.
func (q *search) cost(key lined) (*costs, error) {
	key.option = q.group(key.option)
	if c, ok := q.costs[key]; ok {
		return c, nil
	}
	shared, err := q.again(key)
	if err != nil {
		return nil, err
	}
	var n [3]float64
	for i, at := range samples[key.first] {
		if n[i], _, err = q.count(at, key.option, 0); err != nil {
			return nil, err
		}
	}
	c := &costs{fresh: n[2] - n[1], old: n[1] - n[0], again: shared.operations, layer: shared.bytes}
	if key.first {
		c.old = 0
	}
	c.rest = n[2] - c.least(samples[key.first][2], 0)
	q.costs[key] = c
	return c, nil
}

// group is the first option that is like another one.
func (q *search) group(i int) int {
	return slices.IndexFunc(q.options, func(o option) bool { return o.alike(q.options[i]) })
}

// count returns the operations of a token in a stage, and those of layers that are computed again.
func (q *search) count(at shape, option, recompute int) (operations, again float64, err error) {
	upper := *q
	upper.position = "upper"
	s, err := upper.alone(at, option)
	if err != nil {
		return 0, 0, err
	}
	s.Chunk, s.Recompute = s.Micro*s.Seq, recompute
	m, r := q.programs.Operations(s)
	return float64(m) / float64(s.StepTokens()), float64(r) / float64(s.StepTokens()), nil
}

// again returns what computing layers again costs with an option.
func (q *search) again(key lined) (again, error) {
	if a, ok := q.common.again[key]; ok {
		return a, nil
	}
	a := again{operations: math.Inf(1)}
	last := samples[key.first][2]
	before := 0.0
	for i := range last.fresh + last.old {
		_, n, err := q.count(last, key.option, i+1)
		if err != nil {
			return a, err
		}
		a.operations, before = min(a.operations, n-before), n
	}
	s, err := q.alone(last, key.option)
	if err != nil {
		return a, err
	}
	if !s.Fused {
		s.Micro = 1
	}
	s.Chunk, s.Inference = min(64, s.Micro*s.Seq), nil
	var sizes [2]int64
	for i := range sizes {
		s.Recompute = len(s.Layers) - i
		if sizes[i], err = q.programs.Bytes(s); err != nil {
			return a, err
		}
	}
	a.bytes = max(sizes[1]-sizes[0], 1)
	q.common.again[key] = a
	return a, nil
}

// guessOperations guesses the operations of a stage with an option: as many layers are computed again as the guess of its size
// asks for.
func (q *search) guessOperations(at shape, option int, limit int64) float64 {
	return q.operations(at, option, limit, limit)
}

// leastOperations returns the least operations that a stage may have with an option. It allows for a guess of its size that is a
// little too large, although guesses are rather too small: a peak is the largest of several sums that grow with the layers,
// and the line follows the one that is the largest with few layers.
func (q *search) leastOperations(at shape, option int, limit int64) float64 {
	return q.operations(at, option, limit, limit+limit/closely)
}

// closely is the share of a limit, 1/closely, by which a guess may be too large.
const closely = 64

// operations is least if as many layers are computed again as the guess of the stage's size asks for within room.
func (q *search) operations(at shape, option int, limit, room int64) float64 {
	c, layers := q.costs[lined{q.group(option), at.old == 0}], at.fresh+at.old
	guess, err := q.guess(at, option)
	if err != nil || guess > room {
		return math.Inf(1)
	}
	return c.with(at, limit, max(0, layers-int(min((room-guess)/c.layer, int64(layers)))))
}
