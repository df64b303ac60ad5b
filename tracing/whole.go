package tracing

import (
	"context"
	"sync"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// spansHeld is how many spans of a trace are kept until its root ends.
const spansHeld = 1 << 14

// whole passes a trace on when its root ends, root first: no reader ever meets spans whose root is missing, however
// the process ends. It never waits.
type whole struct {
	sdktrace.SpanProcessor
	mu      sync.Mutex
	held    map[trace.TraceID][]sdktrace.ReadOnlySpan
	passed  atomic.Int64
	dropped atomic.Int64
}

func newWhole(next sdktrace.SpanProcessor) *whole {
	return &whole{SpanProcessor: next, held: map[trace.TraceID][]sdktrace.ReadOnlySpan{}}
}

func (w *whole) OnEnd(s sdktrace.ReadOnlySpan) {
	id := s.SpanContext().TraceID()
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Parent().IsValid() {
		if len(w.held[id]) >= spansHeld {
			w.dropped.Add(1)
			return
		}
		w.held[id] = append(w.held[id], s)
		return
	}
	below := w.held[id]
	delete(w.held, id)
	w.passed.Add(int64(len(below)) + 1)
	w.SpanProcessor.OnEnd(s)
	for _, c := range below {
		w.SpanProcessor.OnEnd(c)
	}
}

// counted counts what an exporter takes.
type counted struct {
	sdktrace.SpanExporter
	sent atomic.Int64
}

func (c *counted) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		c.sent.Add(int64(len(spans)))
	}
	return err
}
