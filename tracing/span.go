package tracing

import (
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// KV is an attribute with a plain value: string, int, int64, float64 or bool. A number that is not finite becomes text.
type KV struct {
	Key   string
	Value any
}

func attrs(kvs []KV) []attribute.KeyValue {
	out := make([]attribute.KeyValue, 0, len(kvs))
	for _, kv := range kvs {
		k := attribute.Key(kv.Key)
		switch v := kv.Value.(type) {
		case string:
			out = append(out, k.String(valid(v)))
		case int:
			out = append(out, k.Int(v))
		case int64:
			out = append(out, k.Int64(v))
		case float64:
			if math.IsNaN(v) || math.IsInf(v, 0) { // JSON has no word for them, and would lose the whole batch
				out = append(out, k.String(fmt.Sprint(v)))
				continue
			}
			out = append(out, k.Float64(v))
		case bool:
			out = append(out, k.Bool(v))
		default:
			out = append(out, k.String(valid(fmt.Sprint(v))))
		}
	}
	return out
}

// Collectors refuse a batch that is too large, and viewers show a name in one line.
const (
	longestText = 8 << 10 // of an attribute, in bytes
	longestName = 200     // of a span, in bytes
)

// valid returns text as UTF-8: a protobuf message takes nothing else, and one bad file name would lose a whole batch.
func valid(text string) string { return cut(strings.ToValidUTF8(text, "\uFFFD"), longestText) }

// cut cuts off what is too long of a text.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	end := most - len("…")
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// title makes the name of a span fit for one line.
func title(name string) string {
	line := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(name, "\uFFFD"))
	return cut(line, longestName)
}

// Reference names a span in any process: a traceparent of W3C Trace Context. The empty one names none.
type Reference string

func (r Reference) context() (trace.SpanContext, bool) {
	var version, traceID, spanID, flags string
	if n, _ := fmt.Sscanf(string(r), "%2s-%32s-%16s-%2s", &version, &traceID, &spanID, &flags); n != 4 {
		return trace.SpanContext{}, false
	}
	t, err1 := trace.TraceIDFromHex(traceID)
	s, err2 := trace.SpanIDFromHex(spanID)
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: t, SpanID: s,
		TraceFlags: trace.FlagsSampled}), err1 == nil && err2 == nil
}

// TraceID is the id that Jaeger shows and searches by; empty for none.
func (r Reference) TraceID() string {
	c, ok := r.context()
	if !ok {
		return ""
	}
	return c.TraceID().String()
}

// Part names the part of a span that has a name of its own, so that a process may end what another began. A span has one
// part of a name.
func (r Reference) Part(name string) Reference {
	c, ok := r.context()
	if !ok {
		return ""
	}
	id := c.SpanID()
	sum := sha256.Sum256(append(id[:], name...))
	return Reference(fmt.Sprintf("00-%s-%x-01", c.TraceID(), sum[:len(id)]))
}

// Link leads from a span to one of another trace.
type Link struct {
	To   Reference
	What string
}

// Opts say more of a span than its name.
type Opts struct {
	Root  bool      // starts a trace of its own
	At    time.Time // when it began; zero for now
	Links []Link    // those to nowhere are left out
	In    *Span     // its parent, if that is not the one of the context
	Below Reference // its parent, where another process has it
	As    Reference // the ids it takes: for a span that another process began and could not end
}

// Span is a span under way. The nil Span is none.
type Span struct{ span trace.Span }

// Begin starts a span below the one of ctx, and returns the context for spans below it.
func (t *Tracing) Begin(ctx context.Context, name string, o Opts, kvs ...KV) (context.Context, *Span) {
	if !t.On() {
		return ctx, nil
	}
	opts := []trace.SpanStartOption{trace.WithAttributes(attrs(append(slices.Clip(kvs), t.always...))...)}
	if o.Root {
		opts = append(opts, trace.WithNewRoot())
	}
	if !o.At.IsZero() {
		opts = append(opts, trace.WithTimestamp(o.At))
	}
	for _, l := range o.Links {
		if link, ok := l.link(); ok {
			opts = append(opts, trace.WithLinks(link))
		}
	}
	start := ctx
	if o.In != nil {
		start = trace.ContextWithSpan(start, o.In.span)
	}
	if c, ok := o.Below.context(); ok {
		start = trace.ContextWithRemoteSpanContext(start, c)
	}
	if c, ok := o.As.context(); ok {
		start = context.WithValue(start, idsKey{}, c)
	}
	_, s := t.tracer.Start(start, title(name), opts...)
	return trace.ContextWithSpan(ctx, s), &Span{s}
}

func (l Link) link() (trace.Link, bool) {
	c, ok := l.To.context()
	return trace.Link{SpanContext: c, Attributes: []attribute.KeyValue{attribute.String(LinkTo, l.What)}}, ok
}

// Link adds a link, unless it leads nowhere.
func (s *Span) Link(l Link) {
	if s == nil {
		return
	}
	if link, ok := l.link(); ok {
		s.span.AddLink(link)
	}
}

// Event records that something happened during the span: at a time, or now if that is zero.
func (s *Span) Event(name string, at time.Time, kvs ...KV) {
	if s == nil {
		return
	}
	opts := []trace.EventOption{trace.WithAttributes(attrs(kvs)...)}
	if !at.IsZero() {
		opts = append(opts, trace.WithTimestamp(at))
	}
	s.span.AddEvent(name, opts...)
}

// Reference names the span.
func (s *Span) Reference() Reference {
	if s == nil {
		return ""
	}
	c := s.span.SpanContext()
	return Reference(fmt.Sprintf("00-%s-%s-01", c.TraceID(), c.SpanID()))
}

// Set adds attributes.
func (s *Span) Set(kvs ...KV) {
	if s != nil {
		s.span.SetAttributes(attrs(kvs)...)
	}
}

// Fail marks the span as failed and records the error as an event named exception, as OpenTelemetry's semantic
// conventions ask, with more attributes, such as where in the configuration it belongs.
func (s *Span) Fail(err error, kvs ...KV) {
	if s == nil || err == nil {
		return
	}
	s.Event(EventException, time.Time{}, append(kvs, KV{Key: ExceptionType, Value: fmt.Sprintf("%T", err)},
		KV{Key: ExceptionMessage, Value: err.Error()})...)
	s.span.SetStatus(codes.Error, valid(err.Error()))
	s.span.SetAttributes(attribute.String(ErrorType, class(err)))
}

// class is the type of the innermost error of a chain.
func class(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return reflect.TypeOf(err).String()
		}
		err = next
	}
}

// End ends the span now, with the error it ended in.
func (s *Span) End(err error) { s.EndAt(time.Time{}, err) }

// EndAt ends the span at a time; the zero time is now.
func (s *Span) EndAt(at time.Time, err error) {
	if s == nil {
		return
	}
	s.Fail(err)
	if at.IsZero() {
		s.span.End()
		return
	}
	s.span.End(trace.WithTimestamp(at))
}

// Past records a span that is over, below the one of ctx.
func (t *Tracing) Past(ctx context.Context, name string, start time.Time, d time.Duration, kvs ...KV) context.Context {
	ctx, s := t.Begin(ctx, name, Opts{At: start}, kvs...)
	s.EndAt(start.Add(d), nil)
	return ctx
}

// Measures reports whether metrics are recorded.
func (t *Tracing) Measures() bool { return t != nil && t.meters != nil }

// Record gives a value to a metric of the table: a gauge's, a counter's increment, one of a histogram's.
func (t *Tracing) Record(ctx context.Context, name string, v float64, kvs ...KV) {
	if !t.Measures() || math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	o := metric.WithAttributes(attrs(append(slices.Clip(kvs), t.always...))...)
	switch i := t.instruments[name].(type) {
	case metric.Float64Gauge:
		i.Record(ctx, v, o)
	case metric.Float64Counter:
		i.Add(ctx, v, o)
	case metric.Float64Histogram:
		i.Record(ctx, v, o)
	}
}

type idsKey struct{}

// ids makes random ids, or gives a span those that its context holds.
type ids struct{}

func (i ids) NewIDs(ctx context.Context) (t trace.TraceID, s trace.SpanID) {
	if c, ok := ctx.Value(idsKey{}).(trace.SpanContext); ok {
		return c.TraceID(), c.SpanID()
	}
	crand.Read(t[:])
	return t, i.NewSpanID(ctx, t)
}

func (ids) NewSpanID(ctx context.Context, _ trace.TraceID) (s trace.SpanID) {
	if c, ok := ctx.Value(idsKey{}).(trace.SpanContext); ok {
		return c.SpanID()
	}
	crand.Read(s[:])
	return s
}
