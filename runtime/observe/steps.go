package observe

import (
	"context"
	"strings"
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

// detailed returns for how many micro-batches a traced step has a span for each operation, and how many spans the
// step has.
func (w *Work) detailed() (micros, spans int) {
	fixed, each := 2+w.Micros, 1 // the step and the wait for data; a span for each micro-batch
	for _, s := range w.Segments {
		seg, _ := w.Program.Segment(s.Name)
		if n := seg.Hi - seg.Lo; s.Micro {
			each = max(n, 1)
		} else {
			fixed += 1 + n
		}
	}
	micros = min(max((stepSpans-fixed)/each, 1), w.Micros)
	return micros, fixed + micros*each
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

// Steps watches the steps of a stage.
type Steps struct {
	block *Block
	work  Work
	sampler
}

// Steps watches the steps of a stage, of which first is the next.
func (b *Block) Steps(w Work, first int) *Steps {
	return &Steps{b, w, sampler{first: first, last: w.Steps, every: b.observer.Every}}
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
	if o.Trace.Measures() {
		s.measure(ctx, m, r.Queue)
	}
	if !o.Trace.On() {
		return
	}
	why, slow := s.reason(m.Step), s.slow(m.Seconds)
	if why == "" && slow {
		why = "slow"
	}
	if why == "" {
		return
	}
	micros, spans := s.work.detailed()
	if r.Runs == nil { // a slow step on a device that is timed only when asked: its own span
		spans = 2
	}
	if o.take(spans) {
		s.spans(m, r, why, micros)
	}
}

// Failed records the spans of a step that ended the run, if it was timed.
func (s *Steps) Failed(m metrics.Step, r *StepRun) {
	if !s.On() || r.Runs == nil {
		return
	}
	if micros, spans := s.work.detailed(); s.block.observer.take(spans) {
		s.spans(m, r, "failed", micros)
	}
}

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

// spans records a step's trace: the wait for data, the segments of the program, and below them the device operations,
// at device times laid from the start of their run.
func (s *Steps) spans(m metrics.Step, r *StepRun, why string, micros int) {
	o := s.block.observer
	end := r.Start.Add(time.Duration(m.Seconds * float64(time.Second)))
	for _, x := range r.Runs {
		if e := x.end(); e.After(end) {
			end = e
		}
	}
	links := []tracing.Link{{To: o.run, What: "run"}, {To: s.block.Reference(), What: "stage"}}
	ctx, span := o.Trace.Begin(context.Background(), tracing.SpanStep, tracing.Opts{Root: true, At: r.Start, Links: links},
		tracing.KV{Key: tracing.Run, Value: o.run.TraceID()}, s.block.stage(),
		tracing.KV{Key: tracing.StepNumber, Value: m.Step}, tracing.KV{Key: tracing.Steps, Value: s.work.Steps},
		tracing.KV{Key: tracing.Why, Value: why}, tracing.KV{Key: tracing.Tokens, Value: m.Tokens},
		tracing.KV{Key: tracing.Loss, Value: m.Loss}, tracing.KV{Key: tracing.LearningRate, Value: m.LearningRate},
		tracing.KV{Key: tracing.GradNorm, Value: m.GradNorm}, tracing.KV{Key: tracing.MemoryUsage, Value: r.Memory},
		tracing.KV{Key: tracing.TokensPerSecond, Value: m.TokensPerSec}, tracing.KV{Key: tracing.MFU, Value: m.MFU},
		tracing.KV{Key: tracing.Device, Value: o.Device})
	if !r.Data.Before(r.Start) { // of a step that was begun after the one before, the wait is part of that one
		o.Trace.Past(ctx, tracing.SpanData, r.Data, r.Wait)
	}
	micro := 0
	for _, x := range r.Runs {
		segment := s.work.segment(x.Segment)
		var kvs []tracing.KV
		if segment.Micro {
			kvs = append(kvs, tracing.KV{Key: tracing.MicroBatch, Value: micro})
			micro++
		}
		inside := o.Trace.Past(ctx, segment.Span, x.Start, x.end().Sub(x.Start), kvs...)
		if !segment.Micro || micro <= micros {
			o.operations(inside, s.work.Program, x)
		}
	}
	span.EndAt(end, nil)
}

// operations records a span for each launch of a run.
func (o *Observer) operations(ctx context.Context, p *gpu.Program, r SegmentRun) {
	for _, t := range r.Timings {
		l := &p.Launches[t.Launch]
		sec := t.Duration.Seconds()
		kvs := []tracing.KV{{Key: tracing.OpKernel, Value: l.Kernel}, {Key: tracing.OpName, Value: l.Name},
			{Key: tracing.OpPhase, Value: l.Phase.String()}, {Key: tracing.OpLayer, Value: l.Layer},
			{Key: tracing.OpShapes, Value: Shapes(l)}, {Key: tracing.OpDType, Value: l.Out[0].Type.DType.String()},
			{Key: tracing.OpFLOPs, Value: l.FLOPs}, {Key: tracing.OpBytes, Value: l.Bytes},
			{Key: tracing.Device, Value: o.Device}}
		if sec > 0 {
			kvs = append(kvs, tracing.KV{Key: tracing.OpGFLOPs, Value: float64(l.FLOPs) / sec / 1e9},
				tracing.KV{Key: tracing.OpGBs, Value: float64(l.Bytes) / sec / 1e9})
		}
		o.Trace.Past(ctx, l.Kernel, r.Start.Add(t.Start), t.Duration, kvs...)
	}
}

// Shapes lists the types of a launch's operands, such as "f32[2,3] f32[3,4] -> f32[2,4]".
func Shapes(l *gpu.Launch) string {
	part := func(ops []gpu.Operand) string {
		s := make([]string, len(ops))
		for i, o := range ops {
			s[i] = o.Type.String()
		}
		return strings.Join(s, " ")
	}
	return part(l.In) + " -> " + part(l.Out)
}
