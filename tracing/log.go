package tracing

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// WithTraceIDs adds the ids of the context's span to each record: trace_id and span_id, as OpenTelemetry's logs in
// other formats have them.
func WithTraceIDs(h slog.Handler) slog.Handler { return idHandler{h} }

type idHandler struct{ slog.Handler }

func (h idHandler) Handle(ctx context.Context, r slog.Record) error {
	if c := trace.SpanContextFromContext(ctx); c.IsValid() {
		r.AddAttrs(slog.String("trace_id", c.TraceID().String()), slog.String("span_id", c.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h idHandler) WithAttrs(a []slog.Attr) slog.Handler { return idHandler{h.Handler.WithAttrs(a)} }
func (h idHandler) WithGroup(name string) slog.Handler   { return idHandler{h.Handler.WithGroup(name)} }
