// Package observe turns what blocks, devices and data report during a run into spans, metrics, logs and events. An
// Observer is of a run; it gives a Block for each block that runs, and that a Steps for the steps of a stage.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"stepflow/dsl"
	"stepflow/tracing"
)

// Observer watches a run.
type Observer struct {
	Secrets *dsl.Secrets     // are not told
	Trace   *tracing.Tracing // nil for none
	Emit    func(Event)      // nil for none
	Log     *slog.Logger     // nil for none
	Device  string           // its name
	Budget  Budget           // of its traces

	mu         sync.Mutex
	passedOver int
	left       int64 // spans that sampled steps may still have
	run        tracing.Reference
	root       *part
	began      time.Time // the trace of now
	number     int       // of the trace of now, among those of the run
	spans      int       // in the trace of now
}

// PassedOver is how many steps had no spans because the budget was spent.
func (o *Observer) PassedOver() int { return o.passedOver }

// Past is something that was over before the run began, with what it was made of.
type Past struct {
	Name  string
	Start time.Time
	Took  time.Duration
	Parts []Past
}

// Spans is how many spans show it.
func (p *Past) Spans() int {
	n := 1
	for i := range p.Parts {
		n += p.Parts[i].Spans()
	}
	return n
}

// RunBefore is a run whose trace is known, and whose process may have ended without a word.
type RunBefore struct {
	Trace       tracing.Reference // of its root; "" for none
	Began, Last time.Time         // of one that was killed: when its root began, and when it last wrote something
	Killed      []Killed          // its blocks that were under way
}

// Killed is a block whose process ended without a word.
type Killed struct {
	Addr         string
	Kind         string
	Trace        tracing.Reference // of the span that it could not end
	Began, Last  time.Time         // Last: when it last wrote something
	Saved, Steps int               // the last step that it saved, of how many
}

// Start begins the trace of a run, which links to the run before. If that one was killed, its trace gets the spans that
// the process could not end.
func (o *Observer) Start(ctx context.Context, pipeline string, before RunBefore, past Past) {
	if !o.Trace.On() {
		return
	}
	o.left = o.Budget.most() - int64(o.Budget.fixed)
	name := title(tracing.SpanApply, pipeline)
	o.bury(ctx, name, before)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.began, o.number = time.Now(), 1
	if !past.Start.IsZero() {
		o.began = past.Start
	}
	o.root = &part{name: name, kvs: []tracing.KV{{Key: tracing.TraceOf, Value: "run"},
		{Key: tracing.Pipeline, Value: pipeline}, {Key: tracing.Device, Value: o.Device}}}
	o.begin(ctx, o.root, tracing.Opts{Root: true, At: o.began,
		Links: []tracing.Link{{To: before.Trace, What: "previous run"}}})
	o.run = o.root.span.Reference()
	o.root.span.Set(tracing.KV{Key: tracing.Run, Value: o.run.TraceID()})
	if !past.Start.IsZero() {
		o.plan(pipeline, past)
	}
}

// plan records how the plan was made: a span in the run's trace, and a trace of its own that shows its parts, which are
// short beside the run.
func (o *Observer) plan(pipeline string, p Past) {
	line := o.sign(p.Name, p.Start, p.Took)
	_, whole := o.Trace.Begin(context.Background(), title(p.Name, pipeline), tracing.Opts{Root: true, At: p.Start,
		Links: []tracing.Link{{To: line.Reference(), What: "run"}}}, tracing.KV{Key: tracing.TraceOf, Value: "plan"},
		tracing.KV{Key: tracing.Run, Value: o.run.TraceID()}, tracing.KV{Key: tracing.Pipeline, Value: pipeline})
	whole.EndAt(p.Start.Add(p.Took), nil)
	o.root.span.Link(tracing.Link{To: whole.Reference(), What: "plan"})
	for _, x := range p.Parts {
		o.past(whole, x)
	}
}

// sign records the first span of a trace of the run, which says what the trace is until its root is sent. Jaeger names a
// trace without a root after the first of the spans that have no links.
func (o *Observer) sign(what string, start time.Time, took time.Duration) *tracing.Span {
	o.spans++
	return o.span(o.root.span, what+" · "+o.root.name, start, start.Add(took),
		tracing.KV{Key: tracing.TraceOf, Value: "run"}, tracing.KV{Key: tracing.Run, Value: o.run.TraceID()})
}

// title is the name of the root of a trace that shows what was done to a pipeline.
func title(what, pipeline string) string {
	if abs, err := filepath.Abs(pipeline); err == nil {
		pipeline = abs
	}
	return what + " " + filepath.Base(pipeline)
}

// past records what was over before the run.
func (o *Observer) past(above *tracing.Span, p Past) {
	s := o.span(above, p.Name, p.Start, p.Start.Add(p.Took))
	for _, x := range p.Parts {
		o.past(s, x)
	}
}

// mostKilled is how many blocks that were under way are sent: of a state that came from elsewhere there may be any number.
const mostKilled = 500

// between is when something ended that began at a time, by what a state says: not before that, and not later than now.
func between(began, last, now time.Time) time.Time {
	if last.After(now) {
		last = now
	}
	if last.Before(began) {
		return began
	}
	return last
}

// bury sends the spans that a killed process could not end.
func (o *Observer) bury(ctx context.Context, name string, before RunBefore) {
	if before.Began.IsZero() {
		return
	}
	now := time.Now() // one for all: a block does not end after its run
	id := tracing.KV{Key: tracing.Run, Value: before.Trace.TraceID()}
	killed := tracing.KV{Key: tracing.Outcome, Value: "killed"}
	_, s := o.Trace.Begin(ctx, name, tracing.Opts{Root: true, At: before.Began, As: before.Trace},
		tracing.KV{Key: tracing.TraceOf, Value: "run"}, id, killed)
	s.EndAt(between(before.Began, before.Last, now), errors.New("the process ended without a word"))
	for _, k := range before.Killed[:min(len(before.Killed), mostKilled)] {
		k.Last = between(k.Began, k.Last, now)
		stage := tracing.KV{Key: tracing.Stage, Value: k.Addr}
		_, s := o.Trace.Begin(ctx, k.Addr, tracing.Opts{Below: before.Trace, At: k.Began, As: k.Trace}, id, stage, killed,
			tracing.KV{Key: tracing.Address, Value: k.Addr})
		s.EndAt(k.Last, fmt.Errorf("%s: the process ended without a word; step %d of %d was the last that it saved",
			k.Addr, k.Saved, k.Steps))
		if k.Kind == "stage" {
			_, s := o.Trace.Begin(ctx, tracing.SpanTrain, tracing.Opts{Below: k.Trace, At: k.Began,
				As: k.Trace.Part(tracing.SpanTrain)}, stage, killed)
			s.EndAt(k.Last, nil)
		}
	}
	o.Trace.Flush() // no run after this one sends them
}

// Reference names the root of the run's trace of now; "" without one.
func (o *Observer) Reference() (r tracing.Reference) {
	o.with(o.root, func(s *tracing.Span) { r = s.Reference() })
	return r
}

// Run names the run: the root of its first trace; "" without one.
func (o *Observer) Run() tracing.Reference { return o.run }

// Began is when the run's trace of now began; zero without one.
func (o *Observer) Began() time.Time { return o.began }

// Finish ends the run's trace with the error that the run ended with.
func (o *Observer) Finish(err error) {
	o.with(o.root, func(s *tracing.Span) {
		s.Set(tracing.KV{Key: tracing.Outcome, Value: outcome(err)})
		if outcome(err) == "failed" {
			s.Fail(o.Secrets.Error(err))
		}
		s.End(nil)
	})
}

// outcome is a word for how something ended.
func outcome(err error) string {
	switch {
	case errors.Is(err, ErrInterrupted):
		return "interrupted"
	case err != nil:
		return "failed"
	}
	return "done"
}
