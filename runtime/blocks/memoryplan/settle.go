package memoryplan

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"stepflow/runtime/program"
)

// chosen is a stage of a plan with its settings.
type chosen struct {
	*program.Stage
	option
	Fit           program.Fit
	checkpointing string
	operations    float64        // of a token, those of activations that are computed again included
	made          *program.Stage // with its program, once it is needed
}

// settled is what decides the settings of a stage.
type settled struct {
	shape
	limit int64
	quick bool
}

// settle chooses for each stage what it gives up; nil where a stage does not fit.
func (q *search) settle(split []int, limit int64, quick bool) (list []chosen, err error) {
	var from *program.Stage
	old := 0
	for _, fresh := range split {
		best, err := q.best(shape{fresh, old}, limit, quick)
		if err != nil || best == nil {
			return nil, err
		}
		c := *best
		if c.Stage, err = q.stage(from, fresh, c.option); err != nil {
			return nil, err
		}
		c.set()
		list = append(list, c)
		from, old = c.Stage, old+fresh
	}
	return list, nil
}

// set gives the stage what was chosen.
func (c *chosen) set() {
	c.AutoMicro, c.Micro, c.Recompute, c.Chunk = false, c.Fit.Micro, c.Fit.Recompute, c.Fit.Chunk
}

// best chooses how a stage is made: quick or preferred, with micro-batches as large as fit. It returns nil if nothing fits.
func (q *search) best(at shape, limit int64, quick bool) (best *chosen, err error) {
	key := settled{at, limit, quick}
	if c, ok := q.done[key]; ok {
		return c, nil
	}
	if quick {
		best, err = q.quick(at, limit)
	} else {
		best, err = q.preferred(at, limit)
	}
	if err == nil {
		q.done[key] = best
	}
	return best, err
}

// preferred chooses the first option to freeze and store weights with which a stage fits, and of its updates the one with the
// fewest layers computed again.
func (q *search) preferred(at shape, limit int64) (best *chosen, err error) {
	for _, i := range q.choices(at.old) {
		o := q.options[i]
		if best != nil && (!slices.Equal(o.freeze, best.freeze) || o.frozen != best.frozen || best.Fit.Recompute == 0) {
			break // all else is worse
		}
		c, err := q.try(at, i, limit, "auto")
		if err != nil {
			return nil, err
		}
		if c != nil && (best == nil || c.Fit.Recompute < best.Fit.Recompute) {
			best = c
		}
	}
	return best, nil
}

// quick chooses the option with which a stage has the fewest operations. How frozen weights are stored matters only through the
// layers that must be computed again: the type that takes the least needs the fewest.
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

// leanest settles a stage with the option that takes the least, or with the first one that needs no more layers computed again.
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
	n := need{at, limit, math.MaxInt}
	if c != nil {
		n.recompute = c.Fit.Recompute
	}
	k := q.costs[lined{q.group(least), at.old == 0}]
	k.needs = append(k.needs, n)
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

// try chooses what costs only time: the fewest layers computed again, of those that checkpoints allows, with which a stage fits,
// and the largest micro-batch. It returns nil if the stage does not fit.
func (q *search) try(at shape, i int, limit int64, checkpoints string) (*chosen, error) {
	guess, err := q.guess(at, i)
	if err != nil || far(guess, limit) {
		return nil, err
	}
	if n, err := q.size(at, i); err != nil || n > limit {
		return nil, err
	}
	s, err := q.alone(at, i)
	if err != nil {
		return nil, err
	}
	s.AutoMicro = !s.Fused
	before := q.programs.Sized()
	f, err := q.fit(s, limit, checkpoints)
	if err != nil {
		return nil, err
	}
	if err = q.spend((q.programs.Sized() - before) * len(s.Layers)); err != nil || !f.Fits {
		return nil, err
	}
	c := &chosen{Stage: s, option: q.options[i], Fit: f, checkpointing: checkpointing(f.Recompute, len(s.Layers))}
	if at.old == 0 {
		c.freeze, c.frozen = nil, ""
	}
	c.set()
	model, again := q.programs.Operations(s)
	c.operations = (float64(model) + float64(again)) / float64(s.StepTokens())
	return c, nil
}

// fit tries a stage. Where what runs between steps does not fit beside it, training is given less room.
func (q *search) fit(s *program.Stage, limit int64, checkpoints string) (program.Fit, error) {
	programs := q.programs.On(limit)
	f, err := programs.Try(s, checkpoints)
	if s.Inference == nil {
		return f, err
	}
	alone := *s
	alone.Inference = nil
	for room := limit; err == nil && !f.Fits; {
		room -= f.Bytes - limit
		x := *s
		x.AutoMicro = false
		less, e := q.programs.On(max(room, 1)).Try(&alone, checkpoints)
		if e != nil || !less.Fits && checkpoints != "auto" {
			return f, e
		}
		if !less.Fits { // what size says does
			less.Recompute = len(s.Layers)
			if !s.Fused {
				less.Micro = 1
			}
		}
		last := !less.Fits
		x.Micro = less.Micro
		f, err = programs.Try(&x, fmt.Sprint(less.Recompute))
		if last {
			break
		}
	}
	return f, err
}

// checkpointing is activation_checkpointing of so many layers.
func checkpointing(n, layers int) string {
	switch n {
	case 0:
		return "none"
	case layers:
		return "block"
	}
	return fmt.Sprint(n)
}
