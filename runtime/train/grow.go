package train

import (
	"context"

	"stepflow/ops"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/trainstate"
)

// grow streams the old model's tensors into the new program, one at a time: the old program is not
// in memory any more.
func (t *trainer) grow(ctx context.Context, dir string) error {
	s := t.stage
	old, err := trainstate.Read(dir)
	if err != nil {
		return err
	}
	folder, opt, err := openStage(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	defer opt.Close()
	f := forward.Watch(folder, s.From.Params, s.DType)
	defer func() { t.flaw = f.Flaw }()
	for _, p := range s.Params {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if layer, ok := s.Growth.Solves(p); ok {
			t.progress.Now("the order of neurons and heads of layer %d that is closest to layer %d", layer, layer+1)
		}
		v, err := s.Growth.Value(ctx, p, func(o ops.Param) ([]float32, error) { return f.Float32(o.Name) })
		if err == nil {
			err = t.firstWeight(ctx, p, v)
		}
		if err == nil && !s.Frozen[p.ID] && !s.Composed[p.ID] {
			if n := s.Growth.Updates(p, old.OptimizerSteps); n > 0 || s.Growth.Unchanged(p) {
				err = t.growState(ctx, opt, p, n)
			}
		}
		if err != nil {
			return err
		}
		t.progress.Done()
	}
	t.state.Data, t.state.Position = old.Data, old.Position
	return nil
}

// growState takes over what the optimizer of the stage before kept of a parameter after n updates, 0 where its moments begin
// again. The optimizer of this stage may be another, or keep its states in another type: of what it keeps, a copy of the
// weight is taken over where there was one, and the rest with the number of updates if all of it was there. Else that begins
// again, as setWeight left it.
func (t *trainer) growState(ctx context.Context, opt *checkpoint.File, p ops.Param, n int64) error {
	begins := n == 0 || t.stage.BeginAgain(p, opt.Shape)
	switch {
	case !begins:
		t.state.OptimizerSteps[p.ID] = n
	case n > 0:
		t.begun++
	}
	for _, s := range t.states(p) {
		if begins && !s.Copy || t.stage.Lacks(p, s, opt.Shape) {
			continue
		}
		if err := t.takeState(ctx, opt, s, p); err != nil {
			return err
		}
	}
	return nil
}
