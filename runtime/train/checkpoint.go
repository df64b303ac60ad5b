package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"stepflow/fineweb"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/tracing"
)

// keep saves what was trained when the data fail or the run is asked to end, and returns the error with where a run
// goes on.
func (l *Loop) keep(ctx context.Context, err error) error {
	var data dataError
	step, interrupted := l.state.Step, errors.Is(err, observe.ErrInterrupted)
	if step == 0 || !interrupted && !errors.As(err, &data) {
		return err
	}
	saved, e := l.saved(step)
	if e != nil {
		return errors.Join(err, e)
	}
	if !saved {
		if e := l.checkpoint(ctx); e != nil {
			return errors.Join(err, e)
		}
	}
	if interrupted {
		return fmt.Errorf("%w at step %d of %d", err, step, l.stage.Steps)
	}
	if errors.Is(err, fineweb.ErrChanged) {
		return fmt.Errorf("%w. Step %d of %d is saved: with the file as it was, apply goes on from there", err, step, l.stage.Steps)
	}
	return fmt.Errorf("%w. Step %d of %d is saved: apply goes on from there", err, step, l.stage.Steps)
}

// saved reports whether there is a checkpoint of a step: what rank 0 finds.
func (l *Loop) saved(step int) (bool, error) {
	b := []byte{0}
	if l.first() {
		if steps, err := checkpoint.Steps(l.Dir); err == nil && slices.Contains(steps, step) {
			b[0] = 1
		}
	}
	if l.comm == nil {
		return b[0] == 1, nil
	}
	err := l.comm.Broadcast(0, b)
	return b[0] == 1, err
}

// checkpoint saves the running stage and drops the oldest checkpoints beyond keep.
func (l *Loop) checkpoint(ctx context.Context) error {
	step := l.state.Step
	var files []checkpoint.Part
	var err error
	if l.first() {
		files, err = l.Files(step)
	}
	if err == nil {
		_, err = l.write(ctx, step, files, false)
	}
	if err != nil {
		return fmt.Errorf("saving step %d: %w; earlier checkpoints are untouched", step, err)
	}
	if l.first() {
		err = l.Saved(step)
	}
	if err := l.agree(err); err != nil {
		return err
	}
	dir := checkpoint.StepDir(l.Dir, step)
	l.remember(dir)
	l.block.Event(ctx, observe.Event{Kind: observe.Saved, Message: dir, Step: &metrics.Step{Step: step}})
	if !l.first() {
		return nil
	}
	return prune(l.Dir, l.Keep)
}

// Save writes the stage's result, with files as Job.Files gives them, and returns its content id. Of several ranks the first has
// the files, and gets the id.
func (l *Loop) Save(ctx context.Context, files []checkpoint.Part) (id string, err error) {
	id, err = l.write(ctx, l.state.Step, files, true)
	if err != nil {
		err = l.agree(err)
	}
	return id, err
}

// write writes a checkpoint under the eyes of the observer.
func (l *Loop) write(ctx context.Context, step int, files []checkpoint.Part, last bool) (id string, err error) {
	start, dir := time.Now(), checkpoint.StepDir(l.Dir, step)
	err = l.block.Inside(ctx, tracing.SpanCheckpoint, func(ctx context.Context) error {
		if err := l.metrics.Sync(); err != nil { // a run that goes on from here does not write them again
			return err
		}
		if !last {
			files = append(files, l.bestParts()...)
		}
		if id, err = l.save(dir, files, last); err == nil {
			l.block.Tell(ctx, tracing.KV{Key: tracing.Bytes, Value: checkpoint.Size(dir)})
		}
		return err
	}, tracing.KV{Key: tracing.StepNumber, Value: l.state.Step})
	l.block.Record(ctx, tracing.MetricCheckpoint, time.Since(start).Seconds())
	return id, err
}

// bestPrefix begins the names of files in which a checkpoint holds the best one before it.
const bestPrefix = "best."

// bestParts are the files of the best checkpoint, in another that is written now; none where that is the best itself.
func (l *Loop) bestParts() (parts []checkpoint.Part) {
	if b := l.state.Best; b == nil || b.Step == 0 || b.Step == l.state.Step {
		return nil
	}
	names := []string{checkpoint.ModelFile, checkpoint.OptimizerFile, checkpoint.TrainerFile}
	if len(l.stage.Adapters) > 0 {
		names = append(names, checkpoint.AdapterFile)
	}
	for _, name := range names {
		parts = append(parts, checkpoint.Linked(bestPrefix+name, l.best.path(name)))
	}
	return parts
}

// remember notes where the best checkpoint is, now that one of the state of now is in a folder.
func (l *Loop) remember(dir string) {
	if b := l.state.Best; b != nil && b.Step > 0 {
		if l.best = (stored{dir: dir}); !l.isBest() {
			l.best.prefix = bestPrefix
		}
	}
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
