package memoryplan

import (
	"math"
)

// costs bound from below the operations of a token with an option: those outside the layers, and so many for each layer and
// for each that is computed again.
type costs struct {
	rest, fresh, old, again float64
	layer                   int64 // about what a layer takes that is not computed again
	met                     []met
}

// met is a stage of which it is known how many layers must be computed again within a limit; math.MaxInt where it does not
// fit.
type met struct {
	shape
	limit     int64
	recompute int
}

// least bounds the operations of a stage within a limit. A stage with as many new layers as another or more, and as many
// layers in all or more, has no fewer computed again, and where the other does not fit neither does it.
func (c *costs) least(at shape, limit int64) float64 { return c.with(at, limit, 0) }

// with is least where n layers are computed again at least.
func (c *costs) with(at shape, limit int64, n int) float64 {
	for _, m := range c.met {
		if m.limit >= limit && m.fresh <= at.fresh && m.fresh+m.old <= at.fresh+at.old {
			n = max(n, m.recompute)
		}
	}
	if n == math.MaxInt {
		return math.Inf(1)
	}
	return c.rest + c.fresh*float64(at.fresh) + c.old*float64(at.old) + c.again*float64(n)
}

// cost returns the bounds of an option. New layers are as far up as can be, so that gradients pass through the fewest layers.
func (q *search) cost(key lined) (*costs, error) {
	if c, ok := q.costs[key]; ok {
		return c, nil
	}
	upper := *q
	upper.position = "upper"
	count := func(at shape, recompute int) (operations, again float64, err error) {
		s, err := upper.alone(at, key.option)
		if err != nil {
			return 0, 0, err
		}
		s.Chunk, s.Recompute = s.Micro*s.Seq, recompute
		m, r := q.programs.Operations(s)
		return float64(m) / float64(s.StepTokens()), float64(r) / float64(s.StepTokens()), nil
	}
	var n [3]float64
	var err error
	for i, at := range few[key.first] {
		if n[i], _, err = count(at, 0); err != nil {
			return nil, err
		}
	}
	c := &costs{fresh: n[2] - n[1], old: n[1] - n[0]}
	if key.first {
		c.old = 0
	}
	last := few[key.first][2]
	c.rest = n[2] - c.least(last, 0)
	c.again = math.Inf(1)
	before := 0.0
	for i := range last.fresh + last.old {
		_, n, err := count(last, i+1)
		if err != nil {
			return nil, err
		}
		c.again, before = min(c.again, n-before), n
	}
	s, err := q.alone(last, key.option)
	if err != nil {
		return nil, err
	}
	if !s.Fused {
		s.Micro = 1
	}
	s.Chunk = min(64, s.Micro*s.Seq)
	var sizes [2]int64
	for i := range sizes {
		s.Recompute = len(s.Layers) - i
		if sizes[i], err = q.programs.Bytes(s); err != nil {
			return nil, err
		}
	}
	c.layer = max(sizes[1]-sizes[0], 1)
	q.costs[key] = c
	return c, nil
}

// about is about the operations of a stage with an option: as many layers are computed again as the guess of its size asks for.
func (q *search) about(at shape, option int, limit int64) float64 {
	return q.told(at, option, limit, limit)
}

// atLeast bounds the operations of a stage with an option from below, for which the guess of its size may be too large by a
// small part. It is rather too small: a peak is the largest of several sums that grow with the layers, and the line is
// drawn where the first of them is.
func (q *search) atLeast(at shape, option int, limit int64) float64 {
	return q.told(at, option, limit, limit+limit/closely)
}

// closely is the share of a limit, 1/closely, by which a guess may be too large.
const closely = 64

// told is least where the guess of a stage's size tells how many layers must be computed again within room.
func (q *search) told(at shape, option int, limit, room int64) float64 {
	c, layers := q.costs[lined{option, at.old == 0}], at.fresh+at.old
	guess, err := q.guess(at, option)
	switch {
	case err != nil || guess > room:
		return math.Inf(1)
	case guess == 0:
		return c.least(at, limit)
	}
	return c.with(at, limit, max(0, layers-int(min((room-guess)/c.layer, int64(layers)))))
}
