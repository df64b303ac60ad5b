package tracing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutlog"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// FileVariable names the file of OTEL_TRACES_EXPORTER=file.
const FileVariable = "STEPFLOW_TRACE_FILE"

// The signals, as the standard variables spell them.
const (
	traces   = "TRACES"
	measures = "METRICS"
	records  = "LOGS"
)

var signals = []string{traces, measures, records}

// exporterKind is what OTEL_…_EXPORTER says of a signal; without it, otlp if there is an endpoint.
func exporterKind(signal string) string {
	if v := os.Getenv("OTEL_" + signal + "_EXPORTER"); v != "" {
		return v
	}
	if ofSignal(signal, "ENDPOINT", "") != "" {
		return "otlp"
	}
	return "none"
}

// implied reports that nobody asked for a signal by name: one endpoint was given for all, and some collectors, such as
// Jaeger, take traces alone.
func implied(signal string) bool {
	return os.Getenv("OTEL_"+signal+"_EXPORTER") == "" && os.Getenv("OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT") == ""
}

// ofSignal is the value of OTEL_EXPORTER_OTLP_…: the signal's own, else the one for all, else the default.
func ofSignal(signal, name, otherwise string) string {
	for _, v := range []string{"OTEL_EXPORTER_OTLP_" + signal + "_" + name, "OTEL_EXPORTER_OTLP_" + name} {
		if s := os.Getenv(v); s != "" {
			return s
		}
	}
	return otherwise
}

func protocol(signal string) string { return ofSignal(signal, "PROTOCOL", "http/protobuf") }

// again is how a collector that is overloaded or starting is tried again; nothing waits for it but the queues.
var again = struct {
	Enabled                                      bool
	InitialInterval, MaxInterval, MaxElapsedTime time.Duration
}{true, 250 * time.Millisecond, 2 * time.Second, 20 * time.Second}

// giveUp is how long a batch is tried where OTEL_EXPORTER_OTLP_TIMEOUT says nothing: less than the end of a run waits,
// so that its error tells why.
func giveUp(signal string) time.Duration {
	if ms, err := strconv.Atoi(ofSignal(signal, "TIMEOUT", "")); err == nil && ms > 0 {
		return time.Duration(ms) * time.Millisecond
	}
	return closeWithin - time.Second
}

// plain adds to an exporter's options the one for a connection without TLS where no endpoint is given: OpenTelemetry's
// default is http://localhost, that of its exporters https.
func plain[T any](signal string, insecure T, options ...T) []T {
	if ofSignal(signal, "ENDPOINT", "") == "" {
		options = append(options, insecure)
	}
	return options
}

// unknown says what a variable takes.
func unknown(signal, kind, protocol, kinds string) error {
	if kind == "otlp" {
		return fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL is %q; it takes grpc or http/protobuf", protocol)
	}
	return fmt.Errorf("OTEL_%s_EXPORTER is %q; it takes %s", signal, kind, kinds)
}

// createTrace opens the file that spans are written to. It replaces the spans of another run, and nothing else.
func createTrace(path string) (*os.File, error) {
	const head = `{"Name":` // of every line that stdouttrace writes
	switch st, err := os.Stat(path); {
	case strings.HasSuffix(path, ".hcl"):
		return nil, fmt.Errorf("%s is the name of a file of a pipeline: set %s to one that does not end in .hcl",
			path, FileVariable)
	case err == nil && st.Mode().IsRegular() && st.Size() > 0:
		b := make([]byte, len(head))
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		_, err = io.ReadFull(f, b)
		f.Close()
		if err != nil || string(b) != head {
			return nil, fmt.Errorf("%s exists and holds no spans: it was left as it is; set %s to another name, or "+
				"remove it", path, FileVariable)
		}
	case err == nil && st.Mode()&os.ModeNamedPipe == 0:
		return os.OpenFile(path, os.O_WRONLY, 0) // a device
	}
	return os.Create(path)
}

// fileOf is the file of a rank: stepflow-trace.rank2.jsonl. Rank 0 has the name that was given.
func fileOf(path string, rank int) string {
	if rank == 0 {
		return path
	}
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s.rank%d%s", strings.TrimSuffix(path, ext), rank, ext)
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
		path = fileOf(path, t.rank)
		f, err := createTrace(path)
		if err != nil {
			return nil, err
		}
		t.closers, t.file = append(t.closers, f), path
		return stdouttrace.New(stdouttrace.WithWriter(f))
	case kind == "otlp" && protocol == "grpc":
		return otlptracegrpc.New(ctx, plain(traces, otlptracegrpc.WithInsecure(), otlptracegrpc.WithTimeout(giveUp(traces)),
			otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig(again)))...)
	case kind == "otlp" && protocol == "http/protobuf":
		return otlptracehttp.New(ctx, plain(traces, otlptracehttp.WithInsecure(), otlptracehttp.WithTimeout(giveUp(traces)),
			otlptracehttp.WithRetry(otlptracehttp.RetryConfig(again)))...)
	}
	return nil, unknown(traces, kind, protocol, "otlp, console, file or none")
}

func (t *Tracing) metricReader(ctx context.Context, kind, protocol string) (sdkmetric.Reader, error) {
	var exp sdkmetric.Exporter
	var err error
	switch {
	case kind == "prometheus":
		return t.serveMetrics()
	case kind == "console":
		exp, err = stdoutmetric.New(stdoutmetric.WithWriter(os.Stderr))
	case kind == "otlp" && protocol == "grpc":
		exp, err = otlpmetricgrpc.New(ctx, plain(measures, otlpmetricgrpc.WithInsecure(), otlpmetricgrpc.WithTimeout(giveUp(measures)),
			otlpmetricgrpc.WithRetry(otlpmetricgrpc.RetryConfig(again)))...)
	case kind == "otlp" && protocol == "http/protobuf":
		exp, err = otlpmetrichttp.New(ctx, plain(measures, otlpmetrichttp.WithInsecure(), otlpmetrichttp.WithTimeout(giveUp(measures)),
			otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig(again)))...)
	default:
		err = unknown(measures, kind, protocol, "otlp, console, prometheus or none")
	}
	if err != nil {
		return nil, err
	}
	return sdkmetric.NewPeriodicReader(exp, sdkmetric.WithTimeout(closeWithin)), nil
}

// serveMetrics answers Prometheus' scrapes at /metrics, on loopback unless told.
func (t *Tracing) serveMetrics() (sdkmetric.Reader, error) {
	registry := prometheus.NewRegistry()
	reader, err := promexporter.New(promexporter.WithRegisterer(registry))
	if err != nil {
		return nil, err
	}
	host, port := os.Getenv("OTEL_EXPORTER_PROMETHEUS_HOST"), os.Getenv("OTEL_EXPORTER_PROMETHEUS_PORT")
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = "9464"
	}
	if n, err := strconv.Atoi(port); err == nil && n > 0 {
		port = strconv.Itoa(n + t.local)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("serving metrics: %w; OTEL_EXPORTER_PROMETHEUS_PORT takes another port", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go server.Serve(l)
	t.closers = append(t.closers, server)
	return reader, nil
}

func (t *Tracing) setLogs(ctx context.Context, kind string, res *resource.Resource) error {
	var exp sdklog.Exporter
	var err error
	switch p := protocol(records); {
	case kind == "console":
		exp, err = stdoutlog.New(stdoutlog.WithWriter(os.Stderr))
	case kind == "otlp" && p == "grpc":
		exp, err = otlploggrpc.New(ctx, plain(records, otlploggrpc.WithInsecure(), otlploggrpc.WithTimeout(giveUp(records)),
			otlploggrpc.WithRetry(otlploggrpc.RetryConfig(again)))...)
	case kind == "otlp" && p == "http/protobuf":
		exp, err = otlploghttp.New(ctx, plain(records, otlploghttp.WithInsecure(), otlploghttp.WithTimeout(giveUp(records)),
			otlploghttp.WithRetry(otlploghttp.RetryConfig(again)))...)
	default:
		err = unknown(records, kind, p, "otlp, console or none")
	}
	if err != nil {
		return err
	}
	t.logs = sdklog.NewLoggerProvider(sdklog.WithResource(res),
		sdklog.WithProcessor(sdklog.NewBatchProcessor(exp, sdklog.WithExportTimeout(closeWithin))))
	t.log = slog.New(otelslog.NewHandler("stepflow", otelslog.WithLoggerProvider(t.logs)))
	return nil
}

const notFound = "404 Not Found" // the number alone may be part of a port

const hungUp = "the other side hung up, as one does where another protocol is spoken there: 4317 is usual for grpc, " +
	"4318 for http/protobuf"

// hints say what to do about an error of exporting, by a part of its text.
var hints = []struct{ part, hint string }{
	{"connection refused", "nothing listens there: start the collector, or correct OTEL_EXPORTER_OTLP_ENDPOINT"},
	{"no such host", "correct the host of OTEL_EXPORTER_OTLP_ENDPOINT"},
	{"malformed HTTP",
		"another protocol is spoken there: 4318 is usual for http/protobuf, 4317 for OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
	{"server preface",
		"another protocol is spoken there: 4317 is usual for grpc, 4318 for OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"},
	{"connection reset", hungUp},
	{"broken pipe", hungUp},
	{"use of closed network connection", hungUp},
	{"EOF", hungUp},
	{"readLoopPeekFailLocked", hungUp}, // net/http, when the other side spoke first
	{"unexpected HTTP status code",
		"another protocol is spoken there: 4317 is usual for grpc, 4318 for OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"},
	{notFound, "no OTLP receiver is at that path: OTEL_EXPORTER_OTLP_ENDPOINT takes the address without /v1/traces"},
	{"server gave HTTP response to HTTPS client",
		"the collector has no TLS: write http:// in OTEL_EXPORTER_OTLP_ENDPOINT"},
	{"x509", "OTEL_EXPORTER_OTLP_CERTIFICATE names the file of the certificate to trust"},
	{"tls:", "TLS failed: OTEL_EXPORTER_OTLP_CERTIFICATE names the certificate to trust, http:// asks for none"},
	{"deadline exceeded", "the collector is slow or unreachable"},
	{"no space left", "free space, or set " + FileVariable + " to a file elsewhere"},
}

// explain adds to an error of exporting what to do about it. It gives nil for a signal that nobody asked for and the
// collector does not take.
func explain(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, s := range []struct{ signal, path, service string }{
		{measures, "/v1/metrics", "MetricsService"}, {records, "/v1/logs", "LogsService"},
	} {
		refused := strings.Contains(text, notFound) && strings.Contains(text, s.path) ||
			strings.Contains(text, "unknown service") && strings.Contains(text, s.service)
		if refused && implied(s.signal) {
			return nil
		}
	}
	var h *hinted
	if errors.As(err, &h) {
		return err
	}
	for _, x := range hints {
		if strings.Contains(text, x.part) {
			return &hinted{err, x.hint}
		}
	}
	return err
}

type hinted struct {
	error
	hint string
}

func (h *hinted) Error() string { return h.error.Error() + ". " + h.hint }
func (h *hinted) Unwrap() error { return h.error }
