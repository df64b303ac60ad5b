package train

import (
	"math"

	"stepflow/ops"
	"stepflow/ops/peft"
	"stepflow/runtime/metrics"
	"stepflow/runtime/program"
	"stepflow/runtime/trainstate"
)

// coarseMerge is the error of merges from which a run says what would lower it.
const coarseMerge = 0.5

// lessNoise is what would lower the error of merges.
func lessNoise(s *program.Stage) string {
	if s.Restarts() && !s.KeepsRemainders() {
		return "merge_rounding = \"remainder\" keeps what is left over, in 2 more bytes a weight, and a longer reset_every " +
			"merges more at a time"
	}
	return "train longer before the merge, or in fp32"
}

// merge folds the adapters into the weights and gives the share of their product that rounding kept out: the quotient of
// Frobenius norms. What remainders hold is not lost unless it is the last merge.
func (t *trainer) merge(last bool) (lost float64, err error) {
	s := t.stage
	if t.has(program.BufMergeSeed) {
		seeds := make([]float32, len(s.Adapters))
		for i, a := range s.Adapters {
			seeds[i] = peft.MergeSeed(a, s.PeftSeed, t.state.Restarts)
		}
		if err := t.set(program.BufMergeSeed, seeds); err != nil {
			return 0, err
		}
	}
	if err := t.run(program.SegMerge); err != nil {
		return 0, err
	}
	norm := func(name string) float64 {
		if err != nil || !t.has(name) {
			return 0
		}
		var v []float32
		v, err = t.get(name)
		square := 0.0
		for _, x := range v {
			square += float64(x) * float64(x)
		}
		return math.Sqrt(square)
	}
	product, rest := norm(program.BufMerged), norm(program.BufMergeLost)
	if last {
		for _, a := range s.Adapters {
			rest = math.Hypot(rest, norm(program.BufRemainder(a.Target.ID)))
		}
	}
	if err != nil || !metrics.Finite(product) || !metrics.Finite(rest) { // what is not finite ends the next step, with its name
		return 0, err
	}
	t.countMerge(product, rest)
	return trainstate.Merges{Product: product, Lost: rest}.Error(), nil
}

// countMerge adds the norms of a merge to those of the merges before.
func (t *trainer) countMerge(product, lost float64) {
	m := &t.state.Merges
	m.Product, m.Lost = math.Hypot(m.Product, product), math.Hypot(m.Lost, lost)
}

// restart merges the ReLoRA adapters and gives them new values. It gives the error of the merge.
func (t *trainer) restart() (lost float64, err error) {
	if lost, err = t.merge(false); err != nil {
		return 0, err
	}
	t.state.Restarts++
	for _, p := range peft.Params(t.stage.Adapters) {
		if err := t.restartAdapter(p); err != nil {
			return 0, err
		}
	}
	return lost, nil
}

// restartAdapter gives a parameter of an adapter a new value. Its moments begin again, but for what pruning leaves: then the
// optimizer goes on counting its updates.
func (t *trainer) restartAdapter(p ops.Param) error {
	s := t.stage
	moments := map[string][]float32{}
	if s.Peft.Prunes() {
		var kept []bool
		for _, x := range s.States(p) {
			if x.Copy || !x.Type.Shape.Equal(p.Shape) {
				continue
			}
			v, err := t.get(x.Buffer(p.ID))
			if err != nil {
				return err
			}
			if kept == nil {
				kept = s.Peft.Kept(p, v, s.PeftSeed, t.state.Restarts)
			}
			for i, k := range kept {
				if !k {
					v[i] = 0
				}
			}
			moments[x.Name] = v
		}
	}
	if len(moments) == 0 {
		t.state.OptimizerSteps[p.ID] = 0
	}
	return t.setWith(p, peft.Init(p, s.PeftSeed, t.state.Restarts), moments)
}
