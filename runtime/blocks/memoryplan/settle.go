package memoryplan

import (
	"fmt"
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

// best chooses for a stage the first option to freeze and store weights with which it fits, and of its updates the one with
// the fewest layers computed again; or if it is to be quick, see quick. Micro-batches are as large as fit. It is nil if
// nothing fits.
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

// try chooses what costs time alone: of as many layers as checkpointing allows, as few computed again as let a stage fit, and
// as large a micro-batch. It is nil if the stage does not fit.
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
	f, err := q.programs.On(limit).Try(s, checkpoints)
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
