package runtime

import (
	"context"
	"fmt"
	"path/filepath"

	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
	"stepflow/runtime/train"
)

// train runs a stage to its end, or to the checkpoint after an interrupt.
func (r *runner) train(ctx context.Context, a *Action, entry *state.Block) error {
	s := a.Stage
	job, err := r.job(ctx, a, entry)
	if err != nil {
		return err
	}
	defer job.Corpus.Close()
	loaded, err := r.loadStage(ctx, s)
	if err != nil {
		return err
	}
	defer loaded.Close()
	entry.Memory = &state.Memory{Planned: s.Program.ArenaBytes, Measured: loaded.Allocated(), Vanilla: s.Vanilla.Peak,
		ByKind: s.Figures.ByKind}
	loop, err := train.Begin(ctx, r.running, job, loaded)
	if err != nil {
		return err
	}
	defer loop.Close()
	if w := r.watched(ctx, a, job.Tokenizer); w != nil {
		var names []string
		for _, e := range evaluationsOf(r.plan.Actions, s) {
			names = append(names, e.Addr.String())
		}
		loop.Watch(w, names)
	}
	r.running.Memory(ctx, train.ByteKinds, s.Figures.ByKind)
	defer r.running.Memory(ctx, train.ByteKinds, nil)
	if err := loop.Train(ctx); err != nil {
		return err
	}
	if n := loop.Specials(); n > 0 {
		r.running.Warn(ctx, "%s", SpecialsNote(n, s.Data.sources()[0].Source.SpecialIDs))
	}
	return r.finish(ctx, a, loop, entry)
}

// loadStage loads a stage's program. Where nothing is kept of the run it ends in the middle of a step: no checkpoint is
// of use to anyone.
func (r *runner) loadStage(ctx context.Context, s *Stage) (gpu.Loaded, error) {
	if r.scratch {
		return train.LoadStoppable(ctx, r.device, s.Program)
	}
	return r.device.Load(s.Program)
}

// job is what a stage's training needs. The caller closes its corpus.
func (r *runner) job(ctx context.Context, a *Action, entry *state.Block) (j train.Job, err error) {
	s := a.Stage
	j = train.Job{Stage: &s.Stage, StepFLOPs: s.Figures.StepFLOPs, Recipe: a.Recipe, Dir: filepath.Join(r.dir.Path, a.Dir()),
		Every: s.Every, Keep: s.Keep, Async: r.device.Caps().Async, Peak: r.peak,
		Data: fmt.Sprintf("%.16s %.16s %d", r.pl.ids[s.Data.Addr], r.pl.ids[s.Tokenizer.Addr], s.Seq)}
	if j.Tokenizer, err = r.tokenizer(s.Tokenizer); err != nil {
		return j, err
	}
	for _, n := range s.Data.Parts {
		j.Parts = append(j.Parts, n.Addr.String())
	}
	switch {
	case a.Verb == Resume:
		j.FromStep = a.FromStep
	case s.From != nil:
		if j.From, err = r.contentDir(s.From.Addr); err != nil {
			return j, err
		}
	}
	j.Files = func(step int) ([]checkpoint.Part, error) {
		entry.Step, entry.Steps = step, s.Steps
		return stageFiles(a, entry, j.Tokenizer, false)
	}
	j.Saved = func(int) error { return r.record(a, entry) }
	j.Copies = func(ctx context.Context, n int64) {
		if !r.counted[s.Data.Addr] {
			r.counted[s.Data.Addr] = true
			r.running.Notice(ctx, "%d documents of %s are copies of others and left out (deduplicate)", n, s.Data.Addr)
		}
	}
	j.Corpus, err = r.open(s.Data)
	return j, err
}

// stageFiles are the files of a stage's checkpoint beside tensors and the trainer's state.
func stageFiles(a *Action, entry *state.Block, tok *tokenizer.Tokenizer, done bool) ([]checkpoint.Part, error) {
	origin, err := noteOf(a, entry, done)
	if err != nil {
		return nil, err
	}
	config, err := configJSON(a.Stage.Model, tok, a.Stage.DType)
	return []checkpoint.Part{origin, checkpoint.Bytes(checkpoint.ConfigFile, config),
		checkpoint.Bytes(checkpoint.TokenizerFile, tok.JSON())}, err
}

// finish saves the stage's result.
func (r *runner) finish(ctx context.Context, a *Action, loop *train.Loop, entry *state.Block) error {
	s := a.Stage
	result, err := loop.Finish(ctx)
	if err != nil {
		return err
	}
	entry.Step, entry.Steps = s.Steps, s.Steps
	entry.Dir = filepath.Join(a.Dir(), filepath.Base(checkpoint.StepDir(loop.Dir, s.Steps)))
	entry.Values = writable(results(result))
	if median := loop.MedianSeconds(); median > 0 {
		name := rateName(rateTrain, r.plan.Caps, s.DType, s.Program, train.SegMicro, 0)
		r.dir.State.Rate(name, float64(s.Figures.StepFLOPs+s.Figures.RecomputeFLOPs)/median)
	}
	files, err := stageFiles(a, entry, loop.Tokenizer, true)
	if err == nil {
		entry.Content, err = loop.Save(ctx, files)
	}
	if err != nil {
		entry.Dir, entry.Values = "", nil
		return fmt.Errorf("saving the stage: %w; earlier checkpoints are untouched", err)
	}
	return nil
}

// results are what a stage exports once it has run.
func results(r *train.Result) map[string]any {
	values := map[string]any{"loss": r.Loss, "skipped_steps": float64(r.Skipped), "merge_difference": r.MergeDifference,
		"merge_error": r.MergeError, "held_out_documents": nil}
	if r.HeldOut != nil {
		values["held_out_documents"] = float64(*r.HeldOut)
	}
	return values
}
