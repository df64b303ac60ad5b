package observe

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"stepflow/dsl/addr"
	"stepflow/fineweb/web"
	"stepflow/tracing"
)

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
	part     *part

	downloads int      // so far
	warnings  []string // see Warnings
}

// Block begins the span of a block, which goes on from an attempt before unless that is "". The context is that of
// what belongs to the block.
func (o *Observer) Block(ctx context.Context, p Place, before tracing.Reference) (context.Context, *Block) {
	b := &Block{Place: p, observer: o}
	kvs := append(p.attributes(), b.stage(), tracing.KV{Key: tracing.Run, Value: o.run.TraceID()})
	ctx, b.part = o.enter(ctx, &part{name: p.Addr.String(), kvs: kvs, above: o.root},
		tracing.Opts{Links: []tracing.Link{{To: before, What: "previous attempt"}}})
	return ctx, b
}

// Join watches a block that this rank runs together with rank 0, whose span of it is above; run names the run. Its trace is
// part of rank 0's.
func (o *Observer) Join(ctx context.Context, p Place, run, above tracing.Reference) (context.Context, *Block) {
	if o.Trace.On() && above != "" {
		o.mu.Lock()
		if o.root == nil {
			o.left, o.began = o.Budget.most()-int64(o.Budget.fixed), time.Now()
		}
		o.run, o.root = run, &part{elsewhere: above}
		o.mu.Unlock()
	}
	return o.Block(ctx, p, "")
}

// Reference names the block's span; "" without one.
func (b *Block) Reference() (r tracing.Reference) {
	b.observer.with(b.part, func(s *tracing.Span) { r = s.Reference() })
	return r
}

// End ends the block's span with the error that the block ended with.
func (b *Block) End(err error) {
	if b.part == nil {
		return
	}
	b.leave(b.part, err, tracing.KV{Key: tracing.Outcome, Value: outcome(err)})
}

// Inside runs something that belongs to the block in a span of its own, below the one of ctx.
func (b *Block) Inside(ctx context.Context, name string, f func(context.Context) error, kvs ...tracing.KV) error {
	p := &part{name: name, kvs: append(kvs, b.stage()), above: partOf(ctx, b.part)}
	if name == tracing.SpanTrain {
		p.id = name
	}
	ctx, p = b.observer.enter(ctx, p, tracing.Opts{})
	err := f(ctx)
	b.leave(p, err)
	return err
}

// leave ends a part of the block with the error that it ended with.
func (b *Block) leave(p *part, err error, kvs ...tracing.KV) {
	if p == nil {
		return
	}
	b.observer.leave(p, func(s *tracing.Span) {
		if !errors.Is(err, ErrInterrupted) && !errors.Is(err, context.Canceled) {
			s.Fail(b.observer.Secrets.Error(err), b.attributes()...)
		}
		s.Set(kvs...)
	})
}

// Tell adds attributes to the span of ctx.
func (b *Block) Tell(ctx context.Context, kvs ...tracing.KV) {
	b.observer.with(partOf(ctx, b.part), func(s *tracing.Span) { s.Set(kvs...) })
}

// Mark records an event of the table in tracing on the span of ctx.
func (b *Block) Mark(ctx context.Context, event string, kvs ...tracing.KV) {
	b.observer.with(partOf(ctx, b.part), func(s *tracing.Span) { s.Event(event, time.Time{}, kvs...) })
}

// downloadsShown is how many remote files of a block have spans.
const downloadsShown = 100

// Download records that the block read from a remote file.
func (b *Block) Download(d web.Download) {
	b.observer.with(b.part, func(above *tracing.Span) {
		if b.downloads++; b.downloads > downloadsShown {
			return
		}
		b.observer.spans++
		file, _, _ := strings.Cut(d.Address, "?")
		_, s := b.observer.Trace.Begin(context.Background(), tracing.SpanDownload+" "+path.Base(file),
			tracing.Opts{In: above, At: d.Opened}, b.stage(), tracing.KV{Key: tracing.URL, Value: d.Address},
			tracing.KV{Key: tracing.Bytes, Value: d.Bytes}, tracing.KV{Key: tracing.Requests, Value: d.Requests},
			tracing.KV{Key: tracing.Retries, Value: d.Retries},
			tracing.KV{Key: tracing.Waited, Value: d.Waited.Seconds()})
		for _, f := range d.Failures {
			s.Event(tracing.EventRetry, f.At, tracing.KV{Key: tracing.Message, Value: b.observer.Secrets.Redact(f.Why)})
		}
		s.EndAt(d.Closed, nil)
	})
}

// stage is the attribute that says to which block something belongs.
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
