package tracing

import (
	"context"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// queued is how many spans may wait for the exporter; those that find the queue full are dropped.
const queued = 1 << 14

// ending counts the spans that end.
type ending struct {
	sdktrace.SpanProcessor
	n atomic.Int64
}

func (e *ending) OnEnd(s sdktrace.ReadOnlySpan) {
	e.n.Add(1)
	e.SpanProcessor.OnEnd(s)
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
