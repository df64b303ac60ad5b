package train

import (
	"context"
	"fmt"
	"time"

	"stepflow/runtime/metrics"
	"stepflow/tracing"
)

// judge takes a step's loss into the state, or skips the step or ends the run where it is not finite.
func (l *Loop) judge(ctx context.Context, f *flight, loss, norm float64, start time.Time) error {
	if !metrics.Finite(loss) || !metrics.Finite(norm) {
		if !l.stage.Skip || metrics.Finite(norm) {
			l.watch.Failed(ctx, l.numbers(f, loss, norm, time.Since(start)), l.ran(f, start, 0))
			return l.nonFinite(ctx, f, loss, norm)
		}
		l.state.Skipped++
		l.block.Mark(ctx, tracing.EventSkipped, tracing.KV{Key: tracing.StepNumber, Value: f.step},
			tracing.KV{Key: tracing.Loss, Value: loss}, tracing.KV{Key: tracing.GradNorm, Value: norm})
		unchanged := "no weight was changed"
		if l.stage.Fused && metrics.Finite(loss) {
			unchanged = "no weight was changed whose gradient is not finite"
		}
		l.block.Warn(ctx, "step %d has loss %s and gradient norm %s: skipped, %s (%d so far). Its batch: %s",
			f.step, metrics.Text(loss), metrics.Text(norm), unchanged, l.state.Skipped, l.batchOf(f))
		return nil
	}
	for _, p := range l.stage.Trainable() {
		l.state.OptimizerSteps[p.ID]++
	}
	if f.batch.Valid == 0 { // it has no loss, and 0 stands for it
		return nil
	}
	if mean, yes := spike(loss, l.state.LastLosses); yes {
		l.block.Mark(ctx, tracing.EventSpike, tracing.KV{Key: tracing.StepNumber, Value: f.step},
			tracing.KV{Key: tracing.Loss, Value: loss}, tracing.KV{Key: tracing.LossMean, Value: mean})
		l.block.Warn(ctx, "step %d has loss %.3f, the %d steps before it %.3f on average. Its batch: %s",
			f.step, loss, metrics.LossSteps, mean, l.batchOf(f))
	}
	l.state.LastLosses = append(l.state.LastLosses, loss)
	if n := len(l.state.LastLosses); n > metrics.LossSteps {
		l.state.LastLosses = l.state.LastLosses[n-metrics.LossSteps:]
	}
	return nil
}

// nonFinite is the error of a step that is not finite.
func (l *Loop) nonFinite(ctx context.Context, f *flight, loss, norm float64) error {
	do := "Lower the learning rate"
	if s := l.stage; s.Init != "" && f.step == 1 {
		do = fmt.Sprintf("No step was taken before it, so it is not the learning rate: look at the weights in %s", s.Init)
	}
	return fmt.Errorf("step %d: loss is %s and gradient norm %s; the first tensor that is not finite: %s; %s. Its batch: %s. "+
		"%s, look at the data, or set on_nonfinite = \"skip\"",
		f.step, metrics.Text(loss), metrics.Text(norm), l.whereNonFinite(ctx, f, loss), goesOn(l.Dir), l.batchOf(f), do)
}

// whereNonFinite finds the first tensor of a step that is not finite by running its launches one by one. That takes weights
// that the step has not changed, as fused updates have where the loss is finite.
func (l *Loop) whereNonFinite(ctx context.Context, f *flight, loss float64) (where string) {
	if l.stage.Fused && metrics.Finite(loss) {
		return "not looked for, since weights were updated before it was made"
	}
	err := l.cut(ctx, func() (err error) {
		where, err = l.firstNonFinite(f.step, f.batch)
		return err
	})
	switch {
	case err != nil:
		return fmt.Sprintf("not found (%v)", err)
	case where == "":
		return "none was found when the step was repeated"
	}
	return where
}

// namedDocuments is how many documents a message names.
const namedDocuments = 5

// batchOf names the documents of a step's batch, and how to look at them.
func (l *Loop) batchOf(f *flight) string {
	return fmt.Sprintf("%s; stepflow data head -step %d %s shows it", f.batch.Names(namedDocuments), f.step, l.block.Addr)
}
