package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
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

// levels are the levels at which events are logged; steps are not.
var levels = map[EventKind]slog.Level{BlockStart: slog.LevelInfo, BlockDone: slog.LevelInfo, BlockFailed: slog.LevelError, Saved: slog.LevelInfo, Notice: slog.LevelInfo, Warned: slog.LevelWarn}

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

// observer turns what devices and data return into spans, metrics, logs and events.
type observer struct {
	secrets    *dsl.Secrets // are not told
	trace      *tracing.Tracing
	emit       func(Event)
	log        *slog.Logger
	device     string
	every      int
	spansLeft  int64
	passedOver int               // steps that got no spans because the budget was spent
	run        tracing.Reference // of the apply span
	ctx        context.Context   // of the block that runs, for logs
	block      *tracing.Span
}

func (o *observer) event(e Event) {
	e.Message = o.secrets.Redact(e.Message)
	if o.emit != nil {
		o.emit(e)
	}
	level, logged := levels[e.Kind]
	if o.log == nil || !logged {
		return
	}
	message := e.Message
	if message == "" {
		message = strings.ReplaceAll(string(e.Kind), "_", " ")
	}
	ctx := o.ctx
	if ctx == nil {
		ctx = context.Background()
	}
	o.log.LogAttrs(ctx, level, message, slog.String(tracing.Address, e.Action.Addr.String()), slog.String("event", string(e.Kind)))
}

func (o *observer) notice(a *Action, format string, args ...any) {
	o.event(Event{Kind: Notice, Action: a, Message: fmt.Sprintf(format, args...)})
}

// start begins a run's trace: a span that ends at once. It links to the run before, and gives blocks that were
// killed then the root span that their process could not end.
func (o *observer) start(ctx context.Context, p *Plan, dir *state.Dir) {
	st := dir.State
	if !o.trace.On() {
		return
	}
	before := tracing.Reference(st.Trace)
	_, s := o.trace.Begin(ctx, tracing.SpanApply, tracing.Opts{Root: true, Links: []tracing.Link{{To: before, What: "previous run"}}},
		tracing.KV{Key: tracing.Pipeline, Value: p.Config.Dir}, tracing.KV{Key: tracing.Device, Value: o.device})
	o.run = s.Reference()
	s.Set(tracing.KV{Key: tracing.Run, Value: o.run.TraceID()})
	s.End(nil)
	st.Trace = string(o.run)
	for _, name := range st.Names() {
		b := st.Blocks[name]
		if b.Trace == "" || b.TraceEnded || b.Status != state.Running {
			continue
		}
		_, s := o.trace.Begin(ctx, strings.SplitN(name, ".", 2)[0], tracing.Opts{Root: true, At: b.Started, As: tracing.Reference(b.Trace), Links: []tracing.Link{{To: before, What: "run"}}},
			tracing.KV{Key: tracing.Run, Value: before.TraceID()}, tracing.KV{Key: tracing.Address, Value: name}, tracing.KV{Key: tracing.Outcome, Value: "killed"})
		s.EndAt(lastSign(dir, name, b), fmt.Errorf("%s: the process ended without a word; step %d of %d was the last that it saved", name, b.Step, b.Steps))
		b.TraceEnded = true
	}
}

// lastSign is when a block that was killed last wrote something.
func lastSign(dir *state.Dir, name string, b *state.Block) time.Time {
	at := b.Started.Add(time.Millisecond)
	if b.Updated.After(at) {
		at = b.Updated
	}
	if x, err := addr.Parse(name); err == nil {
		if st, err := os.Stat(filepath.Join(dir.Path, BlockDir(x), metrics.FileName)); err == nil && st.ModTime().After(at) {
			at = st.ModTime()
		}
	}
	return at
}

// begin starts the trace of a block that runs, and notes it in the block's entry.
func (o *observer) begin(ctx context.Context, a *Action, entry, before *state.Block) context.Context {
	entry.Started = time.Now().UTC()
	links := []tracing.Link{{To: o.run, What: "run"}}
	if a.Verb == Resume && before != nil {
		links = append(links, tracing.Link{To: tracing.Reference(before.Trace), What: "previous attempt"})
	}
	ctx, o.block = o.trace.Begin(ctx, a.Addr.Kind, tracing.Opts{Root: true, Links: links}, append(place(a),
		tracing.KV{Key: tracing.Run, Value: o.run.TraceID()}, tracing.KV{Key: tracing.Device, Value: o.device})...)
	entry.Trace = string(o.block.Reference())
	o.ctx = ctx
	return ctx
}

// place is where a block stands.
func place(a *Action) []tracing.KV {
	return []tracing.KV{{Key: tracing.Address, Value: a.Addr.String()}, {Key: tracing.CodeFile, Value: a.Range.Filename}, {Key: tracing.CodeLine, Value: a.Range.Start.Line}}
}

// end ends the block's trace.
func (o *observer) end(a *Action, entry *state.Block, err error) {
	outcome := "done"
	switch {
	case errors.Is(err, ErrInterrupted):
		outcome = "interrupted"
	case err != nil:
		outcome = "failed"
		o.block.Fail(err, place(a)...)
	}
	o.block.Set(tracing.KV{Key: tracing.Outcome, Value: outcome})
	o.block.End(nil)
	entry.TraceEnded = entry.Trace != ""
}

// inside runs part of a block in a span of its own.
func (o *observer) inside(ctx context.Context, name string, a *Action, f func(context.Context) error, kvs ...tracing.KV) error {
	ctx, s := o.trace.Begin(ctx, name, tracing.Opts{}, append(kvs, tracing.KV{Key: tracing.Stage, Value: a.Addr.String()})...)
	err := f(ctx)
	if !errors.Is(err, ErrInterrupted) && !errors.Is(err, context.Canceled) {
		s.Fail(o.secrets.Error(err), place(a)...)
	}
	s.End(nil)
	return err
}

// memory records what the stage's device memory is used for; without figures, that it is free again.
func (o *observer) memory(ctx context.Context, a *Action, kinds map[string]int64) {
	if !o.trace.Measures() {
		return
	}
	for _, k := range ByteKinds {
		o.trace.Record(ctx, tracing.MemoryUsage, float64(kinds[k]), tracing.KV{Key: tracing.Stage, Value: a.Addr.String()}, tracing.KV{Key: tracing.MemoryKind, Value: k})
	}
}

// step records the metrics of a step, and the spans of one that was sampled or slow.
func (o *observer) step(ctx context.Context, a *Action, w *sampler, m metrics.Step, f *flight, start time.Time, memory int64, queue int) {
	if o.trace == nil {
		return
	}
	if o.trace.Measures() {
		o.measure(ctx, a, m, queue)
	}
	if !o.trace.On() {
		return
	}
	why, slow := w.reason(m.Step), w.slow(m.Seconds)
	if why == "" && slow {
		why = "slow"
	}
	if why == "" {
		return
	}
	micros, spans := detailed(a.Stage)
	if f.runs == nil { // a slow step on a device that is timed only when asked: its own span
		spans = 2
	}
	if o.take(spans) {
		o.spans(a, m, f, start, memory, why, micros)
	}
}

// failed records the spans of a step that ended the run, if it was timed.
func (o *observer) failed(a *Action, m metrics.Step, f *flight, start time.Time, memory int64) {
	if !o.trace.On() || f.runs == nil {
		return
	}
	if micros, spans := detailed(a.Stage); o.take(spans) {
		o.spans(a, m, f, start, memory, "failed", micros)
	}
}

// measure gives the step's numbers to the instruments.
func (o *observer) measure(ctx context.Context, a *Action, m metrics.Step, queue int) {
	stage := tracing.KV{Key: tracing.Stage, Value: a.Addr.String()}
	skipped := 0.0
	if m.Skipped {
		skipped = 1
	}
	for _, x := range []struct {
		name string
		v    float64
	}{{tracing.Loss, m.Loss}, {tracing.LearningRate, m.LearningRate}, {tracing.GradNorm, m.GradNorm}, {tracing.StepNumber, float64(m.Step)},
		{tracing.Tokens, float64(a.Stage.StepTokens())}, {tracing.MetricSkipped, skipped}, {tracing.TokensPerSecond, m.TokensPerSec}, {tracing.MFU, m.MFU},
		{tracing.MetricStep, m.Seconds}, {tracing.MetricWait, m.DataWait}, {tracing.MetricQueue, float64(queue)}} {
		o.trace.Record(ctx, x.name, x.v, stage)
	}
}

// spans records a step's trace: the wait for data, the segments of the program, and below them the device operations, at
// device times laid from the start of their run.
func (o *observer) spans(a *Action, m metrics.Step, f *flight, start time.Time, memory int64, why string, micros int) {
	end := start.Add(time.Duration(m.Seconds * float64(time.Second)))
	for _, r := range f.runs {
		if e := r.end(); e.After(end) {
			end = e
		}
	}
	ctx, s := o.trace.Begin(context.Background(), tracing.SpanStep, tracing.Opts{Root: true, At: start, Links: []tracing.Link{{To: o.run, What: "run"}, {To: o.block.Reference(), What: "stage"}}},
		tracing.KV{Key: tracing.Run, Value: o.run.TraceID()}, tracing.KV{Key: tracing.Stage, Value: a.Addr.String()},
		tracing.KV{Key: tracing.StepNumber, Value: m.Step}, tracing.KV{Key: tracing.Steps, Value: a.Stage.Steps}, tracing.KV{Key: tracing.Why, Value: why},
		tracing.KV{Key: tracing.Tokens, Value: m.Tokens}, tracing.KV{Key: tracing.Loss, Value: m.Loss},
		tracing.KV{Key: tracing.LearningRate, Value: m.LearningRate}, tracing.KV{Key: tracing.GradNorm, Value: m.GradNorm},
		tracing.KV{Key: tracing.MemoryUsage, Value: memory}, tracing.KV{Key: tracing.TokensPerSecond, Value: m.TokensPerSec},
		tracing.KV{Key: tracing.MFU, Value: m.MFU}, tracing.KV{Key: tracing.Device, Value: o.device})
	if !f.at.Before(start) { // of a step that was begun behind the one before, the wait is part of that one
		o.trace.Past(ctx, tracing.SpanData, f.at, f.wait)
	}
	micro := 0
	for _, r := range f.runs {
		var kvs []tracing.KV
		if r.segment == segMicro {
			kvs = append(kvs, tracing.KV{Key: tracing.MicroBatch, Value: micro})
			micro++
		}
		inside := o.trace.Past(ctx, segmentSpans[r.segment], r.start, r.end().Sub(r.start), kvs...)
		if r.segment != segMicro || micro <= micros {
			o.operations(inside, a.Stage.Program, r)
		}
	}
	s.EndAt(end, nil)
}

func (o *observer) operations(ctx context.Context, p *gpu.Program, r timedRun) {
	for _, t := range r.timings {
		l := &p.Launches[t.Launch]
		sec := t.Duration.Seconds()
		kvs := []tracing.KV{{Key: tracing.OpKernel, Value: l.Kernel}, {Key: tracing.OpName, Value: l.Name}, {Key: tracing.OpPhase, Value: l.Phase.String()},
			{Key: tracing.OpLayer, Value: l.Layer}, {Key: tracing.OpShapes, Value: shapes(l)}, {Key: tracing.OpDType, Value: l.Out[0].Type.DType.String()},
			{Key: tracing.OpFLOPs, Value: l.FLOPs}, {Key: tracing.OpBytes, Value: l.Bytes}, {Key: tracing.Device, Value: o.device}}
		if sec > 0 {
			kvs = append(kvs, tracing.KV{Key: tracing.OpGFLOPs, Value: float64(l.FLOPs) / sec / 1e9}, tracing.KV{Key: tracing.OpGBs, Value: float64(l.Bytes) / sec / 1e9})
		}
		o.trace.Past(ctx, l.Kernel, r.start.Add(t.Start), t.Duration, kvs...)
	}
}

// timedRun is the timings of one run of a segment.
type timedRun struct {
	segment string
	start   time.Time
	took    time.Duration
	timings []gpu.Timing
}

// end is when the host knew that the run was over, or when its last operation was.
func (r timedRun) end() time.Time {
	end := r.start.Add(r.took)
	for _, t := range r.timings {
		if e := r.start.Add(t.Start + t.Duration); e.After(end) {
			end = e
		}
	}
	return end
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
