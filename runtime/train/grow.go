package train

import (
	"context"
	"fmt"

	"stepflow/ops"
	"stepflow/ops/llama"
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
	oldParams := llama.Declare(s.From.Model, s.From.LayerIDs())
	f := watch(folder, oldParams, s.DType)
	defer func() { t.flaw = f.flaw }()
	byID := map[string]ops.Param{}
	for _, p := range oldParams {
		byID[p.ID] = p
	}
	for _, p := range s.Params {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if o, ok := byID[p.ID]; ok {
			v, err := f.Float32(o.Name)
			if err == nil {
				err = t.setWeight(p.ID, v)
			}
			if err == nil && !s.Frozen[p.ID] && old.OptimizerSteps[p.ID] > 0 {
				err = t.restoreState(opt, p.ID)
				t.state.OptimizerSteps[p.ID] = old.OptimizerSteps[p.ID]
			}
			if err != nil {
				return err
			}
			continue
		}
		suffix := p.ID[len(s.Layers[p.Layer].ID)+1:]
		v, err := s.Grow.Value(p, s.Layers[p.Layer].From, func(layer int) ([]float32, error) {
			return f.Float32(llama.LayerPrefix(layer) + suffix)
		})
		if err != nil {
			return fmt.Errorf("growing %s: %w", p.Name, err)
		}
		if err := t.setWeight(p.ID, v); err != nil {
			return err
		}
	}
	t.state.Data, t.state.Position, t.state.Seam = old.Data, old.Position, old.Seam
	return nil
}
