package runtime

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// ErrInterrupted says that a run stopped at a checkpoint because it was asked to.
var ErrInterrupted = errors.New("interrupted")

// prefetchAhead is how many batches are packed ahead of the step that needs them.
const prefetchAhead = 4

// train runs a stage to its end, or to the checkpoint after an interrupt.
func (r *runner) train(ctx context.Context, a *Action, entry *state.Block) error {
	s := a.Stage
	root := filepath.Join(r.dir.Path, a.Dir())
	tok, err := r.tokenizer(s.Tokenizer)
	if err != nil {
		return err
	}
	corpus, err := r.open(s.Data)
	if err != nil {
		return err
	}
	defer corpus.Close()
	load := r.device.Load
	if r.scratch { // no checkpoint of it is of use to anyone
		load = r.loadStoppable
	}
	loaded, err := load(s.Program)
	if err != nil {
		return err
	}
	defer loaded.Close()
	entry.Memory = &state.Memory{Planned: s.Program.ArenaBytes, Measured: loaded.Allocated(), Vanilla: s.Vanilla.Peak, ByKind: s.Figures.ByKind}
	t := &trainer{stage: s, loaded: loaded, tok: tok}
	if err := setConstants(loaded, s.Program, s.Model, s.Seq); err != nil {
		return err
	}
	if err := r.begin(ctx, a, t, root); err != nil {
		return err
	}
	debug.FreeOSMemory() // what making or reading the weights took; the steps fill the arena now
	stream, err := corpus.Stream(fineweb.Train, tok, s.Seq, t.state.Position)
	if err != nil {
		return err
	}
	before := t.state.Seam
	t.state.Seam = nil
	if s.Grow != nil && t.state.Step == 0 && before != nil {
		if err := t.cut(r.ctx, func() error { return r.seam(a, t, corpus, before) }); err != nil {
			return err
		}
	}
	if t.steps, err = metrics.Open(root, t.state.Step); err != nil {
		return err
	}
	defer t.steps.Close()
	if w := r.watched(a, tok); w != nil {
		stream.Watch(w)
		n := t.steps.Last.HeldOut
		t.heldOut = &n
	}
	r.obs.memory(ctx, a, s.Figures.ByKind)
	defer r.obs.memory(ctx, a, nil)
	err = r.obs.inside(ctx, tracing.SpanTrain, a, func(ctx context.Context) error { return r.steps(ctx, a, t, stream, root, entry) })
	if err != nil {
		return err
	}
	return r.finish(ctx, a, t, corpus, root, entry)
}

// begin loads the latest checkpoint, or makes the first weights.
func (r *runner) begin(ctx context.Context, a *Action, t *trainer, root string) error {
	s := t.stage
	if a.Verb == Resume {
		return r.obs.inside(ctx, tracing.SpanRestore, a, func(context.Context) error { return t.restore(r.ctx, checkpoint.StepDir(root, a.FromStep)) })
	}
	from := ""
	if s.From != nil {
		var err error
		if from, err = r.contentDir(s.From.Addr); err != nil {
			return err
		}
	}
	err := r.obs.inside(ctx, tracing.SpanGrow, a, func(context.Context) error { return t.start(r.ctx, from) })
	if key := r.dataKey(a); t.state.Data != key { // other data than the stage before: from their start
		t.state.Data, t.state.Position = key, fineweb.Position{}
	}
	t.state.Recipe = a.Recipe
	if err == nil && t.flaw.count > 0 {
		r.obs.event(Event{Kind: Warned, Action: a, Message: fmt.Sprintf("the stage starts from weights of which %s", t.flaw.String())})
	}
	return err
}

// dataKey identifies what a position in the data means.
func (r *runner) dataKey(a *Action) string {
	s := a.Stage
	return fmt.Sprintf("%.16s %.16s %d", r.pl.ids[s.Data.Addr], r.pl.ids[s.Tokenizer.Addr], s.Seq)
}

// probeKey identifies the batch whose loss is compared across a seam.
func probeKey(t *trainer) string {
	return fmt.Sprintf("%s %d %+v", t.state.Data, t.stage.Micro, t.state.Position)
}

// feedProbe puts the next micro-batch into the input buffers without moving on.
func feedProbe(t *trainer, c *fineweb.Set) error {
	st, err := c.Stream(fineweb.Train, t.tok, t.stage.Seq, t.state.Position)
	if err != nil {
		return dataError{err}
	}
	st.Endless() // the last step may have used the data up
	b, err := st.Next(t.stage.Micro)
	if err != nil {
		return dataError{err}
	}
	return feed(t.loaded, t.stage.Program, b, 0, t.stage.Micro, t.stage.Seq)
}

func mean(nll []float32) float64 {
	var s float64
	n := 0
	for _, x := range nll {
		if x != 0 { // ignored positions are exactly 0
			s += float64(x)
			n++
		}
	}
	return s / float64(max(n, 1))
}

// seam compares the loss before and after growth on one batch.
func (r *runner) seam(a *Action, t *trainer, c *fineweb.Set, before *Seam) error {
	if before.Probe != probeKey(t) {
		return nil
	}
	if err := feedProbe(t, c); err != nil {
		return err
	}
	nll, err := t.probe()
	if err != nil {
		return err
	}
	r.obs.notice(a, "grown from %d to %d layers: loss on the next micro-batch %.4f before, %.4f after", len(t.stage.From.Layers), len(t.stage.Layers), before.Loss, mean(nll))
	return nil
}

// steps is the training loop. On a device that works while the host goes on, the batch of step n+1 and its
// forward and backward passes are put behind step n before its loss is read.
func (r *runner) steps(ctx context.Context, a *Action, t *trainer, stream *fineweb.Mix, root string, entry *state.Block) error {
	s := t.stage
	fetch, stop := context.WithCancel(r.ctx)
	batches := stream.Prefetch(fetch, s.Batch, prefetchAhead)
	defer func() {
		stop()
		for r.ctx.Err() == nil { // until it has ended: the corpus serves one goroutine at a time
			select {
			case _, ok := <-batches:
				if !ok {
					return
				}
			case <-r.ctx.Done(): // nothing is read any more
			}
		}
	}()
	sample := &sampler{first: t.state.Step + 1, last: s.Steps, every: r.obs.every}
	lastSkipped, specials := int64(0), int64(0)
	r.lately = nil
	async := r.device.Caps().Async
	// On a device that does not work ahead timing costs nothing to speak of: all steps are timed, so that a slow one
	// can be looked into.
	timed := func(step int) bool { return r.obs.trace.On() && (!async || sample.reason(step) != "") }
	var ahead *flight
	for t.state.Step < s.Steps {
		if r.ctx.Err() != nil {
			return r.saved(ctx, a, t, root, entry, ErrInterrupted)
		}
		start := time.Now()
		f, step := ahead, t.state.Step+1
		ahead = nil
		if f == nil {
			var err error
			if f, err = t.begin(r.ctx, batches, step, timed(step)); err != nil {
				return r.saved(ctx, a, t, root, entry, err)
			}
		}
		if err := t.update(f); err != nil {
			return err
		}
		var aheadErr error
		if async && step < s.Steps && !f.timed && !timed(step+1) && !s.restartAfter(step) && r.ctx.Err() == nil {
			ahead, aheadErr = t.begin(r.ctx, batches, step+1, false)
		}
		loss, norm, err := f.read()
		if err != nil {
			return err
		}
		b := f.batch
		if !finite(loss) || !finite(norm) {
			if !s.Skip || finite(norm) {
				r.obs.failed(a, r.numbers(s, f, loss, norm, time.Since(start)), f, start, t.loaded.Allocated())
				return r.nonFinite(a, t, b, step, loss, norm, root)
			}
			t.state.Skipped++
			r.obs.event(Event{Kind: Warned, Action: a, Message: fmt.Sprintf("step %d has loss %s and gradient norm %s: skipped, no weight was changed (%d so far). Its batch: %s", step, metrics.Text(loss), metrics.Text(norm), t.state.Skipped, batchOf(a, b, step))})
		} else {
			if mean, yes := spike(loss, t.state.LastLosses); yes {
				r.obs.event(Event{Kind: Warned, Action: a, Message: fmt.Sprintf("step %d has loss %.3f, the %d steps before it %.3f on average. Its batch: %s", step, loss, meanOf, mean, batchOf(a, b, step))})
			}
			for _, p := range s.Trainable() {
				t.state.OptimizerSteps[p.ID]++
			}
			t.state.LastLosses = append(t.state.LastLosses, loss)
			if n := len(t.state.LastLosses); n > meanOf {
				t.state.LastLosses = t.state.LastLosses[n-meanOf:]
			}
		}
		if b.Copies > 0 && !r.counted[s.Data.Addr] {
			r.counted[s.Data.Addr] = true
			r.obs.notice(a, "%d documents of %s are copies of others and left out (deduplicate)", b.Copies, s.Data.Addr)
		}
		if b.Skipped > lastSkipped {
			r.obs.event(Event{Kind: Warned, Action: a, Message: fmt.Sprintf("%d documents passed over (on_error = \"skip\")", b.Skipped)})
			lastSkipped = b.Skipped
		}
		specials = b.Specials
		t.state.Step, t.state.Tokens, t.state.Position = step, int64(step)*s.StepTokens(), b.Cursor
		merged := 0.0
		if s.restartAfter(step) {
			if merged, err = t.restart(); err != nil {
				return err
			}
		}
		m := r.numbers(s, f, loss, norm, time.Since(start))
		if t.heldOut != nil {
			if *t.heldOut == 0 && b.Watched > 0 {
				r.warnHeldOut(a, b.Watched)
			}
			*t.heldOut += b.Watched
			m.HeldOut = *t.heldOut
		}
		m.MergeError = merged
		if r.lately = append(r.lately, m.Seconds); len(r.lately) > latelyOf {
			r.lately = r.lately[1:]
		}
		if err := t.steps.Write(m); err != nil {
			return err
		}
		r.obs.step(ctx, a, sample, m, f, start, t.loaded.Allocated(), len(batches))
		r.obs.event(Event{Kind: StepDone, Action: a, Step: &m, Steps: s.Steps, Memory: t.loaded.Allocated(), Peak: r.peak})
		if step < s.Steps && s.Every > 0 && step%s.Every == 0 {
			if err := r.checkpoint(ctx, a, t, root, entry); err != nil {
				return err
			}
		}
		if aheadErr != nil {
			return r.saved(ctx, a, t, root, entry, aheadErr)
		}
	}
	if specials > 0 {
		r.obs.event(Event{Kind: Warned, Action: a, Message: SpecialsNote(specials, s.Data.sources()[0].Source.SpecialIDs)})
	}
	return nil
}

// numbers are what is recorded of a step.
func (r *runner) numbers(s *Stage, f *flight, loss, norm float64, took time.Duration) metrics.Step {
	at, seconds := f.batch.Cursor, took.Seconds()
	m := metrics.Step{Step: f.step, Tokens: int64(f.step) * s.StepTokens(), FLOPs: int64(f.step) * s.Figures.StepFLOPs, Loss: loss, LearningRate: s.LR(f.step), GradNorm: norm,
		Seconds: seconds, TokensPerSec: float64(s.StepTokens()) / seconds, DataWait: f.wait.Seconds(), Epoch: at.Epoch, Skipped: !finite(norm)}
	for i, n := range at.Drawn {
		if m.Sources == nil {
			m.Sources = map[string]int64{}
		}
		m.Sources[s.Data.Parts[i].Addr.String()] = n * int64(s.Seq)
	}
	if r.peak > 0 {
		m.MFU = float64(s.Figures.StepFLOPs) / seconds / r.peak
	}
	return m
}

// saved keeps what was trained when the data fail or the run is asked to end, and gives the error with where a run goes on.
func (r *runner) saved(ctx context.Context, a *Action, t *trainer, root string, entry *state.Block, err error) error {
	var data dataError
	step, interrupted := t.state.Step, errors.Is(err, ErrInterrupted)
	if step == 0 || !interrupted && !errors.As(err, &data) {
		return err
	}
	if steps, err := checkpoint.Steps(root); err != nil || !slices.Contains(steps, step) {
		if e := r.checkpoint(ctx, a, t, root, entry); e != nil {
			return errors.Join(err, e)
		}
	}
	if interrupted {
		return fmt.Errorf("%w at step %d of %d", err, step, t.stage.Steps)
	}
	if errors.Is(err, fineweb.ErrChanged) {
		return fmt.Errorf("%w. Step %d of %d is saved: with the file as it was, apply goes on from there", err, step, t.stage.Steps)
	}
	return fmt.Errorf("%w. Step %d of %d is saved: apply goes on from there", err, step, t.stage.Steps)
}

// checkpoint saves the running stage and drops the oldest checkpoints beyond keep.
func (r *runner) checkpoint(ctx context.Context, a *Action, t *trainer, root string, entry *state.Block) error {
	dir := checkpoint.StepDir(root, t.state.Step)
	entry.Step, entry.Steps = t.state.Step, t.stage.Steps
	if _, err := r.save(ctx, a, t, dir, entry, false); err != nil {
		return fmt.Errorf("saving step %d: %w; earlier checkpoints are untouched", t.state.Step, err)
	}
	if err := r.record(a, entry); err != nil {
		return err
	}
	r.obs.event(Event{Kind: Saved, Action: a, Message: dir, Step: &metrics.Step{Step: t.state.Step}})
	return prune(root, t.stage.Keep)
}

// save writes a checkpoint under the eyes of the observer.
func (r *runner) save(ctx context.Context, a *Action, t *trainer, dir string, entry *state.Block, last bool) (id string, err error) {
	start := time.Now()
	origin, err := noteOf(a, entry, last)
	if err != nil {
		return "", err
	}
	err = r.obs.inside(ctx, tracing.SpanCheckpoint, a, func(context.Context) error {
		if err := t.steps.Sync(); err != nil { // a run that goes on from here does not write them again
			return err
		}
		id, err = t.save(dir, origin, last)
		return err
	}, tracing.KV{Key: tracing.StepNumber, Value: t.state.Step})
	r.obs.trace.Record(ctx, tracing.MetricCheckpoint, time.Since(start).Seconds(), tracing.KV{Key: tracing.Stage, Value: a.Addr.String()})
	return id, err
}

// prune removes all but the latest checkpoints, once the newest is durable.
func prune(root string, keep int) error {
	steps, err := checkpoint.Steps(root)
	if err != nil {
		return err
	}
	for _, s := range steps[min(keep, len(steps)):] {
		if err := os.RemoveAll(checkpoint.StepDir(root, s)); err != nil {
			return err
		}
	}
	return nil
}

// finish merges the adapters, measures what that changed, and saves the stage's result.
func (r *runner) finish(ctx context.Context, a *Action, t *trainer, c *fineweb.Set, root string, entry *state.Block) error {
	if r.ctx.Err() != nil { // the corpus may still be read
		return r.saved(ctx, a, t, root, entry, ErrInterrupted)
	}
	if err := feedProbe(t, c); err != nil {
		if r.ctx.Err() != nil {
			err = ErrInterrupted
		}
		return r.saved(ctx, a, t, root, entry, err)
	}
	var before []float32
	var seam *Seam
	err := t.cut(r.ctx, func() (err error) {
		if before, err = t.probe(); err != nil {
			return err
		}
		seam = &Seam{Probe: probeKey(t), Loss: mean(before)}
		return t.unsound(fmt.Sprintf("step %d", t.state.Step), seam.Loss, root)
	})
	if err != nil {
		return r.saved(ctx, a, t, root, entry, err)
	}
	if len(t.stage.Adapters) > 0 {
		if _, err := t.merge(true); err != nil {
			return err
		}
		after, err := t.probe()
		if err != nil {
			return err
		}
		for i := range after {
			seam.MergeDifference = math.Max(seam.MergeDifference, math.Abs(float64(after[i])-float64(before[i])))
		}
		seam.Loss = mean(after)
		if err := t.unsound("merging the adapters", seam.Loss, root); err != nil {
			return err
		}
		how := ""
		if t.stage.DType == gpu.BF16 {
			how = fmt.Sprintf("; rounding to bf16 changed the weights by %.2g of what they learnt", t.state.Merges.Error())
		}
		r.obs.notice(a, "adapters merged: the loss of a token changed by %.2g at most%s", seam.MergeDifference, how)
		if e := t.state.Merges.Error(); e > coarseMerge {
			r.obs.event(Event{Kind: Warned, Action: a, Message: fmt.Sprintf("what the adapters learnt between merges is so small beside the weights that rounding to bf16 changed these by %.2g times as much. That is noise in the weights: %s", e, t.stage.lessNoise())})
		}
	}
	if t.heldOut != nil && *t.heldOut > 0 {
		r.warnHeldOut(a, *t.heldOut)
	}
	t.state.Seam = seam
	dir := checkpoint.StepDir(root, t.stage.Steps)
	entry.Step, entry.Steps = t.state.Step, t.stage.Steps
	entry.Dir = filepath.Join(a.Dir(), filepath.Base(dir))
	entry.Values = writable(results(t))
	r.trained(t.stage)
	if entry.Content, err = r.save(ctx, a, t, dir, entry, true); err != nil {
		entry.Dir, entry.Values = "", nil
		return fmt.Errorf("saving the stage: %w; earlier checkpoints are untouched", err)
	}
	return nil
}

// coarseMerge is the error of merges from which a run says what would lower it.
const coarseMerge = 0.5

// lessNoise is what would lower the error of merges.
func (s *Stage) lessNoise() string {
	if s.restarts() && !s.keepsRemainders() {
		return "merge_rounding = \"remainder\" keeps what is left over, in 2 more bytes a weight, and a longer reset_every merges more at a time"
	}
	return "train longer before the merge, or in fp32"
}

// trained notes the rate of the latest steps.
func (r *runner) trained(s *Stage) {
	if len(r.lately) == 0 {
		return
	}
	slices.Sort(r.lately)
	if median := r.lately[len(r.lately)/2]; median > 0 {
		r.dir.State.Rate(rateName(rateTrain, r.plan.Caps, s.DType, s.Program, segMicro, 0), float64(s.Figures.StepFLOPs+s.Figures.RecomputeFLOPs)/median)
	}
}

// results are what a stage exports once it has run.
func results(t *trainer) map[string]any {
	ts := &t.state
	loss := 0.0
	for _, l := range ts.LastLosses {
		loss += l / float64(len(ts.LastLosses))
	}
	if len(ts.LastLosses) == 0 { // every step was skipped
		loss = math.NaN()
	}
	return map[string]any{"loss": loss, "skipped_steps": float64(ts.Skipped), "merge_difference": ts.Seam.MergeDifference, "merge_error": ts.Merges.Error(), "held_out_documents": t.counted()}
}

// counted is how many documents were trained on that an evaluation measures; nil where that is not known.
func (t *trainer) counted() any {
	if t.heldOut == nil {
		return nil
	}
	return float64(*t.heldOut)
}
