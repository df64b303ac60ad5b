package train

import (
	"context"
	"path/filepath"

	"stepflow/ops"
	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
	"stepflow/runtime/trainstate"
)

// openStage opens the model and the optimizer state of a checkpoint.
func openStage(dir string) (*checkpoint.Folder, *checkpoint.File, error) {
	f, err := checkpoint.OpenFolder(dir)
	if err != nil {
		return nil, nil, err
	}
	opt, err := checkpoint.Open(filepath.Join(dir, checkpoint.OptimizerFile))
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, opt, nil
}

// stored is a checkpoint of a stage: a folder, or the files in one whose names begin with prefix.
type stored struct{ dir, prefix string }

func (c stored) path(name string) string { return filepath.Join(c.dir, c.prefix+name) }

// restore loads a checkpoint of this very stage.
func (t *trainer) restore(ctx context.Context, from stored) error {
	s := t.stage
	ts, err := trainstate.ReadFile(from.path(checkpoint.TrainerFile))
	if err != nil {
		return err
	}
	t.state = *ts
	f, err := checkpoint.Open(from.path(checkpoint.ModelFile))
	if err != nil {
		return err
	}
	defer f.Close()
	opt, err := checkpoint.Open(from.path(checkpoint.OptimizerFile))
	if err != nil {
		return err
	}
	defer opt.Close()
	set := func(p ops.Param, v []float32) error {
		if s.Stored(p).Quantized() {
			return t.restoreStored(opt, p)
		}
		return t.set(p.ID, v)
	}
	if err := forward.Fill(ctx, s.Dense(), "", f, set); err != nil {
		return err
	}
	if len(s.Adapters) > 0 {
		ad, err := checkpoint.Open(from.path(checkpoint.AdapterFile))
		if err != nil {
			return err
		}
		defer ad.Close()
		if err := forward.Fill(ctx, peft.Params(s.Adapters), checkpoint.AdapterPrefix, ad, set); err != nil {
			return err
		}
		if err := t.restorePlaces(ad); err != nil {
			return err
		}
	}
	if err := t.restoreFirst(opt); err != nil {
		return err
	}
	for _, p := range s.Trainable() {
		if err := t.restoreState(opt, p); err != nil {
			return err
		}
	}
	for _, a := range s.Adapters {
		name := program.BufRemainder(a.Target.ID)
		if !t.has(name) {
			continue
		}
		v, err := opt.Float32(name)
		if err == nil {
			err = t.set(name, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
