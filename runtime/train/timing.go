package train

import (
	"context"
	"time"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/peft"
	"stepflow/runtime/forward"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
)

// warmUp is how many steps run before those that are timed.
const warmUp = 2

// TimedStep is a step that was timed.
type TimedStep struct {
	Start   time.Time
	Seconds float64
	Runs    []observe.SegmentRun
}

// TimeSteps runs n steps of a compiled stage with its first random weights, so that nothing has to be there but the plan,
// and times every operation. It returns ErrInterrupted where ctx ends.
func TimeSteps(ctx context.Context, s *program.Stage, d gpu.Device, n int, batch func() *fineweb.Batch) ([]TimedStep, error) {
	loaded, err := d.Load(s.Program)
	if err != nil {
		return nil, err
	}
	defer loaded.Close()
	t := newTrainer(s, loaded, nil)
	t.state.OptimizerSteps = map[string]int64{}
	if err := forward.SetConstants(loaded, s.Program, s.Model, s.Seq); err != nil {
		return nil, err
	}
	set := func(p ops.Param, v []float32) error {
		if s.Composed[p.ID] {
			a := *t.adapterOf(p)
			return t.setParts(a, peft.Draw(a, s.PeftSeed), peft.Begin(a, s.PeftSeed))
		}
		return t.setWeight(p, v)
	}
	if err := t.startRandom(ctx, set); ctx.Err() != nil {
		return nil, observe.ErrInterrupted
	} else if err != nil {
		return nil, err
	}
	if err := t.startAdapters(ctx); err != nil {
		return nil, err
	}
	var list []TimedStep
	for step := 1; step <= warmUp+n; step++ {
		if ctx.Err() != nil {
			return nil, observe.ErrInterrupted
		}
		f := &flight{step: step, batch: batch(), timed: true}
		start := time.Now()
		if err := t.backpropagate(f); err != nil {
			return nil, err
		}
		if err := t.update(f); err != nil {
			return nil, err
		}
		if _, _, err := f.read(); err != nil {
			return nil, err
		}
		if step > warmUp {
			list = append(list, TimedStep{start, time.Since(start).Seconds(), f.runs})
		}
	}
	return list, nil
}
