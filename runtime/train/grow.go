package train

import (
	"context"

	"stepflow/ops"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
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
		v, err := s.Growth.Value(p, func(o ops.Param) ([]float32, error) { return f.Float32(o.Name) })
		if err == nil {
			err = t.setWeight(p.ID, v)
		}
		if n := s.Growth.Updates(p, old.OptimizerSteps); err == nil && n > 0 && !s.Frozen[p.ID] {
			t.state.OptimizerSteps[p.ID] = n
			err = t.growState(opt, p)
		}
		if err != nil {
			return err
		}
	}
	t.state.Data, t.state.Position, t.state.Seam = old.Data, old.Position, old.Seam
	return nil
}

// growState gives each buffer of a parameter's optimizer state its first value.
func (t *trainer) growState(opt *checkpoint.File, p ops.Param) error {
	for _, buffer := range []func(id string) string{program.BufM, program.BufV, program.BufMaster} {
		if !t.has(buffer(p.ID)) {
			continue
		}
		v, err := t.stage.Growth.State(p, func(o ops.Param) ([]float32, error) { return opt.Float32(buffer(o.ID)) })
		if err == nil {
			err = t.set(buffer(p.ID), v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
