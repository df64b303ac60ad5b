package memoryplan

import (
	"fmt"
	"math"
	"slices"

	"stepflow/ops/optim"
	"stepflow/runtime/program"
)

// found is what a search found.
type found struct {
	rule   int // of the optimizers that it chose from
	stages []chosen
}

// search finds the best plan: for each optimizer the fewest stages, or as many as asked for, and among optimizers the best by
// the objective, the first of equals. It is nil if nothing fits; least is then what the first stage that does not fit takes.
func (x *Device) search(q *search, rules []optim.Optimizer, stages int) (best *found, least int64, err error) {
	least = math.MaxInt64
	var bestScore []float64
	for i, rule := range rules {
		q.rule, q.least = rule, map[[2]int]int64{}
		limit := x.Limit
		split, over, err := q.largest(limit, stages)
		if err != nil {
			return nil, 0, err
		}
		if split == nil {
			least = min(least, over)
			continue
		}
		switch x.Objective {
		case "memory":
			if split, limit, err = q.smallest(limit, split); err != nil {
				return nil, 0, err
			}
		case "time":
			if split, err = q.quickest(limit, split); err != nil {
				return nil, 0, err
			}
		}
		list, err := q.settle(split, limit)
		if err != nil {
			return nil, 0, err
		}
		if list == nil {
			return nil, 0, fmt.Errorf("a stage of the split %v, which was to fit, does not", split)
		}
		f := &found{i, list}
		score := []float64{float64(len(list)), x.score(f)}
		if x.Objective == "memory" {
			slices.Reverse(score)
		}
		if best == nil || slices.Compare(score, bestScore) < 0 {
			best, bestScore = f, score
		}
	}
	x.Tried = q.tried
	return best, least, nil
}

// score is what the objective makes least.
func (x *Device) score(f *found) float64 {
	switch x.Objective {
	case "memory":
		return float64(f.peak())
	case "time":
		return work(f.stages)
	}
	return x.forecast(f)[0]
}

// forecast is the loss of stages that share the tokens equally: if all parameters of a model count in its mean size, as in
// the law, and if only those that train do.
func (x *Device) forecast(f *found) [2]float64 {
	var all, trained float64
	for _, s := range f.stages {
		n, t := sizes(s.Stage)
		all, trained = all+float64(n), trained+float64(t)
	}
	k := float64(len(f.stages))
	return [2]float64{loss(all/k, x.Tokens), loss(trained/k, x.Tokens)}
}

// peak is what the largest stage takes.
func (f *found) peak() (most int64) {
	for _, s := range f.stages {
		most = max(most, s.Fit.Bytes)
	}
	return most
}

// compile makes the programs of the stages, which those of the pipeline then share.
func (f *found) compile(programs *program.Programs) error {
	for i, s := range f.stages {
		c := *s.Stage
		if err := programs.Compile(&c, s.checkpointing); err != nil {
			return err
		}
		f.stages[i].made = &c
	}
	return nil
}

// flops are the operations of a run of stages that are compiled.
func (f *found) flops(tokens float64) (sum float64) {
	for _, s := range f.stages {
		n := program.FiguresOf(s.made, 0)
		steps := tokens / float64(len(f.stages)) / float64(s.StepTokens())
		sum += steps * (float64(n.StepFLOPs) + float64(n.RecomputeFLOPs))
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

// work compares stages by their operations a token, in products with weights: two forward, two for the gradient of the
// input, two for that of a weight that trains, and two more of a layer that is computed again.
func work(list []chosen) (sum float64) {
	for _, s := range list {
		all, trained := sizes(s.Stage)
		layer := float64(all) / float64(len(s.Layers))
		sum += 4*float64(all) + 2*float64(trained) + 2*layer*float64(s.Fit.Recompute)
	}
	return sum
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
