package memoryplan

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"stepflow/ops"
	"stepflow/runtime/blocks"
	"stepflow/runtime/program"
)

// found is what a search found.
type found struct {
	rule   int // of the candidates
	split  []int
	limit  int64   // within which the stages are to be settled
	gap    float64 // by which share another split may have fewer operations
	stages []chosen
	scores map[int]float64 // by candidate, of those that were searched
}

// asQuick is how many times the fewest operations a plan may have if the block names its optimizer earlier: saving a few operations
// is not worth another optimizer.
const asQuick = 1.01

// search finds the best plan. It has the fewest stages, or as many as asked for; among the optimizers with which so few are
// enough, it is the best by the objective, or the first of equals. It is nil if nothing fits.
//
// Prospects come in the order of what may be hoped for: once one cannot beat the best score so far, neither can those after
// it.
func (x *Device) search(stages int) (best *found, err error) {
	list, err := x.prospects(stages)
	if err != nil {
		return nil, err
	}
	equal := 1.0
	if x.Objective == "time" {
		equal = asQuick
	}
	var least float64           // score
	tried := map[int]*found{}   // by candidate, those with as few stages as best
	scores := map[int]float64{} // of tried
	end := x.rules[0].common.spent + x.timed
	unknown := math.Inf(1) // the least score that a search may have missed which ended early
	for _, p := range list {
		q, most := x.rules[p.rule].search, 0
		if best != nil {
			most = len(best.split)
			if p.stages > most || p.stages == most && (p.score > least*equal || p.score >= least && p.rule > best.rule) {
				continue
			}
			if x.Objective == "time" && q.common.spent > end {
				unknown = min(unknown, p.score)
				continue
			}
		}
		split, _, err := q.largest(x.Limit, stages, most)
		if err != nil {
			return nil, err
		}
		if split == nil {
			continue
		}
		if best != nil && len(split) < most {
			best, unknown = nil, math.Inf(1)
			clear(tried)
			clear(scores)
		}
		f, s := &found{rule: p.rule, split: split, limit: x.Limit}, 0.0
		switch x.Objective {
		case "memory":
			f.split, f.limit, err = q.smallest(split)
			s = float64(f.limit)
		case "time":
			enough := math.Inf(1)
			if best != nil {
				enough = least
				if p.rule < best.rule {
					enough *= equal
				}
			}
			var bound float64
			f.split, s, bound, err = q.quickest(x.Limit, split, enough, end)
			if bound < s {
				unknown = min(unknown, bound)
			}
		default:
			s = loss(q.meanSize(split), x.Tokens)
		}
		if err != nil {
			return nil, err
		}
		if best == nil || s < least {
			least = s
		}
		tried[p.rule], scores[p.rule] = f, s
		for i := range x.rules {
			if s, ok := scores[i]; ok && s <= least*equal {
				best = tried[i]
				break
			}
		}
	}
	if best == nil {
		return nil, nil
	}
	best.scores = scores
	best.gap = max(0, scores[best.rule]/unknown-1)
	best.stages, err = x.rules[best.rule].settle(best.split, best.limit, x.Objective == "time")
	if err == nil && best.stages == nil {
		err = fmt.Errorf("a stage of the split %v, which was to fit, does not", best.split)
	}
	return best, err
}

// prospect is what may be hoped for with a candidate: no plan with it has fewer stages, and none with so many a lower score.
type prospect struct {
	rule, stages int
	score        float64
}

// prospects lists the candidates with which something may fit, the most hopeful first: once something is found that is as good as
// what may be hoped for with the others, they are given up.
func (x *Device) prospects(stages int) (list []prospect, err error) {
	for i, c := range x.rules {
		split, err := c.hopeful(x.Limit, stages)
		if err != nil {
			return nil, err
		}
		if split == nil {
			continue
		}
		p := prospect{rule: i, stages: len(split)}
		switch x.Objective {
		case "memory":
			_, peak, err := c.guessSplit(len(split), c.atLeast)
			if err != nil {
				return nil, err
			}
			p.score = float64(peak)
		case "time":
			_, p.score, err = c.shortest(len(split), x.Limit, c.leastOperations)
		default:
			p.score = loss(c.meanSize(split), x.Tokens)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b prospect) int {
		return cmp.Or(cmp.Compare(a.stages, b.stages), cmp.Compare(a.score, b.score))
	})
	return list, nil
}

// meanSize is the mean number of parameters over a run of stages that share the tokens equally.
func (q *search) meanSize(split []int) (mean float64) {
	n := 0
	for _, fresh := range split {
		n += fresh
		mean += q.model.WithLayers(n).Params() / float64(len(split))
	}
	return mean
}

// means are the mean numbers of parameters, and of those that train, over a run of stages that share the tokens equally.
func (f *found) means() (means [2]float64) {
	for _, s := range f.stages {
		n, t := sizes(s.Stage)
		means[0] += float64(n) / float64(len(f.stages))
		means[1] += float64(t) / float64(len(f.stages))
	}
	return means
}

// peak is what the largest stage takes.
func (f *found) peak() (most int64) {
	for _, s := range f.stages {
		most = max(most, s.Fit.Bytes)
	}
	return most
}

// compile makes the programs of the stages, which those of the pipeline then share if the device has no other memory. With
// tasks between steps, a program may take less than was planned.
func (f *found) compile(w *blocks.World, limit int64) error {
	programs := w.Programs
	if w.Caps.Memory != limit {
		programs = programs.On(limit)
	}
	for i, s := range f.stages {
		c := *s.Stage
		if err := programs.Compile(&c, s.checkpointing); err != nil {
			return err
		}
		f.stages[i].made = &c
		f.stages[i].Fit.Bytes = c.Program.ArenaBytes
	}
	return nil
}

// flops are the operations of a run.
func (f *found) flops(tokens float64) (sum float64) {
	for _, s := range f.stages {
		sum += s.operations * tokens / float64(len(f.stages))
	}
	return sum
}

// layers are the new layers of each stage.
func (f *found) layers() (list []int) {
	n := 0
	for _, s := range f.stages {
		list, n = append(list, len(s.Layers)-n), len(s.Layers)
	}
	return list
}

// recomputed is how many layers of all stages are computed again.
func (f *found) recomputed() (n int) {
	for _, s := range f.stages {
		n += s.Fit.Recompute
	}
	return n
}

// micro is the smallest micro-batch of a stage.
func (f *found) micro() int {
	n := math.MaxInt
	for _, s := range f.stages {
		n = min(n, s.Fit.Micro)
	}
	return n
}

// sizes counts the parameters of a stage, and those that train.
func sizes(s *program.Stage) (all, trained int64) {
	return ops.Count(s.Params, nil), ops.Count(s.Trainable(), nil)
}
