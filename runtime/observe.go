package runtime

import (
	"context"
	"fmt"
	"strings"
	"time"

	"stepflow/gpu"
	"stepflow/runtime/metrics"
	"stepflow/tracing"
)

// EventKind says what happened.
type EventKind string

const (
	BlockStart  EventKind = "apply_start"
	BlockDone   EventKind = "apply_complete"
	BlockFailed EventKind = "apply_errored"
	StepDone    EventKind = "step_metrics"
	Saved       EventKind = "checkpoint"
	Notice      EventKind = "log"
	Warned      EventKind = "warning"
)

// Event is one thing that happened during apply, as a view shows it.
type Event struct {
	Kind    EventKind
	Action  *Action
	Message string
	Step    *metrics.Step
	Steps   int
	Memory  int64
	Peak    float64 // measured peak of the device in FLOP/s
	Values  map[string]any
	Seconds float64
}

// observer turns what devices and data return into spans, metrics and events.
type observer struct {
	trace     *tracing.Tracing
	emit      func(Event)
	device    string
	stepEvery int
}

func (o *observer) event(e Event) {
	if o.emit != nil {
		o.emit(e)
	}
}

func (o *observer) notice(a *Action, format string, args ...any) {
	o.event(Event{Kind: Notice, Action: a, Message: fmt.Sprintf(format, args...)})
}

// sampled tells whether a step gets spans.
func (o *observer) sampled(step, first, last int) bool {
	return o.trace.On() && (step%o.stepEvery == 0 || step == first || step == last)
}

// step records a step: gauges always, and for a sampled one a span with a child for each device
// operation, at device times laid from the start of its run.
func (o *observer) step(ctx context.Context, a *Action, m metrics.Step, start time.Time, memory int64, p *gpu.Program, runs []timedRun) {
	stage := tracing.KV{Key: tracing.Stage, Value: a.Addr.String()}
	for _, x := range []struct {
		name string
		v    float64
	}{{tracing.Loss, m.Loss}, {tracing.LearningRate, m.LearningRate}, {tracing.GradNorm, m.GradNorm}, {tracing.Tokens, float64(m.Tokens)},
		{tracing.TokensPerSecond, m.TokensPerSec}, {tracing.MFU, m.MFU}, {tracing.MemoryUsage, float64(memory)}, {tracing.DataWait, m.DataWait}} {
		o.trace.Gauge(ctx, x.name, x.v, stage)
	}
	if runs == nil {
		return
	}
	ctx = o.trace.Past(ctx, "step", start, time.Duration(m.Seconds*float64(time.Second)), stage,
		tracing.KV{Key: tracing.StepNumber, Value: m.Step}, tracing.KV{Key: tracing.Tokens, Value: m.Tokens}, tracing.KV{Key: tracing.Loss, Value: m.Loss},
		tracing.KV{Key: tracing.LearningRate, Value: m.LearningRate}, tracing.KV{Key: tracing.GradNorm, Value: m.GradNorm},
		tracing.KV{Key: tracing.MemoryUsage, Value: memory}, tracing.KV{Key: tracing.TokensPerSecond, Value: m.TokensPerSec},
		tracing.KV{Key: tracing.MFU, Value: m.MFU}, tracing.KV{Key: tracing.DataWait, Value: m.DataWait}, tracing.KV{Key: tracing.Device, Value: o.device})
	for _, r := range runs {
		for _, t := range r.timings {
			l := &p.Launches[t.Launch]
			sec := t.Duration.Seconds()
			kvs := []tracing.KV{{Key: tracing.OpKernel, Value: l.Kernel}, {Key: tracing.OpName, Value: l.Name}, {Key: tracing.OpPhase, Value: l.Phase.String()},
				{Key: tracing.OpLayer, Value: l.Layer}, {Key: tracing.OpShapes, Value: shapes(l)}, {Key: tracing.OpFLOPs, Value: l.FLOPs},
				{Key: tracing.OpBytes, Value: l.Bytes}, {Key: tracing.Device, Value: o.device}}
			if sec > 0 {
				kvs = append(kvs, tracing.KV{Key: tracing.OpGFLOPs, Value: float64(l.FLOPs) / sec / 1e9}, tracing.KV{Key: tracing.OpGBs, Value: float64(l.Bytes) / sec / 1e9})
			}
			o.trace.Past(ctx, l.Kernel, r.start.Add(t.Start), t.Duration, kvs...)
		}
	}
}

// timedRun is the timings of one run of a segment and when it began.
type timedRun struct {
	start   time.Time
	timings []gpu.Timing
}

func shapes(l *gpu.Launch) string {
	part := func(ops []gpu.Operand) string {
		s := make([]string, len(ops))
		for i, o := range ops {
			s[i] = o.Type.String()
		}
		return strings.Join(s, " ")
	}
	return part(l.In) + " -> " + part(l.Out)
}
