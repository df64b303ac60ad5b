package train

import (
	"context"
	"fmt"
	"math"
	"strings"

	"stepflow/gpu"
	"stepflow/runtime/observe"
	"stepflow/runtime/program"
	"stepflow/runtime/trainstate"
	"stepflow/tracing"
)

// Result is what a stage came to.
type Result struct {
	Loss            float64 // mean of the last steps; NaN where every step was skipped
	Skipped         int     // steps
	MergeDifference float64 // largest change of a token's loss by merging the adapters
	MergeError      float64 // the share of all merges that rounding kept out
	HeldOut         *int64  // documents trained on that an evaluation measures; nil where that is not known
	Step            int     // whose model it is
	Ended           string  // why that is not the last step of the stage; "" where it is
}

// Finish merges the adapters, measures what that changed, and returns what the stage came to. Where ctx ends or the data
// fail the error comes after a checkpoint.
func (l *Loop) Finish(ctx context.Context) (*Result, error) {
	r, err := l.finish(ctx)
	if err != nil {
		err = l.agree(err)
	}
	return r, err
}

func (l *Loop) finish(ctx context.Context) (*Result, error) {
	var err error
	if ctx.Err() != nil { // the corpus may still be read
		err = observe.ErrInterrupted
	}
	if err := l.agree(err); err != nil {
		return nil, l.keep(ctx, err)
	}
	ended, err := l.end(ctx)
	if err != nil {
		return nil, err
	}
	err = l.feedProbe()
	if err != nil && ctx.Err() != nil {
		err = observe.ErrInterrupted
	}
	if err = l.agree(err); err != nil {
		return nil, l.keep(ctx, err)
	}
	var before []float32
	var seam *trainstate.Seam
	err = l.cut(ctx, func() (err error) {
		if before, err = l.probe(); err != nil {
			return err
		}
		seam = &trainstate.Seam{Probe: l.probeKey(), Loss: mean(before)}
		return l.unsound(fmt.Sprintf("step %d", l.state.Step), seam.Loss, l.Dir)
	})
	if err = l.agree(err); err != nil {
		return nil, l.keep(ctx, err)
	}
	if len(l.stage.Adapters) > 0 {
		end := func(ctx context.Context) error { return l.mergeLast(ctx, seam, before) }
		switch {
		case l.stage.KeepApart:
			end = l.keepApart
		case len(l.stage.Composed) > 0:
			end = l.composeLast
		}
		if err := l.block.Inside(ctx, tracing.SpanMerge, end); err != nil {
			return nil, err
		}
	}
	if l.heldOut != nil && *l.heldOut > 0 {
		l.warnHeldOut(ctx, *l.heldOut)
	}
	l.state.Seam = seam
	r := l.result()
	r.Ended = ended
	return r, nil
}

// end says why the result is not the model of the stage's last step, "" if it is, and puts the best model on the device
// if that is the result.
func (l *Loop) end(ctx context.Context) (why string, err error) {
	at, last := l.state.Step, l.stage.Steps
	if at < last {
		why = fmt.Sprintf("it ended at step %d of %d: %s", at, last, l.Ending.why(&l.state))
		l.block.Notice(ctx, "%s", why)
	}
	b := l.state.Best
	switch {
	case b == nil:
		return why, nil
	case b.Step == 0:
		l.block.Warn(ctx, "%s was finite in no evaluation: the result is the model of step %d, the last", l.Best, at)
		return why, nil
	case l.isBest():
		return why, nil
	}
	best := fmt.Sprintf("the result is the model of step %d, where %s was %s, %.4f", b.Step, l.Best, l.Best.Best(), b.Value)
	l.block.Notice(ctx, "%s", best)
	if why != "" {
		best = why + "; " + best
	}
	if err = l.resume(context.WithoutCancel(ctx), l.best); err != nil { // half of it would be of no use
		err = fmt.Errorf("the best model, that of step %d, cannot be read: %w", b.Step, err)
	}
	return best, err
}

// keepApart ends the stage without a merge.
func (l *Loop) keepApart(ctx context.Context) error {
	l.block.Notice(ctx, "adapters kept apart from the weights (merge = false)")
	return l.keepAdapters()
}

// composeLast ends a stage whose adapters take the place of weights. The weights are made when the result is written: the device
// has no room for them.
func (l *Loop) composeLast(ctx context.Context) error {
	l.block.Notice(ctx, "products of rank %d and values at %g of the elements are written as whole weights (%d matrices)", l.stage.Peft.R,
		l.stage.Peft.Sparsity, len(l.stage.Adapters))
	return nil
}

// mergeLast merges the adapters for good, and notes what that changed of the losses before.
func (l *Loop) mergeLast(ctx context.Context, seam *trainstate.Seam, before []float32) error {
	if l.stage.KeepsAdapters() {
		if err := l.keepAdapters(); err != nil {
			return err
		}
	}
	narrow := len(l.stage.MergedApart()) > 0
	if narrow {
		if err := l.agree(l.mergeNarrow(ctx)); err != nil {
			return l.keep(ctx, err)
		}
	}
	if _, ok := l.stage.Program.Segment(program.SegMerge); ok {
		if _, err := l.merge(true); err != nil {
			return err
		}
	}
	after, err := l.probe()
	if err != nil {
		return err
	}
	for i := range after {
		seam.MergeDifference = math.Max(seam.MergeDifference, math.Abs(float64(after[i])-float64(before[i])))
	}
	l.block.Tell(ctx, tracing.KV{Key: tracing.LossBefore, Value: seam.Loss},
		tracing.KV{Key: tracing.LossAfter, Value: mean(after)},
		tracing.KV{Key: tracing.LossChange, Value: seam.MergeDifference})
	seam.Loss = mean(after)
	if err := l.unsound("merging the adapters", seam.Loss, l.Dir); err != nil {
		return err
	}
	how := ""
	if l.stage.DType == gpu.BF16 {
		how = fmt.Sprintf("; rounding to bf16 changed the weights by %.2g of what they learnt", l.state.Merges.Error())
	}
	if narrow {
		l.block.Notice(ctx, "adapters merged into what the frozen weights are in %v%s", l.stage.FrozenDType, how)
	} else {
		change := observe.Seam{Change: "merge", Before: mean(before), After: seam.Loss}
		l.block.Seam(ctx, change, "adapters merged: the loss of a token changed by %.2g at most%s", seam.MergeDifference, how)
	}
	if e := l.state.Merges.Error(); e > coarseMerge {
		l.block.Warn(ctx, "what the adapters learnt between merges is so small beside the weights that rounding to bf16 "+
			"changed these by %.2g times as much. That is noise in the weights: %s", e, lessNoise(l.stage))
	}
	return nil
}

func (l *Loop) result() *Result {
	s := &l.state
	r := &Result{Skipped: s.Skipped, MergeDifference: s.Seam.MergeDifference, MergeError: s.Merges.Error(), HeldOut: l.heldOut,
		Step: s.Step}
	for _, x := range s.LastLosses {
		r.Loss += x / float64(len(s.LastLosses))
	}
	if len(s.LastLosses) == 0 {
		r.Loss = math.NaN()
	}
	return r
}

// warnHeldOut says how often the stage read a document that evaluations measure.
func (l *Loop) warnHeldOut(ctx context.Context, n int64) {
	read := "A document that %s measures was read in training"
	if n > 1 {
		read = fmt.Sprintf("Documents that %%s measures were read %d times in training", n)
	}
	read = fmt.Sprintf(read, strings.Join(l.measured, " or "))
	l.block.Warn(ctx, "%s: what it gives says less about text that the model has not seen", read)
}
