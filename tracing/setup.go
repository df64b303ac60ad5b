package tracing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

// FileVariable names the file of OTEL_TRACES_EXPORTER=file.
const FileVariable = "STEPFLOW_TRACE_FILE"

// Tracing is OpenTelemetry as configured by the environment. The nil Tracing is off and free.
type Tracing struct {
	tracer   trace.Tracer
	gauges   map[string]metric.Float64Gauge
	provider *sdktrace.TracerProvider
	meters   *sdkmetric.MeterProvider
	closer   io.Closer
}

// Setup reads the standard OTEL_* variables: OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER and
// OTEL_METRICS_EXPORTER (otlp, console, none; traces also file), OTEL_EXPORTER_OTLP_*. With none of
// them set it returns nil: tracing is off. Errors while exporting are reported once and never stop
// a run.
func Setup(ctx context.Context, version string, log *slog.Logger) (*Tracing, error) {
	get := os.Getenv
	if strings.EqualFold(get("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	endpoint := get("OTEL_EXPORTER_OTLP_ENDPOINT")
	kind := func(variable, specific string) string {
		if v := get(variable); v != "" {
			return v
		}
		if endpoint != "" || get(specific) != "" {
			return "otlp"
		}
		return "none"
	}
	traces := kind("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	metrics := kind("OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
	if traces == "none" && metrics == "none" {
		return nil, nil
	}
	t := &Tracing{gauges: map[string]metric.Float64Gauge{}}
	res, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName("stepflow"), semconv.ServiceVersion(version)),
		resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithProcessPID(), resource.WithHost())
	if err != nil && res == nil {
		return nil, fmt.Errorf("setting up tracing: %w", err)
	}
	var once sync.Once
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		once.Do(func() { log.Warn("telemetry could not be exported; the run goes on without", "error", err) })
	}))
	if traces != "none" {
		exp, err := t.spanExporter(ctx, traces, protocol("TRACES"))
		if err != nil {
			return nil, fmt.Errorf("setting up tracing: %w", err)
		}
		t.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(res),
			sdktrace.WithBatcher(exp, sdktrace.WithMaxQueueSize(1<<14), sdktrace.WithExportTimeout(5*time.Second)))
		t.tracer = t.provider.Tracer("stepflow")
	}
	if metrics != "none" {
		exp, err := metricExporter(ctx, metrics, protocol("METRICS"))
		if err != nil {
			return nil, fmt.Errorf("setting up metrics: %w", err)
		}
		t.meters = sdkmetric.NewMeterProvider(sdkmetric.WithResource(res), sdkmetric.WithReader(sdkmetric.NewPeriodicReader(exp, sdkmetric.WithTimeout(5*time.Second))))
		m := t.meters.Meter("stepflow")
		for _, n := range Metrics {
			g, err := m.Float64Gauge(n.Name, metric.WithUnit(n.Unit), metric.WithDescription(n.Doc))
			if err != nil {
				return nil, fmt.Errorf("setting up metrics: %w", err)
			}
			t.gauges[n.Name] = g
		}
	}
	return t, nil
}

// New makes a Tracing that gives its spans to an exporter, one by one; for tests.
func New(exp sdktrace.SpanExporter) *Tracing {
	p := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exp))
	return &Tracing{provider: p, tracer: p.Tracer("stepflow"), gauges: map[string]metric.Float64Gauge{}}
}

func protocol(signal string) string {
	if p := os.Getenv("OTEL_EXPORTER_OTLP_" + signal + "_PROTOCOL"); p != "" {
		return p
	}
	if p := os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"); p != "" {
		return p
	}
	return "http/protobuf"
}

func (t *Tracing) spanExporter(ctx context.Context, kind, protocol string) (sdktrace.SpanExporter, error) {
	switch {
	case kind == "console":
		return stdouttrace.New(stdouttrace.WithWriter(os.Stderr))
	case kind == "file":
		path := os.Getenv(FileVariable)
		if path == "" {
			path = "stepflow-trace.jsonl"
		}
		f, err := os.Create(path)
		if err != nil {
			return nil, err
		}
		t.closer = f
		return stdouttrace.New(stdouttrace.WithWriter(f))
	case kind == "otlp" && protocol == "grpc":
		return otlptracegrpc.New(ctx)
	case kind == "otlp" && protocol == "http/protobuf":
		return otlptracehttp.New(ctx)
	case kind == "otlp":
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q; it takes grpc or http/protobuf", protocol)
	}
	return nil, fmt.Errorf("OTEL_TRACES_EXPORTER is %q; it takes otlp, console, file or none", kind)
}

func metricExporter(ctx context.Context, kind, protocol string) (sdkmetric.Exporter, error) {
	switch {
	case kind == "console":
		return stdoutmetric.New(stdoutmetric.WithWriter(os.Stderr))
	case kind == "otlp" && protocol == "grpc":
		return otlpmetricgrpc.New(ctx)
	case kind == "otlp" && protocol == "http/protobuf":
		return otlpmetrichttp.New(ctx)
	case kind == "otlp":
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q; it takes grpc or http/protobuf", protocol)
	}
	return nil, fmt.Errorf("OTEL_METRICS_EXPORTER is %q; it takes otlp, console or none", kind)
}

// Shutdown sends what is queued, for a few seconds at most.
func (t *Tracing) Shutdown() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var errs []error
	if t.provider != nil {
		errs = append(errs, t.provider.Shutdown(ctx))
	}
	if t.meters != nil {
		errs = append(errs, t.meters.Shutdown(ctx))
	}
	if t.closer != nil {
		errs = append(errs, t.closer.Close())
	}
	return errors.Join(errs...)
}

// On tells whether spans are recorded.
func (t *Tracing) On() bool { return t != nil && t.tracer != nil }

// KV is an attribute with a plain value: string, int, int64, float64 or bool.
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
			out = append(out, k.String(v))
		case int:
			out = append(out, k.Int(v))
		case int64:
			out = append(out, k.Int64(v))
		case float64:
			out = append(out, k.Float64(v))
		case bool:
			out = append(out, k.Bool(v))
		default:
			out = append(out, k.String(fmt.Sprint(v)))
		}
	}
	return out
}

// Span starts a span and gives the function that ends it, with the error it ended in.
func (t *Tracing) Span(ctx context.Context, name string, kvs ...KV) (context.Context, func(err error, kvs ...KV)) {
	if !t.On() {
		return ctx, func(error, ...KV) {}
	}
	ctx, s := t.tracer.Start(ctx, name, trace.WithAttributes(attrs(kvs)...))
	return ctx, func(err error, kvs ...KV) {
		s.SetAttributes(attrs(kvs)...)
		if err != nil {
			s.RecordError(err)
			s.SetStatus(codes.Error, err.Error())
		}
		s.End()
	}
}

// Past records a span that is over, at its own times.
func (t *Tracing) Past(ctx context.Context, name string, start time.Time, d time.Duration, kvs ...KV) context.Context {
	if !t.On() {
		return ctx
	}
	ctx, s := t.tracer.Start(ctx, name, trace.WithTimestamp(start), trace.WithAttributes(attrs(kvs)...))
	s.End(trace.WithTimestamp(start.Add(d)))
	return ctx
}

// Gauge records the value of a metric of the table.
func (t *Tracing) Gauge(ctx context.Context, name string, v float64, kvs ...KV) {
	if t == nil {
		return
	}
	if g := t.gauges[name]; g != nil {
		g.Record(ctx, v, metric.WithAttributes(attrs(kvs)...))
	}
}
