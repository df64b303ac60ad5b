package observe

import (
	"context"
	"testing"

	"stepflow/runtime/metrics"
	"stepflow/tracing"
)

func TestTracingOffCostsNothing(t *testing.T) {
	ctx, b := (&Observer{}).Block(context.Background(), Place{}, "")
	s := b.Steps(ctx, Work{}, 1)
	r := &StepRun{}
	if n := testing.AllocsPerRun(100, func() {
		_, x := b.observer.Trace.Begin(ctx, "x", tracing.Opts{})
		x.End(nil)
		s.Done(ctx, metrics.Step{}, r)
		b.Memory(ctx, nil, nil)
	}); n > 0 {
		t.Errorf("%g allocations a step with tracing off", n)
	}
}
