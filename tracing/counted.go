package tracing

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// queued is how many spans may wait for the exporter; those that find the queue full are dropped.
const queued = 1 << 14

// batches reads OTEL_BSP_*. OpenTelemetry would make queues and batches of any size that these name, and panic where one
// is negative or larger than memory.
func batches() ([]sdktrace.BatchSpanProcessorOption, error) {
	const most = 1 << 20
	queue, batch := queued, sdktrace.DefaultMaxExportBatchSize
	for _, v := range []struct {
		name string
		set  *int
	}{{"MAX_QUEUE_SIZE", &queue}, {"MAX_EXPORT_BATCH_SIZE", &batch}, {"SCHEDULE_DELAY", new(int)}, {"EXPORT_TIMEOUT", new(int)}} {
		text := os.Getenv("OTEL_BSP_" + v.name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return nil, fmt.Errorf("OTEL_BSP_%s is %q; it takes a whole number from 1 to %d", v.name, text, most)
		}
		*v.set = n
	}
	return []sdktrace.BatchSpanProcessorOption{sdktrace.WithMaxQueueSize(queue),
		sdktrace.WithMaxExportBatchSize(min(batch, queue))}, nil
}

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
