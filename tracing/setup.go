package tracing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

// Tracing is OpenTelemetry as configured by the environment. The nil Tracing is off and free.
type Tracing struct {
	tracer      trace.Tracer
	instruments map[string]any
	spans       *sdktrace.TracerProvider
	ended       *ending
	counted     *counted
	meters      *sdkmetric.MeterProvider
	logs        *sdklog.LoggerProvider
	log         *slog.Logger
	closers     []io.Closer
	file        string // to which spans are written
	always      []KV   // attributes of all spans and metrics
	rank, local int    // of the process; see SetupRank
}

// With returns a tracing whose spans and metrics have more attributes. It shares all else with t.
func (t *Tracing) With(kvs ...KV) *Tracing {
	if t == nil {
		return nil
	}
	u := *t
	u.always = append(slices.Clip(t.always), kvs...)
	return &u
}

// File is the file to which spans are written; empty where they go elsewhere.
func (t *Tracing) File() string {
	if t == nil {
		return ""
	}
	return t.file
}

// closeWithin is how long a run waits at its end for what is queued.
const closeWithin = 5 * time.Second

// Setup reads the standard OTEL_* variables: OTEL_SDK_DISABLED; OTEL_TRACES_EXPORTER (otlp, console, file, none),
// OTEL_METRICS_EXPORTER (otlp, console, prometheus, none) and OTEL_LOGS_EXPORTER (otlp, console, none);
// OTEL_EXPORTER_OTLP_*, OTEL_EXPORTER_PROMETHEUS_HOST and _PORT, OTEL_BSP_*. With none of them set it returns nil:
// telemetry is off. Errors while exporting are reported once a kind and never stop or slow a run.
func Setup(ctx context.Context, version string, warn *slog.Logger) (*Tracing, error) {
	return SetupRank(ctx, version, warn, 0, 0)
}

// SetupRank is Setup on one of several ranks, the local-th of its machine from 0. Each writes a file and serves a port of its own.
func SetupRank(ctx context.Context, version string, warn *slog.Logger, rank, local int) (*Tracing, error) {
	if disabled() {
		return nil, nil
	}
	kinds := map[string]string{}
	off := true
	for _, s := range signals {
		kinds[s] = exporterKind(s)
		off = off && kinds[s] == "none"
	}
	if off {
		return nil, nil
	}
	res, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName("stepflow"),
		semconv.ServiceVersion(version)),
		resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithProcessPID(), resource.WithHost())
	if err != nil && res == nil {
		return nil, fmt.Errorf("setting up telemetry: %w", err)
	}
	otel.SetErrorHandler(&reporter{warn: warn})
	t := &Tracing{instruments: map[string]any{}, rank: rank, local: local}
	for _, s := range []struct {
		signal string
		set    func(context.Context, string, *resource.Resource) error
	}{{traces, t.setSpans}, {measures, t.setMeters}, {records, t.setLogs}} {
		if kinds[s.signal] == "none" {
			continue
		}
		if err := s.set(ctx, kinds[s.signal], res); err != nil {
			return nil, errors.Join(fmt.Errorf("setting up telemetry: %w", err), t.Shutdown())
		}
	}
	return t, nil
}

func disabled() bool { return strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") }

// Asked reports whether the variables ask for traces.
func Asked() bool { return !disabled() && exporterKind(traces) != "none" }

// New makes a Tracing that gives its spans to an exporter, one by one; for tests.
func New(exp sdktrace.SpanExporter) *Tracing {
	t := &Tracing{}
	t.export(sdktrace.NewSimpleSpanProcessor, exp, nil)
	return t
}

func (t *Tracing) export(
	processor func(sdktrace.SpanExporter) sdktrace.SpanProcessor, exp sdktrace.SpanExporter, res *resource.Resource,
) {
	t.counted = &counted{SpanExporter: exp}
	t.ended = &ending{SpanProcessor: processor(t.counted)}
	opts := []sdktrace.TracerProviderOption{sdktrace.WithSpanProcessor(t.ended), sdktrace.WithIDGenerator(ids{}),
		sdktrace.WithSampler(sdktrace.AlwaysSample())}
	if res != nil {
		opts = append(opts, sdktrace.WithResource(res))
	}
	t.spans = sdktrace.NewTracerProvider(opts...)
	t.tracer = t.spans.Tracer("stepflow")
}

func (t *Tracing) setSpans(ctx context.Context, kind string, res *resource.Resource) error {
	opts, err := batches()
	if err != nil {
		return err
	}
	exp, err := t.spanExporter(ctx, kind, protocol(traces))
	if err != nil {
		return err
	}
	t.export(func(e sdktrace.SpanExporter) sdktrace.SpanProcessor {
		return sdktrace.NewBatchSpanProcessor(e, opts...)
	}, exp, res)
	return nil
}

func (t *Tracing) setMeters(ctx context.Context, kind string, res *resource.Resource) error {
	reader, err := t.metricReader(ctx, kind, protocol(measures))
	if err != nil {
		return err
	}
	t.meters = sdkmetric.NewMeterProvider(sdkmetric.WithResource(res), sdkmetric.WithReader(reader))
	m := t.meters.Meter("stepflow")
	for _, n := range Metrics {
		unit, doc := metric.WithUnit(n.Unit), metric.WithDescription(n.Doc)
		var err error
		switch n.Instrument {
		case Gauge:
			t.instruments[n.Name], err = m.Float64Gauge(n.Name, unit, doc)
		case Counter:
			t.instruments[n.Name], err = m.Float64Counter(n.Name, unit, doc)
		case Histogram:
			t.instruments[n.Name], err = m.Float64Histogram(n.Name, unit, doc,
				metric.WithExplicitBucketBoundaries(seconds...))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Flush sends the spans that are queued, and waits for nothing: a process that is killed a moment later has sent them.
func (t *Tracing) Flush() {
	if !t.On() {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
		defer cancel()
		_ = t.spans.ForceFlush(ctx) // the error handler has told of it
	}()
}

// Shutdown sends what is queued, for a few seconds at most.
func (t *Tracing) Shutdown() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	var errs []error
	var wait sync.WaitGroup
	var mu sync.Mutex
	shut := func(f func(context.Context) error) {
		wait.Go(func() {
			err := f(ctx)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	if t.spans != nil {
		shut(t.spans.Shutdown)
	}
	if t.meters != nil {
		shut(t.meters.Shutdown)
	}
	if t.logs != nil {
		shut(t.logs.Shutdown)
	}
	wait.Wait()
	for _, c := range t.closers {
		errs = append(errs, c.Close())
	}
	for i, err := range errs {
		errs[i] = explain(err)
	}
	return errors.Join(errs...)
}

// Spans counts the spans that ended, and those of them that no exporter took; call it after Shutdown.
func (t *Tracing) Spans() (all, lost int64) {
	if !t.On() {
		return 0, 0
	}
	all = t.ended.n.Load()
	return all, all - t.counted.sent.Load()
}

// On reports whether spans are recorded.
func (t *Tracing) On() bool { return t != nil && t.tracer != nil }

// Log gives the logger whose records go out by OTEL_LOGS_EXPORTER, each with the ids of its context's span; nil for
// none.
func (t *Tracing) Log() *slog.Logger {
	if t == nil {
		return nil
	}
	return t.log
}

// reporter is OpenTelemetry's error handler: it warns once, of the first trouble.
type reporter struct {
	once sync.Once
	warn *slog.Logger
}

func (r *reporter) Handle(err error) {
	if err = explain(err); err != nil {
		r.once.Do(func() { r.warn.Warn("telemetry could not be exported; the run goes on without", "error", err) })
	}
}
