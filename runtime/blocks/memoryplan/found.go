package memoryplan

import (
	"cmp"
	"fmt"
	"math"
	"slices"

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
}

// search finds the best plan. It has the fewest stages, or as many as asked for; among the optimizers with which so few are
// enough, it is the best by the objective, or the first of equals. It is nil if nothing fits.
func (x *Device) search(stages int) (best *found, err error) {
	var bestScore float64
	order, err := x.order()
	if err != nil {
		return nil, err
	}
	for _, i := range order {
		q := x.rules[i].search
		most := 0
		if best != nil {
			most = len(best.split)
		}
		split, _, err := q.largest(x.Limit, stages, most)
		if err != nil {
			return nil, err
		}
		if split == nil {
			continue
		}
		f, score := &found{rule: i, split: split, limit: x.Limit}, 0.0
		switch x.Objective {
		case "memory":
			f.split, f.limit, err = q.smallest(split)
			score = float64(f.limit)
		case "time":
			f.split, f.gap, score, err = q.quickest(x.Limit, split, x.timed)
		default:
			score = loss(q.meanSize(split), x.Tokens)
		}
		if err != nil {
			return nil, err
		}
		if best == nil || len(split) < len(best.split) || score < bestScore || score == bestScore && i < best.rule {
			best, bestScore = f, score
		}
	}
	if best == nil {
		return nil, nil
	}
	best.stages, err = x.rules[best.rule].settle(best.split, best.limit, x.Objective == "time")
	if err == nil && best.stages == nil {
		err = fmt.Errorf("a stage of the split %v, which was to fit, does not", best.split)
	}
	return best, err
}

// order lists the candidates, first those that are guessed to need the fewest stages: the others are given up once they need more.
func (x *Device) order() (list []int, err error) {
	stages := make([]int, len(x.rules))
	for i, q := range x.rules {
		if list = append(list, i); len(x.rules) == 1 {
			continue
		}
		for n := 0; n < q.model.NumHiddenLayers; stages[i]++ {
			add, err := q.guessMost(n, q.space(n), x.Limit)
			if err != nil {
				return nil, err
			}
			n += max(min(add, q.space(n)), 1)
		}
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(stages[a], stages[b]) })
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
	for _, p := range s.Params {
		all += p.Elems()
	}
	for _, p := range s.Trainable() {
		trained += p.Elems()
	}
	return all, trained
}
