package observe

import (
	"context"
	"slices"
	"strconv"
	"time"

	"stepflow/tracing"
)

// A run begins a new trace where the one it has would be hard to read or to take: after a day, and after so many spans.
const (
	traceAge   = 24 * time.Hour
	traceSpans = 2000
)

// part is a span of the run's trace that is under way. Where the run begins a new trace it goes on there, as another
// span of its name.
type part struct {
	name  string
	kvs   []tracing.KV
	id    string // of a part whose reference comes of the one above, so that the next run can end it; "" for others
	above *part  // nil for the run
	below []*part
	span  *tracing.Span

	elsewhere tracing.Reference // its span, where another rank has it
}

// begin begins the span of a part. The lock is held.
func (o *Observer) begin(ctx context.Context, p *part, opts tracing.Opts) context.Context {
	if p.above != nil {
		opts.In, opts.Below = p.above.span, p.above.elsewhere
		if p.id != "" {
			opts.As = p.above.span.Reference().Part(p.id)
		}
	}
	name := p.name
	if p.above == nil && o.number > 1 {
		name += ", part " + strconv.Itoa(o.number)
	}
	ctx, p.span = o.Trace.Begin(ctx, name, opts, p.kvs...)
	o.spans++
	return ctx
}

// enter begins a part inside another. Without a trace it returns nil.
func (o *Observer) enter(ctx context.Context, p *part, opts tracing.Opts) (context.Context, *part) {
	if o.root == nil {
		return ctx, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turn()
	p.above.below = append(p.above.below, p)
	ctx = o.begin(ctx, p, opts)
	return context.WithValue(ctx, partKey{}, p), p
}

// leave ends a part, after f has told its span the rest.
func (o *Observer) leave(p *part, f func(*tracing.Span)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p.above.below = slices.DeleteFunc(p.above.below, func(x *part) bool { return x == p })
	f(p.span)
	p.span.End(nil)
}

// with does something with the span that a part has now; p may be nil.
func (o *Observer) with(p *part, f func(*tracing.Span)) {
	if p == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	f(p.span)
}

type partKey struct{}

// partOf is the part that a context is of, or otherwise.
func partOf(ctx context.Context, otherwise *part) *part {
	if p, ok := ctx.Value(partKey{}).(*part); ok {
		return p
	}
	return otherwise
}

// turn goes on in a new trace where the one of now is old or large. The lock is held.
func (o *Observer) turn() {
	if o.root.elsewhere != "" || o.spans < o.Budget.inTrace() && time.Since(o.began) < o.Budget.age() {
		return
	}
	o.root.stop()
	o.began, o.spans = time.Now(), 0
	o.number++
	o.again(o.root)
	o.sign("part "+strconv.Itoa(o.number), o.began, 0)
}

// stop ends the span of a part, and of all below it, for now.
func (p *part) stop() {
	for _, x := range p.below {
		x.stop()
	}
	p.span.Set(tracing.KV{Key: tracing.Outcome, Value: "continued"})
	p.span.End(nil)
}

// again begins the span of a part once more, and of all below it, each with a link to the one before.
func (o *Observer) again(p *part) {
	opts := tracing.Opts{Links: []tracing.Link{{To: p.span.Reference(), What: "previous part"}}}
	if p.above == nil {
		opts.Root, opts.At = true, o.began
	}
	o.begin(context.Background(), p, opts)
	p.span.Set(tracing.KV{Key: tracing.Part, Value: o.number}, tracing.KV{Key: tracing.Run, Value: o.run.TraceID()})
	for _, x := range p.below {
		o.again(x)
	}
}
