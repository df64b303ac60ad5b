package train

import (
	"context"
	"errors"
	"runtime/debug"
	"slices"
	"time"

	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
	"stepflow/runtime/trainstate"
	"stepflow/runtime/words"
	"stepflow/tracing"
)

// prefetchAhead is how many batches are packed ahead of the step that needs them.
const prefetchAhead = 4

// recentOf is how many steps the rate of a stage is told by.
const recentOf = 50

// Job is a stage to train, and what its training needs beside it.
type Job struct {
	Stage     *program.Stage   // compiled
	StepFLOPs int64            // of its program
	Recipe    string           // is written into its checkpoints
	Dir       string           // of its checkpoints and of the metrics of its steps
	FromStep  int              // the step of the checkpoint that it goes on from; 0 where it starts
	From      string           // folder of the result of Stage.From, where it starts from that
	Before    *trainstate.Seam // what Before returns
	Every     int              // steps between checkpoints; 0 for none on the way
	Keep      int              // checkpoints that stay while it runs

	Tokenizer *tokenizer.Tokenizer
	Corpus    *fineweb.Set
	Data      string   // identity of what a position in the data means
	Parts     []string // addresses of the data that Corpus mixes

	Evaluations []*Evaluation // between steps
	Ending      *Ending       // when it ends before its last step; nil for never
	Best        *Value        // the result is the model with the best; nil for the last

	Comm  gpu.Communicator // of the ranks that train it together, which the device has joined; nil for one alone
	Async bool             // the device works while the host goes on
	Peak  float64          // of the device in FLOP/s, the highest that was measured; 0 where that is not known

	// Files returns what a checkpoint on the way holds beside tensors and the trainer's state. The first says where it
	// comes from.
	Files func(step int) ([]checkpoint.Part, error)
	// Saved records a checkpoint on the way, once it is whole.
	Saved func(step int) error
	// LeftOut is told, once, how many documents are left out as copies of others, and how many because they share n-grams
	// with what is kept out of the training data.
	LeftOut func(ctx context.Context, copies, contaminated int64)
}

// Loop trains a stage: Begin, Watch, Train, Finish and Save, in this order.
type Loop struct {
	Job
	*trainer
	block    *observe.Block
	stream   *fineweb.Mix
	metrics  *metrics.Writer
	heldOut  *int64   // documents trained on that an evaluation measures; nil where none are counted
	measured []string // evaluations that measure them
	watch    *observe.Steps
	recent   []float64          // seconds of the latest steps
	passed   int64              // documents that could not be read and were passed over
	counted  trainstate.Counted // in the data, before this run went on
	told     bool               // LeftOut was called
	best     stored             // the checkpoint with the best value, where it is not the state of now
}

// Begin loads the checkpoint that the job goes on from, or makes the first weights. A caller closes the loop, and then
// what was loaded.
func Begin(ctx context.Context, b *observe.Block, j Job, loaded gpu.Loaded) (*Loop, error) {
	s := j.Stage
	l := &Loop{Job: j, block: b, trainer: newTrainer(s, loaded, j.Comm)}
	l.tok = j.Tokenizer
	if err := together(j.Comm, s.Program); err != nil {
		return nil, err
	}
	if err := l.agree(l.ready(ctx)); err != nil {
		return nil, errors.Join(err, l.metrics.Close())
	}
	return l, nil
}

// ready makes the loop ready for its first step.
func (l *Loop) ready(ctx context.Context) error {
	j, s, loaded := &l.Job, l.stage, l.loaded
	if err := forward.SetConstants(loaded, s.Program, s.Model, s.Seq); err != nil {
		return err
	}
	if err := l.weights(ctx); err != nil {
		return err
	}
	debug.FreeOSMemory() // what making or reading the weights took; the steps fill the arena now
	var err error
	if l.stream, err = j.Corpus.Stream(fineweb.Train, j.Tokenizer, s.Seq, l.state.Position); err != nil {
		return err
	}
	l.counted = l.state.Counted
	l.state.Seam = nil
	if l.Before != nil {
		if err := l.cut(ctx, func() error { return l.compareSeam(ctx) }); err != nil {
			return err
		}
	}
	if l.first() {
		l.metrics, err = metrics.Open(j.Dir, l.state.Step)
	} else {
		l.metrics, err = metrics.Follow(j.Dir, l.state.Step)
	}
	return err
}

// weights restores the weights and the state, or makes the first ones.
func (l *Loop) weights(ctx context.Context) error {
	if l.FromStep > 0 {
		dir := checkpoint.StepDir(l.Dir, l.FromStep)
		err := l.resume(ctx, stored{dir: dir})
		l.remember(dir)
		return err
	}
	err := l.block.Inside(ctx, tracing.SpanGrow, func(ctx context.Context) error {
		l.progress = l.block.Progress(ctx, "making the first weights", len(l.stage.Params))
		defer l.progress.End()
		return l.start(ctx, l.From)
	})
	if l.state.Data != l.Data { // other data than the stage before: from their start
		l.state.Data, l.state.Position = l.Data, fineweb.Position{}
	}
	l.state.Recipe = l.Recipe
	if err == nil && l.flaw.Found() {
		l.block.Warn(ctx, "the stage starts from weights of which %s", l.flaw.String())
	}
	if err == nil {
		l.tellTaken(ctx)
		l.tellDecomposed(ctx)
		l.tellStored(ctx)
	}
	if l.begun > 0 {
		l.block.Notice(ctx, "the moments of %s begin again: the stage before has them of another optimizer or rank",
			words.Plural(l.begun, "parameter"))
	}
	return err
}

// resume loads a checkpoint. It may be that of another stage of the same course, which this one goes on from, by other rules.
func (l *Loop) resume(ctx context.Context, from stored) error {
	err := l.block.Inside(ctx, tracing.SpanRestore, func(ctx context.Context) error { return l.restore(ctx, from) })
	l.state.Recipe = l.Recipe
	if l.Ending == nil {
		l.state.Ending = nil
	}
	if l.Best == nil {
		l.state.Best = nil
	}
	return err
}

// Watch counts the documents trained on that the evaluations named measure.
func (l *Loop) Watch(w *fineweb.Watched, evaluations []string) {
	l.stream.Watch(w)
	n := l.metrics.Last.HeldOut
	l.heldOut, l.measured = &n, evaluations
}

// Specials is how many special tokens stand in the documents that were trained on.
func (l *Loop) Specials() int64 { return l.state.Counted.Specials }

// Cut is how many conversations were longer than a sequence, and how many were left out since nothing of them counts.
func (l *Loop) Cut() (truncated, masked int64) {
	return l.state.Counted.Truncated, l.state.Counted.Masked
}

// Close closes the file of metrics, and those that evaluations read.
func (l *Loop) Close() error {
	errs := []error{l.metrics.Close()}
	for _, e := range l.Evaluations {
		errs = append(errs, e.Close())
	}
	return errors.Join(errs...)
}

// Train runs the steps that are left. An error of the data, or ErrInterrupted where ctx ends, comes after a checkpoint.
func (l *Loop) Train(ctx context.Context) error {
	if err := l.block.Inside(ctx, tracing.SpanTrain, l.steps); err != nil {
		return l.agree(err)
	}
	return nil
}

// steps is the training loop. On a device that works while the host goes on, the batch of step n+1 and its
// forward and backward passes are queued after step n before its loss is read.
func (l *Loop) steps(ctx context.Context) error {
	if err := l.agree(l.prepare(ctx)); err != nil {
		return l.keep(ctx, err)
	}
	known := l.isBest()
	if err := l.agree(l.evaluate(ctx, l.metrics.Made)); err != nil { // what an interrupt kept from being made, or before the first step
		return l.keep(ctx, err)
	}
	if !known && l.isBest() && !l.over() { // its checkpoint was saved before that was known
		if err := l.checkpoint(ctx); err != nil {
			return err
		}
	}
	batches, stop := l.prefetch(ctx)
	defer stop()
	l.watch = l.block.Steps(ctx, l.stage.Work(), l.state.Step+1)
	var ahead *flight
	var aheadErr error
	for !l.over() {
		if ctx.Err() != nil && l.comm == nil { // else the ranks agree on it when they begin a step
			return l.keep(ctx, observe.ErrInterrupted)
		}
		start, f := time.Now(), ahead
		if f == nil {
			step := l.state.Step + 1
			var err error
			if f, err = l.begin(ctx, batches, step, l.timed(step)); err != nil {
				return l.keep(ctx, err)
			}
		}
		if err := l.lost(l.update(f)); err != nil {
			return err
		}
		if ahead = nil; l.mayBegin(ctx, f) {
			ahead, aheadErr = l.begin(ctx, batches, f.step+1, false)
		}
		if err := l.complete(ctx, f, start, len(batches)); err != nil {
			return err
		}
		if aheadErr != nil {
			return l.keep(ctx, aheadErr)
		}
	}
	return nil
}

// over reports whether there is no step to come.
func (l *Loop) over() bool { return l.state.Step >= l.stage.Steps || l.Ending.ended(&l.state) }

// isBest reports whether the model of now is the best so far.
func (l *Loop) isBest() bool {
	return l.state.Best != nil && l.state.Best.Step > 0 && l.state.Best.Step == l.state.Step
}

// prefetch packs batches ahead of the steps. stop ends that.
func (l *Loop) prefetch(ctx context.Context) (batches <-chan fineweb.Prefetched, stop func()) {
	fetch, cancel := context.WithCancel(ctx)
	batches = l.stream.Prefetch(fetch, l.stage.Batch, prefetchAhead)
	return batches, func() {
		cancel()
		for ctx.Err() == nil { // until it has ended: the corpus serves one goroutine at a time
			select {
			case _, ok := <-batches:
				if !ok {
					return
				}
			case <-ctx.Done(): // nothing is read any more
			}
		}
	}
}

// timed reports whether the operations of a step are timed. On a device that does not work ahead that costs nothing to
// speak of: all steps are, so that a slow one can be looked into.
func (l *Loop) timed(step int) bool { return l.watch.On() && (!l.Async || l.watch.Chosen(step)) }

// mayBegin reports whether the step after one that is under way may be put on the device already. A fused step moves the
// weights, which is not done before the step before it has been judged.
func (l *Loop) mayBegin(ctx context.Context, f *flight) bool {
	return l.Async && !l.stage.Fused && f.step < l.stage.Steps && !f.timed && !l.timed(f.step+1) && !l.stage.RestartAfter(f.step) &&
		!l.evaluates(f.step) && (ctx.Err() == nil || l.comm != nil)
}

// complete waits for a step and does what is due after it. queue is how many batches lay ready.
func (l *Loop) complete(ctx context.Context, f *flight, start time.Time, queue int) error {
	loss, norm, err := f.read()
	if err != nil {
		return l.lost(err)
	}
	if err := l.judge(ctx, f, loss, norm, start); err != nil {
		return err
	}
	l.tellData(ctx, f.batch)
	l.state.Step, l.state.Tokens, l.state.Position = f.step, int64(f.step)*l.stage.StepTokens(), f.batch.Cursor
	merged := 0.0
	if l.stage.RestartAfter(f.step) {
		if merged, err = l.restart(); err != nil {
			return err
		}
		l.block.Mark(ctx, tracing.EventRestart, tracing.KV{Key: tracing.StepNumber, Value: f.step},
			tracing.KV{Key: tracing.MergeError, Value: merged})
	}
	m := l.numbers(f, loss, norm, time.Since(start))
	l.countHeldOut(ctx, &m, f.batch.Watched)
	m.MergeError = merged
	if l.recent = append(l.recent, m.Seconds); len(l.recent) > recentOf {
		l.recent = l.recent[1:]
	}
	if l.first() {
		if err := l.metrics.Write(m); err != nil {
			return err
		}
	}
	l.watch.Done(ctx, m, l.ran(f, start, queue))
	l.block.Event(ctx, observe.Event{Kind: observe.StepDone, Step: &m, Steps: l.stage.Steps,
		Memory: l.loaded.Allocated(), Peak: l.Peak})
	if l.evaluates(f.step) {
		if err := l.agree(l.evaluate(ctx, nil)); err != nil {
			return l.keep(ctx, err)
		}
	}
	if !l.over() && (l.isBest() || l.Every > 0 && f.step%l.Every == 0) {
		return l.checkpoint(ctx)
	}
	return nil
}

// tellData tells of documents that are left out, and of those that were passed over.
func (l *Loop) tellData(ctx context.Context, b *fineweb.Batch) {
	if !l.told && b.Copies+b.Contaminated > 0 {
		l.told = true
		l.LeftOut(ctx, b.Copies, b.Contaminated)
	}
	if b.Skipped > l.passed {
		l.block.Warn(ctx, "%d documents passed over (on_error = \"skip\")", b.Skipped)
		l.passed = b.Skipped
	}
	c := l.counted
	l.state.Counted = trainstate.Counted{Specials: c.Specials + b.Specials, Truncated: c.Truncated + b.Truncated,
		Masked: c.Masked + b.Masked}
}

// countHeldOut adds the documents of a step that an evaluation measures, and warns of the first.
func (l *Loop) countHeldOut(ctx context.Context, m *metrics.Step, n int64) {
	if l.heldOut == nil {
		return
	}
	if *l.heldOut == 0 && n > 0 {
		l.warnHeldOut(ctx, n)
	}
	*l.heldOut += n
	m.HeldOut = *l.heldOut
}

// numbers are what is recorded of a step.
func (l *Loop) numbers(f *flight, loss, norm float64, took time.Duration) metrics.Step {
	s, at, seconds := l.stage, f.batch.Cursor, took.Seconds()
	m := metrics.Step{Step: f.step, Tokens: int64(f.step) * s.StepTokens(), FLOPs: int64(f.step) * l.StepFLOPs, Loss: loss,
		LearningRate: s.LR(f.step), GradNorm: norm, Seconds: seconds, TokensPerSec: float64(s.StepTokens()) / seconds,
		DataWait: f.wait.Seconds(), Epoch: at.Epoch, Skipped: !metrics.Finite(norm)}
	for i, n := range at.Drawn {
		if m.Sources == nil {
			m.Sources = map[string]int64{}
		}
		m.Sources[l.Parts[i]] = n * int64(s.Seq)
	}
	if l.Peak > 0 {
		rate := float64(l.StepFLOPs) / float64(max(s.Ranks, 1)) / seconds // of one device
		if !l.Async {                                                     // else a step may seem short that waited in a queue
			l.Peak = max(l.Peak, rate) // which was too low if other programs ran while it was measured
		}
		m.MFU = rate / l.Peak
	}
	return m
}

// ran is how a step ran, for its trace.
func (l *Loop) ran(f *flight, start time.Time, queue int) *observe.StepRun {
	return &observe.StepRun{Start: start, Data: f.at, Wait: f.wait, Runs: f.runs, Memory: l.loaded.Allocated(), Queue: queue}
}

// MedianSeconds is how long a step took, of the latest; 0 where there was none.
func (l *Loop) MedianSeconds() float64 {
	if len(l.recent) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(l.recent))
	return sorted[len(sorted)/2]
}
