package memoryplan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
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

// quick chooses for a stage what has the fewest operations. Ways to store frozen weights change none but by the layers that
// must be computed again, of which those that take least need the fewest.
func (q *search) quick(at shape, limit int64) (best *chosen, err error) {
	type group struct {
		options []int // alike but for how weights are stored
		least   float64
	}
	var groups []*group
	for _, i := range q.choices(at.old) {
		c, err := q.cost(lined{i, at.old == 0})
		if err != nil {
			return nil, err
		}
		j := slices.IndexFunc(groups, func(g *group) bool { return q.options[g.options[0]].alike(q.options[i]) })
		if j < 0 {
			groups = append(groups, &group{[]int{i}, c.least(at, limit)})
			continue
		}
		groups[j].options = append(groups[j].options, i)
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(a.least, b.least) })
	for _, g := range groups {
		if best != nil && g.least >= best.operations {
			break
		}
		c, err := q.leanest(at, g.options, limit)
		if err != nil {
			return nil, err
		}
		if c != nil && (best == nil || c.operations < best.operations) {
			best = c
		}
	}
	return best, nil
}

// alike reports whether options differ at most by how frozen weights are stored.
func (o option) alike(x option) bool { return o.fused == x.fused && slices.Equal(o.freeze, x.freeze) }

// leanest settles a stage with that of some options which takes least; or with the first that needs no more layers computed
// again.
func (q *search) leanest(at shape, options []int, limit int64) (*chosen, error) {
	sizes := map[int]int64{}
	for _, i := range options {
		var err error
		if sizes[i], err = q.guess(at, i); err != nil {
			return nil, err
		}
		if !far(sizes[i], limit) {
			if sizes[i], err = q.size(at, i); err != nil {
				return nil, err
			}
		}
	}
	least := slices.MinFunc(options, func(a, b int) int { return cmp.Compare(sizes[a], sizes[b]) })
	c, err := q.try(at, least, limit, "auto")
	if err != nil {
		return nil, err
	}
	m := met{at, limit, math.MaxInt}
	if c != nil {
		m.recompute = c.Fit.Recompute
	}
	for _, i := range options {
		k := q.costs[lined{i, at.old == 0}]
		k.met = append(k.met, m)
	}
	for _, i := range options {
		if c == nil || i == least {
			break
		}
		if x, err := q.try(at, i, limit, fmt.Sprint(c.Fit.Recompute)); err != nil || x != nil && x.operations <= c.operations {
			return x, err
		}
	}
	return c, nil
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
