package stage

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"stepflow/fineweb"
	bpe "stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/runtime/train"
)

// Run trains the stage to its end, or to the checkpoint after an interrupt. A stage that is imported does not train. Several ranks
// run it together: where one fails, all do.
func (s *Stage) Run(ctx context.Context, r *blocks.Run) error {
	return train.Agree(r.Comm, s.run(ctx, r))
}

// writes reports whether this rank writes what is written once.
func writes(r *blocks.Run) bool { return r.Comm == nil || r.Comm.Rank() == 0 }

func (s *Stage) run(ctx context.Context, r *blocks.Run) error {
	tok, err := s.Tokenizer.Load(r.Result)
	if err != nil {
		return err
	}
	if s.Imported != nil {
		if !writes(r) {
			return nil
		}
		return s.bringIn(ctx, r, tok)
	}
	corpus, err := s.open(ctx, tok)
	if err != nil {
		return err
	}
	defer corpus.Close()
	job, err := s.job(r, tok, corpus)
	if err != nil {
		return err
	}
	if job.Before, err = train.Before(ctx, r.Device, job, s.startProgram); err != nil {
		return err
	}
	loaded, err := s.load(ctx, r)
	if err == nil {
		defer loaded.Close()
	}
	if err = train.Agree(r.Comm, err); err != nil {
		return err
	}
	f := &s.Figures
	r.Entry.Memory = &state.Memory{Planned: s.Program.ArenaBytes, Measured: loaded.Allocated(), Vanilla: s.Vanilla.Peak,
		ByKind: f.ByKind}
	loop, err := train.Begin(ctx, r.Observe, job, loaded)
	if err != nil {
		return err
	}
	defer loop.Close()
	if w, names := s.watched(ctx, r, tok); w != nil {
		loop.Watch(w, names)
	}
	r.Observe.Memory(ctx, program.ByteKinds, f.ByKind)
	defer r.Observe.Memory(ctx, program.ByteKinds, nil)
	if err := loop.Train(ctx); err != nil {
		return err
	}
	if s.Tune != nil {
		truncated, masked := loop.Cut()
		for _, note := range s.Tune.notes(truncated, masked, loop.Specials(), s.Seq) {
			r.Observe.Warn(ctx, "%s", note)
		}
	} else if n := loop.Specials(); n > 0 {
		r.Observe.Warn(ctx, "%s", data.SpecialsNote(n, s.Data.InFiles()[0].Source.SpecialIDs))
	}
	return s.finish(ctx, r, loop, tok)
}

// load loads the program. A run whose results are not kept may be stopped in the middle of a launch.
func (s *Stage) load(ctx context.Context, r *blocks.Run) (gpu.Loaded, error) {
	if r.Scratch {
		return forward.LoadStoppable(ctx, r.Device, s.Program)
	}
	return r.Device.Load(s.Program)
}

// job returns what the training loop needs.
func (s *Stage) job(r *blocks.Run, tok *bpe.Tokenizer, corpus *fineweb.Set) (train.Job, error) {
	id := r.World.ID
	j := train.Job{Stage: &s.Stage, StepFLOPs: s.Figures.StepFLOPs, Recipe: r.Recipe, Dir: r.Folder(), FromStep: r.From,
		Every: s.Every, Keep: s.Keep,
		Evaluations: s.measuring(tok), Ending: s.Ending, Best: s.Best,
		Comm: r.Comm, Tokenizer: tok, Corpus: corpus, Parts: s.Data.Names(), Async: r.Device.Caps().Async,
		Peak: s.peak(r, r.Device.PeakFLOPs(s.DType)),
		Data: fmt.Sprintf("%.16s %.16s %d", id(s.Data.Addr), id(s.Tokenizer.Addr), s.Seq)}
	if s.Tune != nil {
		j.Data += " " + s.Tune.identity()
	}
	if s.Before != nil && r.From == 0 {
		var err error
		if j.From, err = r.Result(s.Before.Addr); err != nil {
			return j, err
		}
	}
	j.Files = func(step int) ([]checkpoint.Part, error) {
		r.Entry.Step, r.Entry.Steps = step, s.Steps
		return s.files(r, tok, false)
	}
	j.Saved = func(int) error { return r.Record() }
	j.LeftOut = func(ctx context.Context, copies, contaminated int64) {
		if !r.Shared.Counted[s.Data.Addr] {
			r.Shared.Counted[s.Data.Addr] = true
			for _, sentence := range s.Data.LeftOut(copies, contaminated) {
				r.Observe.Notice(ctx, "%s", sentence)
			}
		}
	}
	return j, nil
}

// peak notes a rate of the device, and returns the highest that the state knows of; 0 where none is known.
func (s *Stage) peak(r *blocks.Run, rate float64) float64 {
	if rate > 0 {
		r.Note(func(st *state.State) { rate = st.RateAtLeast(blocks.PeakRate(r.Device.Caps(), s.DType), rate) })
	}
	return rate
}

// files returns the files of a checkpoint beside tensors and the trainer's state.
func (s *Stage) files(r *blocks.Run, tok *bpe.Tokenizer, result bool) ([]checkpoint.Part, error) {
	origin, err := results.NoteOf(r.Addr, r.Entry, result)
	if err != nil {
		return nil, err
	}
	config, err := s.configParts(tok)
	if len(s.Adapters) > 0 && (!result || s.KeepApart) { // else a result has them merged
		adapters, err := json.MarshalIndent(s.Peft.Config(s.Adapters), "", "  ")
		if err != nil {
			return nil, err
		}
		config = append(config, checkpoint.Bytes(checkpoint.AdapterConfigFile, append(adapters, '\n')))
	}
	return append([]checkpoint.Part{origin}, config...), err
}

// configParts returns the files that say what model and what tokens the weights are of, and how to talk with a tuned one.
func (s *Stage) configParts(tok *bpe.Tokenizer) ([]checkpoint.Part, error) {
	config, err := model.ConfigJSON(s.Model, tok, s.DType)
	if err != nil {
		return nil, err
	}
	parts := []checkpoint.Part{checkpoint.Bytes(checkpoint.ConfigFile, config),
		checkpoint.Bytes(checkpoint.TokenizerFile, tok.JSON())}
	if s.Tune == nil { // its recipe says nothing of a template
		return parts, nil
	}
	files, err := s.Tune.chat.Files(tok)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		parts = append(parts, checkpoint.Bytes(name, files[name]))
	}
	return parts, err
}

// finish ends the training and saves the stage's result.
func (s *Stage) finish(ctx context.Context, r *blocks.Run, loop *train.Loop, tok *bpe.Tokenizer) error {
	result, err := loop.Finish(ctx)
	if err != nil {
		return err
	}
	if !writes(r) {
		_, err := loop.Save(ctx, nil)
		return err
	}
	e := r.Entry
	e.Step, e.Steps = result.Step, s.Steps
	e.Dir = filepath.Join(results.Folder(r.Addr), filepath.Base(checkpoint.StepDir("", result.Step)))
	e.Values = blocks.Writable(s.valuesOf(result))
	if median := loop.MedianSeconds(); median > 0 {
		name := work.Rate(r.World.Caps, s.DType, s.Program, program.SegMicro, 0)
		rate := float64(s.Figures.StepFLOPs+s.Figures.RecomputeFLOPs) / float64(max(s.Ranks, 1)) / median // of one device
		r.Note(func(st *state.State) { st.Rate(name, rate) })
	}
	s.peak(r, loop.Peak)
	files, err := s.files(r, tok, true)
	if err == nil {
		e.Content, err = loop.Save(ctx, files)
	}
	if err != nil {
		e.Dir, e.Values = "", nil
		return fmt.Errorf("saving the stage: %w; earlier checkpoints are untouched", err)
	}
	return nil
}

// valuesOf returns the values of the stage after it has run.
func (s *Stage) valuesOf(x *train.Result) map[string]any {
	var held any // null if unknown
	if x.HeldOut != nil {
		held = float64(*x.HeldOut)
	}
	values := map[string]any{"loss": x.Loss, "skipped_steps": float64(x.Skipped), "merge_difference": x.MergeDifference,
		"merge_error": x.MergeError, "held_out_documents": held}
	if len(s.MergedApart()) > 0 || len(s.Composed) > 0 || s.KeepApart {
		values["merge_difference"] = nil // the device never holds the merged model, or there is none
	}
	if s.decides() {
		values["result_step"] = float64(x.Step)
	}
	if x.Ended != "" {
		values[blocks.Ended] = x.Ended
	}
	return values
}
