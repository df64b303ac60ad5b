package observe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"stepflow/gpu"
	"stepflow/runtime/metrics"
	"stepflow/tracing"
)

// Work is what a training step of a stage is made of, as its trace shows it.
type Work struct {
	Program  *gpu.Program
	Segments []Segment // of the program, in the order in which a step runs them
	Micros   int       // micro-batches of a step
	Tokens   int64     // of a step
	Steps    int       // of the stage
}

// Segment is a segment of a step's program.
type Segment struct {
	Name  string // in the program
	Span  string // in the trace
	Micro bool   // it runs once a micro-batch; else once a step
	Whole bool   // its operations are of no account one by one: they have one span together
}

// segment finds a segment by its name.
func (w *Work) segment(name string) Segment {
	for _, s := range w.Segments {
		if s.Name == name {
			return s
		}
	}
	return Segment{Name: name}
}

// collectives returns the time of operations in which all ranks take part; any is false if there were none.
func (w *Work) collectives(runs []SegmentRun) (took time.Duration, any bool) {
	for _, r := range runs {
		for _, t := range r.Timings {
			if k := gpu.Lookup(w.Program.Launches[t.Launch].Kernel); k != nil && k.Collective {
				took, any = took+t.Duration, true
			}
		}
	}
	return took, any
}

// SegmentRun is the timings of one run of a segment.
type SegmentRun struct {
	Segment string
	Start   time.Time
	Took    time.Duration
	Timings []gpu.Timing
}

// end is when the host knew that the run was over, or when its last operation was.
func (r SegmentRun) end() time.Time {
	end := r.Start.Add(r.Took)
	for _, t := range r.Timings {
		if e := r.Start.Add(t.Start + t.Duration); e.After(end) {
			end = e
		}
	}
	return end
}

// StepRun is how a step ran.
type StepRun struct {
	Start  time.Time     // when the step before was over
	Data   time.Time     // when it began to wait for its batch: before Start where that came after the step before
	Wait   time.Duration // for its batch
	Runs   []SegmentRun  // of a timed step
	Memory int64         // of the device, in bytes
	Queue  int           // batches that lay ready when it was over
}

// end is when a step that took so many seconds was over.
func (r *StepRun) end(seconds float64) time.Time {
	end := r.Start.Add(time.Duration(seconds * float64(time.Second)))
	for _, x := range r.Runs {
		if e := x.end(); e.After(end) {
			end = e
		}
	}
	return end
}

// Steps watches the steps of a stage.
type Steps struct {
	block *Block
	above *part // in the run's trace
	work  Work
	sampler
	shown  sampler // of the steps in the run's trace
	micros int     // micro-batches of a step that have spans for their operations
	each   int     // spans of a step's own trace
}

// Steps watches the steps of a stage, of which first is the next.
func (b *Block) Steps(ctx context.Context, w Work, first int) *Steps {
	budget := b.observer.Budget
	s := &Steps{block: b, above: partOf(ctx, b.part), work: w,
		sampler: sampler{first: first, last: w.Steps, every: budget.Every},
		shown:   sampler{first: first, last: w.Steps, every: budget.Shown}}
	if s.On() {
		s.micros, s.each = w.detailed()
	}
	return s
}

// On reports whether there are traces at all.
func (s *Steps) On() bool { return s.block.observer.Trace.On() }

// Chosen reports whether a step has spans however long it takes.
func (s *Steps) Chosen(step int) bool { return s.reason(step) != "" }

// Done records the metrics of a step, and the spans of one that was chosen or slow.
func (s *Steps) Done(ctx context.Context, m metrics.Step, r *StepRun) {
	o := s.block.observer
	if o.Trace == nil {
		return
	}
	if o.Trace.On() {
		why, slow := s.reason(m.Step), s.slow(m.Seconds)
		if why == "" && slow {
			why = "slow"
		}
		if why != "" {
			ctx = s.spans(ctx, m, r, why)
		}
	}
	if o.Trace.Measures() {
		s.measure(ctx, m, r.Queue)
	}
}

// Failed records the spans of a step that ended the run, if it was timed.
func (s *Steps) Failed(ctx context.Context, m metrics.Step, r *StepRun) {
	if s.On() && r.Runs != nil {
		s.spans(ctx, m, r, "failed")
	}
}

// errFailed marks a step that ended the run; the block's span says why.
var errFailed = errors.New("the run ended in this step")

// measure gives the step's numbers to the instruments.
func (s *Steps) measure(ctx context.Context, m metrics.Step, queue int) {
	skipped := 0.0
	if m.Skipped {
		skipped = 1
	}
	for _, x := range []struct {
		name string
		v    float64
	}{{tracing.Loss, m.Loss}, {tracing.LearningRate, m.LearningRate}, {tracing.GradNorm, m.GradNorm},
		{tracing.StepNumber, float64(m.Step)}, {tracing.Tokens, float64(s.work.Tokens)}, {tracing.MetricSkipped, skipped},
		{tracing.TokensPerSecond, m.TokensPerSec}, {tracing.MFU, m.MFU}, {tracing.MetricStep, m.Seconds},
		{tracing.MetricWait, m.DataWait}, {tracing.MetricQueue, float64(queue)}} {
		s.block.observer.Trace.Record(ctx, x.name, x.v, s.block.stage())
	}
}

// spans records a step: a span in the run's trace, and a trace of its own that shows its operations. The context it
// returns is of the latter's root, so that metrics name it as their example. The root is sent first: a trace whose end
// is lost can be read.
func (s *Steps) spans(ctx context.Context, m metrics.Step, r *StepRun, why string) context.Context {
	o := s.block.observer
	spans := 1 + s.each // with the one in the run's trace
	if r.Runs == nil {  // a slow step on a device that is timed only when asked: no operations
		spans = 3
	}
	if !o.take(spans) {
		return ctx
	}
	name := fmt.Sprintf("%s %d · %s", tracing.SpanStep, m.Step, s.block.Addr)
	kvs := []tracing.KV{s.block.stage(),
		{Key: tracing.StepNumber, Value: m.Step}, {Key: tracing.Steps, Value: s.work.Steps},
		{Key: tracing.Why, Value: why}, {Key: tracing.Tokens, Value: m.Tokens},
		{Key: tracing.Loss, Value: m.Loss}, {Key: tracing.LearningRate, Value: m.LearningRate},
		{Key: tracing.GradNorm, Value: m.GradNorm}, {Key: tracing.TokensPerSecond, Value: m.TokensPerSec},
		{Key: tracing.MFU, Value: m.MFU}}
	if x, any := s.work.collectives(r.Runs); any {
		kvs = append(kvs, tracing.KV{Key: tracing.Collectives, Value: x.Seconds()})
	}
	line := s.line(name, why, m, r, kvs)
	links := []tracing.Link{{To: line.Reference(), What: "run"}}
	if line == nil {
		links[0].To = s.block.Reference()
	}
	ctx, span := o.Trace.Begin(ctx, name, tracing.Opts{Root: true, At: r.Start, Links: links}, append(kvs,
		tracing.KV{Key: tracing.TraceOf, Value: "step"}, tracing.KV{Key: tracing.Run, Value: o.run.TraceID()},
		tracing.KV{Key: tracing.MemoryUsage, Value: r.Memory}, tracing.KV{Key: tracing.Device, Value: o.Device})...)
	line.Link(tracing.Link{To: span.Reference(), What: "operations"})
	end := r.end(m.Seconds)
	var err error
	if why == "failed" {
		err = errFailed
	}
	line.EndAt(end, err)
	span.EndAt(end, err)
	s.operations(span, r)
	return ctx
}

// line begins the span of a step in the run's trace; nil if the trace has no room for it.
func (s *Steps) line(name, why string, m metrics.Step, r *StepRun, kvs []tracing.KV) *tracing.Span {
	o := s.block.observer
	if s.above == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if shown := s.shown.reason(m.Step) != "" || why == "slow" || why == "failed"; !shown || o.spans >= o.Budget.inTrace() {
		return nil
	}
	o.spans++
	_, span := o.Trace.Begin(context.Background(), name, tracing.Opts{In: s.above.span, At: r.Start}, kvs...)
	return span
}
