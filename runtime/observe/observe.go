// Package observe turns what blocks, devices and data report during a run into spans, metrics, logs and events. An
// Observer is of a run; it gives a Block for each block that runs, and that a Steps for the steps of a stage.
package observe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/tracing"
)

// Observer watches a run.
type Observer struct {
	Secrets *dsl.Secrets     // are not told
	Trace   *tracing.Tracing // nil for none
	Emit    func(Event)      // nil for none
	Log     *slog.Logger     // nil for none
	Device  string           // its name
	Every   int              // one step in so many has spans, see NewBudget
	Spans   int64            // that steps may still have

	passedOver int
	run        tracing.Reference // of the apply span
}

// PassedOver is how many steps had no spans because the budget was spent.
func (o *Observer) PassedOver() int { return o.passedOver }

// Killed is a block of the run before whose process ended without a word.
type Killed struct {
	Addr         string
	Kind         string
	Trace        tracing.Reference // of the span that it could not end
	Began, Last  time.Time         // Last: when it last wrote something
	Saved, Steps int               // the last step that it saved, of how many
}

// Start begins the trace of a run: a span that ends at once. It links to the run before, and gives the blocks that were
// killed then the root span that their process could not end. It returns the reference of the run; "" without a trace.
func (o *Observer) Start(ctx context.Context, pipeline string, before tracing.Reference,
	killed []Killed) tracing.Reference {
	if !o.Trace.On() {
		return ""
	}
	opts := tracing.Opts{Root: true, Links: []tracing.Link{{To: before, What: "previous run"}}}
	_, s := o.Trace.Begin(ctx, tracing.SpanApply, opts,
		tracing.KV{Key: tracing.Pipeline, Value: pipeline}, tracing.KV{Key: tracing.Device, Value: o.Device})
	o.run = s.Reference()
	s.Set(tracing.KV{Key: tracing.Run, Value: o.run.TraceID()})
	s.End(nil)
	for _, k := range killed {
		o.end(ctx, k, before)
	}
	return o.run
}

// end gives a block that was killed its root span.
func (o *Observer) end(ctx context.Context, k Killed, run tracing.Reference) {
	opts := tracing.Opts{Root: true, At: k.Began, As: k.Trace, Links: []tracing.Link{{To: run, What: "run"}}}
	_, s := o.Trace.Begin(ctx, k.Kind, opts,
		tracing.KV{Key: tracing.Run, Value: run.TraceID()}, tracing.KV{Key: tracing.Address, Value: k.Addr},
		tracing.KV{Key: tracing.Outcome, Value: "killed"})
	s.EndAt(k.Last, fmt.Errorf("%s: the process ended without a word; step %d of %d was the last that it saved",
		k.Addr, k.Saved, k.Steps))
}

// Place is a block, and where it stands in the configuration.
type Place struct {
	Addr addr.Addr
	File string
	Line int
}

func (p Place) attributes() []tracing.KV {
	return []tracing.KV{{Key: tracing.Address, Value: p.Addr.String()}, {Key: tracing.CodeFile, Value: p.File},
		{Key: tracing.CodeLine, Value: p.Line}}
}

// Block watches a block that runs.
type Block struct {
	Place
	observer *Observer
	span     *tracing.Span
}

// Block starts the trace of a block, which goes on from an attempt before unless that is "". The context is that of
// what belongs to the block.
func (o *Observer) Block(ctx context.Context, p Place, before tracing.Reference) (context.Context, *Block) {
	links := []tracing.Link{{To: o.run, What: "run"}}
	if before != "" {
		links = append(links, tracing.Link{To: before, What: "previous attempt"})
	}
	b := &Block{Place: p, observer: o}
	ctx, b.span = o.Trace.Begin(ctx, p.Addr.Kind, tracing.Opts{Root: true, Links: links}, append(p.attributes(),
		tracing.KV{Key: tracing.Run, Value: o.run.TraceID()}, tracing.KV{Key: tracing.Device, Value: o.Device})...)
	return ctx, b
}

// Reference names the block's trace; "" without one.
func (b *Block) Reference() tracing.Reference { return b.span.Reference() }

// End ends the block's trace with the error that the block ended with.
func (b *Block) End(err error) {
	outcome := "done"
	switch {
	case errors.Is(err, ErrInterrupted):
		outcome = "interrupted"
	case err != nil:
		outcome = "failed"
		b.span.Fail(err, b.attributes()...)
	}
	b.span.Set(tracing.KV{Key: tracing.Outcome, Value: outcome})
	b.span.End(nil)
}

// Inside runs part of a block in a span of its own.
func (b *Block) Inside(ctx context.Context, name string, f func(context.Context) error, kvs ...tracing.KV) error {
	ctx, s := b.observer.Trace.Begin(ctx, name, tracing.Opts{}, append(kvs, b.stage())...)
	err := f(ctx)
	if !errors.Is(err, ErrInterrupted) && !errors.Is(err, context.Canceled) {
		s.Fail(b.observer.Secrets.Error(err), b.attributes()...)
	}
	s.End(nil)
	return err
}

// stage is the attribute that says to which stage something belongs.
func (b *Block) stage() tracing.KV { return tracing.KV{Key: tracing.Stage, Value: b.Addr.String()} }

// Record gives a value to a metric of the table in tracing.
func (b *Block) Record(ctx context.Context, metric string, v float64) {
	if b.observer.Trace.Measures() {
		b.observer.Trace.Record(ctx, metric, v, b.stage())
	}
}

// Memory records the bytes of device memory of each kind; without bytes, that they are free again.
func (b *Block) Memory(ctx context.Context, kinds []string, bytes map[string]int64) {
	if !b.observer.Trace.Measures() {
		return
	}
	for _, k := range kinds {
		kind := tracing.KV{Key: tracing.MemoryKind, Value: k}
		b.observer.Trace.Record(ctx, tracing.MemoryUsage, float64(bytes[k]), b.stage(), kind)
	}
}
