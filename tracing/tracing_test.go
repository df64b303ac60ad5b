package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	collectlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collect "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector takes OTLP over HTTP and keeps what it got.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	spans  map[string]bool
	logs   []*collectlogs.ExportLogsServiceRequest
	paths  map[string]int
	refuse func(path string, n int) int // status, or 0 to take it
}

func newCollector(t *testing.T, refuse func(path string, n int) int) *collector {
	c := &collector{spans: map[string]bool{}, paths: map[string]int{}, refuse: refuse}
	c.Server = httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(c.Close)
	clean(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	return c
}

// clean unsets what would change a test.
func clean(t *testing.T) {
	for _, v := range []string{"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		t.Setenv(v, "")
	}
}

func (c *collector) take(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.paths[r.URL.Path]++
	n := c.paths[r.URL.Path]
	c.mu.Unlock()
	if c.refuse != nil {
		if status := c.refuse(r.URL.Path, n); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	body, err := io.ReadAll(r.Body)
	if err == nil && r.Header.Get("Content-Encoding") == "gzip" {
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = io.ReadAll(z)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch r.URL.Path {
	case "/v1/traces":
		var m collect.ExportTraceServiceRequest
		if err = errors.Join(err, proto.Unmarshal(body, &m)); err == nil {
			for _, x := range m.ResourceSpans {
				for _, y := range x.ScopeSpans {
					for _, s := range y.Spans {
						c.spans[string(s.SpanId)] = true
					}
				}
			}
		}
	case "/v1/logs":
		var m collectlogs.ExportLogsServiceRequest
		if err = errors.Join(err, proto.Unmarshal(body, &m)); err == nil {
			c.logs = append(c.logs, &m)
		}
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// setup gives a Tracing, and what it warns of.
func setup(t *testing.T) (*Tracing, *bytes.Buffer) {
	t.Helper()
	var warned bytes.Buffer
	tr, err := Setup(context.Background(), "test", slog.New(slog.NewTextHandler(&warned, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return tr, &warned
}

// record makes traces of 100 spans each.
func record(tr *Tracing, traces int) {
	for range traces {
		ctx, s := tr.Begin(context.Background(), SpanStep, Opts{Root: true})
		for range 99 {
			_, c := tr.Begin(ctx, "matmul", Opts{}, KV{OpKernel, "matmul"})
			c.End(nil)
		}
		s.End(nil)
	}
}

func TestEverySpanArrives(t *testing.T) {
	c := newCollector(t, nil)
	tr, warned := setup(t)
	record(tr, 20)
	if err := tr.Shutdown(); err != nil {
		t.Fatal(err)
	}
	all, lost := tr.Spans()
	if all != 2000 || lost != 0 || len(c.spans) != 2000 || warned.Len() > 0 {
		t.Errorf("%d spans, %d lost, %d arrived; %s", all, lost, len(c.spans), warned)
	}
}

// TestStuckCollector holds every request until all spans were made: making them waits for nobody, what the queue has no
// room for is counted.
func TestStuckCollector(t *testing.T) {
	made := make(chan struct{})
	c := newCollector(t, func(string, int) int { <-made; return 0 })
	tr, _ := setup(t)
	record(tr, 400)
	close(made)
	if err := tr.Shutdown(); err != nil {
		t.Fatal(err)
	}
	all, lost := tr.Spans()
	if all != 40000 || lost == 0 || int64(len(c.spans)) != all-lost {
		t.Errorf("%d spans, %d counted as lost, %d arrived", all, lost, len(c.spans))
	}
}

func TestFlappingCollector(t *testing.T) {
	c := newCollector(t, func(path string, n int) int {
		if n%2 == 1 {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	tr, _ := setup(t)
	record(tr, 10)
	if err := tr.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if _, lost := tr.Spans(); lost != 0 || len(c.spans) != 1000 {
		t.Errorf("%d lost, %d arrived", lost, len(c.spans))
	}
}

// TestOfSignal prefers a signal's own variable.
func TestOfSignal(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2000")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1500")
	if a, b := giveUp(traces), giveUp(measures); a != 1500*time.Millisecond || b != 2*time.Second {
		t.Errorf("%v for traces, %v for metrics", a, b)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "")
	if d := giveUp(records); d >= closeWithin {
		t.Errorf("%v: the end of a run would not learn why", d)
	}
}

// TestDefaultEndpoint names no endpoint: spans go to OpenTelemetry's default, without TLS.
func TestDefaultEndpoint(t *testing.T) {
	l, err := net.Listen("tcp", "localhost:4318")
	if err != nil {
		t.Skip("the port of the default is taken here: ", err)
	}
	c := newCollector(t, nil)
	server := http.Server{Handler: http.HandlerFunc(c.take)}
	go server.Serve(l)
	defer server.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	tr, warned := setup(t)
	record(tr, 1)
	if err := tr.Shutdown(); err != nil || len(c.spans) != 100 || warned.Len() > 0 {
		t.Errorf("%v; %d spans arrived; %s", err, len(c.spans), warned)
	}
}

// TestTracesAlone sends to a collector without metrics and logs, as Jaeger is: nobody asked for those by name, so it is no
// trouble. Who asks for them is told.
func TestTracesAlone(t *testing.T) {
	only := func(path string, _ int) int {
		if path != "/v1/traces" {
			return http.StatusNotFound
		}
		return 0
	}
	newCollector(t, only)
	tr, warned := setup(t)
	record(tr, 1)
	tr.Record(context.Background(), Loss, 1)
	tr.Log().Info("hello")
	if err := tr.Shutdown(); err != nil || warned.Len() > 0 {
		t.Errorf("%v; %s", err, warned)
	}
	t.Setenv("OTEL_METRICS_EXPORTER", "otlp")
	tr, warned = setup(t)
	tr.Record(context.Background(), Loss, 1)
	if err := tr.Shutdown(); err == nil && warned.Len() == 0 {
		t.Error("metrics were asked for and nobody was told that they did not arrive")
	}
}

func TestFaultsAreExplained(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	babbler, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { babbler.Close() })
	go func() {
		for {
			c, err := babbler.Accept()
			if err != nil {
				return
			}
			go func() {
				c.Write([]byte("220 mail.example.org ready\r\n"))
				io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	for _, x := range []struct{ name, endpoint, protocol, want string }{
		{"nobody there", "http://127.0.0.1:9", "http/protobuf", "nothing listens there"},
		{"nobody there, grpc", "http://127.0.0.1:9", "grpc", "nothing listens there"},
		{"unknown certificate", secure.URL, "http/protobuf", "OTEL_EXPORTER_OTLP_CERTIFICATE"},
		{"no TLS", "https://" + strings.TrimPrefix(plain.URL, "http://"), "http/protobuf", "the collector has no TLS"},
		{"another protocol", "http://" + babbler.Addr().String(), "http/protobuf", "another protocol is spoken there"},
		{"another protocol, grpc", "http://" + babbler.Addr().String(), "grpc", "another protocol is spoken there"},
		{"wrong path", plain.URL, "http/protobuf", "no OTLP receiver is at that path"},
	} {
		t.Run(x.name, func(t *testing.T) {
			clean(t)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", x.endpoint)
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", x.protocol)
			t.Setenv("OTEL_METRICS_EXPORTER", "none")
			t.Setenv("OTEL_LOGS_EXPORTER", "none")
			tr, warned := setup(t)
			record(tr, 1)
			err := tr.Shutdown()
			if _, lost := tr.Spans(); lost != 100 {
				t.Errorf("%d of 100 spans are counted as lost", lost)
			}
			if said := warned.String() + fmt.Sprint(err); !strings.Contains(said, x.want) {
				t.Errorf("got: %s\nwant: %s", said, x.want)
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	clean(t)
	t.Setenv("OTEL_TRACES_EXPORTER", "file")
	t.Setenv(FileVariable, "/dev/full")
	tr, warned := setup(t)
	record(tr, 30)
	err := tr.Shutdown()
	if _, lost := tr.Spans(); lost == 0 || err == nil && !strings.Contains(warned.String(), "no space left") {
		t.Errorf("%d lost, %v, %s", lost, err, warned)
	}
}

// TestTraceFileOfTheUser: a file that holds no spans is left alone, one of spans is replaced.
func TestTraceFileOfTheUser(t *testing.T) {
	clean(t)
	path := filepath.Join(t.TempDir(), "notes.txt")
	t.Setenv("OTEL_TRACES_EXPORTER", "file")
	t.Setenv(FileVariable, path)
	if err := os.WriteFile(path, []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Setup(context.Background(), "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "holds no spans") {
		t.Errorf("the user's file: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "notes" {
		t.Errorf("it holds %q now", b)
	}
	os.Truncate(path, 0)
	var sizes []int
	for range 2 {
		tr, _ := setup(t)
		record(tr, 3)
		if err := tr.Shutdown(); err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(path)
		sizes = append(sizes, strings.Count(string(b), "\n"))
	}
	if sizes[0] == 0 || sizes[0] != sizes[1] {
		t.Errorf("two runs leave %v spans", sizes)
	}
}

// TestNotFinite sends numbers that JSON cannot say.
func TestNotFinite(t *testing.T) {
	clean(t)
	path := filepath.Join(t.TempDir(), "trace.jsonl")
	t.Setenv("OTEL_TRACES_EXPORTER", "file")
	t.Setenv(FileVariable, path)
	tr, warned := setup(t)
	_, s := tr.Begin(context.Background(), SpanStep, Opts{Root: true}, KV{Loss, math.NaN()}, KV{GradNorm, math.Inf(1)})
	s.End(nil)
	err := tr.Shutdown()
	b, _ := os.ReadFile(path)
	if _, lost := tr.Spans(); err != nil || lost != 0 || warned.Len() > 0 || !strings.Contains(string(b), `"Value":"NaN"`) || !strings.Contains(string(b), `"Value":"+Inf"`) {
		t.Errorf("%d lost, %v, %s: %s", lost, err, warned, b)
	}
}

func TestPrometheus(t *testing.T) {
	clean(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
	t.Setenv("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
	t.Setenv("OTEL_EXPORTER_PROMETHEUS_PORT", port)
	if _, err := Setup(context.Background(), "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_PROMETHEUS_PORT takes another port") {
		t.Errorf("the port is taken: %v", err)
	}
	l.Close()
	tr, _ := setup(t)
	ctx := context.Background()
	stage := KV{Stage, `stage.grid["a"]`}
	for _, m := range Metrics {
		tr.Record(ctx, m.Name, 2, stage)
	}
	tr.Record(ctx, Tokens, 3, stage)
	r, err := http.Get("http://127.0.0.1:" + port + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(r.Body)
	r.Body.Close()
	for _, want := range []string{"stepflow_loss_ratio{", "stepflow_tokens_total{", "} 5\n", "stepflow_step_duration_seconds_bucket{", "stepflow_memory_usage_bytes{", "stepflow_data_queue_depth{", `stepflow_stage="stage.grid[\"a\"]"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %q in\n%s", want, b)
		}
	}
	example(t, tr, "http://127.0.0.1:"+port+"/metrics")
	if err := tr.Shutdown(); err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://127.0.0.1:" + port + "/metrics"); err == nil {
		t.Error("metrics are still served after the end")
	}
}

// example looks for the trace of a step beside the bucket that the step fell into.
func example(t *testing.T, tr *Tracing, metrics string) {
	t.Helper()
	spans := New(tracetest.NewInMemoryExporter())
	ctx, step := spans.Begin(context.Background(), "step 50 · stage.a", Opts{Root: true})
	step.End(nil)
	tr.Record(ctx, MetricStep, 0.3, KV{Key: Stage, Value: "stage.a"})
	q, err := http.NewRequest("GET", metrics, nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "stepflow_step_duration_seconds_bucket") && strings.Contains(line, step.Reference().TraceID()) {
			return
		}
	}
	t.Errorf("no bucket names the trace %s:\n%s", step.Reference().TraceID(), b)
}

func TestLogsCarryTraceIDs(t *testing.T) {
	c := newCollector(t, nil)
	tr, _ := setup(t)
	ctx, s := tr.Begin(context.Background(), "stage", Opts{Root: true})
	tr.Log().InfoContext(ctx, "grown")
	var text bytes.Buffer
	slog.New(WithTraceIDs(slog.NewTextHandler(&text, nil))).With("a", 1).InfoContext(ctx, "grown")
	s.End(nil)
	if err := tr.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if len(c.logs) != 1 {
		t.Fatalf("%d batches of logs", len(c.logs))
	}
	r := c.logs[0].ResourceLogs[0].ScopeLogs[0].LogRecords[0]
	id := s.Reference().TraceID()
	if got := hex.EncodeToString(r.TraceId); got != id || r.Body.GetStringValue() != "grown" {
		t.Errorf("the record is of trace %s, not %s: %v", got, id, r.Body)
	}
	if !strings.Contains(text.String(), "trace_id="+id) {
		t.Error(text.String())
	}
}

// TestEndedByAnother sends spans as they end, and lets another process end those that were under way.
func TestEndedByAnother(t *testing.T) {
	exp := tracetest.NewInMemoryExporter()
	tr := New(exp)
	ctx, root := tr.Begin(context.Background(), "apply x", Opts{Root: true})
	train := root.Reference().Part(SpanTrain)
	ctx, s := tr.Begin(ctx, SpanTrain, Opts{As: train})
	_, c := tr.Begin(ctx, SpanCheckpoint, Opts{})
	c.End(nil)
	if n := len(exp.GetSpans()); n != 1 {
		t.Errorf("%d spans are sent while the run goes on, want the one that ended", n)
	}
	if s.Reference() != train || c.Reference() == train || root.Reference().Part(SpanGrow) == train {
		t.Error("a part has another name than its parent gives it, or shares it")
	}
	_, again := tr.Begin(context.Background(), "apply x", Opts{Root: true, As: root.Reference(),
		Links: []Link{{To: "nonsense"}, {To: root.Reference(), What: "run"}}})
	again.End(nil)
	_, below := tr.Begin(context.Background(), SpanTrain, Opts{Below: root.Reference(), As: train})
	below.End(nil)
	spans := exp.GetSpans()
	if a, b := spans[1], spans[2]; again.Reference() != root.Reference() || len(a.Links) != 1 || a.Parent.IsValid() ||
		below.Reference() != train || b.Parent.SpanID() != a.SpanContext.SpanID() {
		t.Errorf("%+v %+v", a, b)
	}
}

// TestOddText has names and values that are not UTF-8, which a protobuf message would refuse with all that is beside it,
// and some that are long or hold what no line may.
func TestOddText(t *testing.T) {
	c := newCollector(t, nil)
	tr, warned := setup(t)
	_, s := tr.Begin(context.Background(), "apply \xff", Opts{Root: true}, KV{Key: Pipeline, Value: "a\xfe"})
	s.Event(EventWarning, time.Time{}, KV{Key: Message, Value: "b\xfd"})
	s.End(errors.New("c\xfc"))
	if err := tr.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if _, lost := tr.Spans(); lost != 0 || len(c.spans) != 1 || warned.Len() > 0 {
		t.Errorf("%d spans lost, %d came; %s", lost, len(c.spans), warned)
	}
	exp := tracetest.NewInMemoryExporter()
	for _, x := range []struct{ name, want string }{
		{"stage.s[\"a\nb\x1b[31m\u202e\"]", `stage.s["a b [31m "]`},
		{"stage." + strings.Repeat("ж", 5000), "stage." + strings.Repeat("ж", 95) + "…"},
		{"step 50 · stage.middle", "step 50 · stage.middle"},
	} {
		exp.Reset()
		_, s := New(exp).Begin(context.Background(), x.name, Opts{}, KV{Key: Address, Value: strings.Repeat("ж", 1<<20)})
		s.End(nil)
		span := exp.GetSpans()[0]
		if span.Name != x.want {
			t.Errorf("%.40q is called %q, want %q", x.name, span.Name, x.want)
		}
		if text := span.Attributes[0].Value.AsString(); len(text) > longestText || !utf8.ValidString(text) {
			t.Errorf("an attribute has %d bytes", len(text))
		}
	}
}

// TestCollectorComesBack has a collector that takes some spans, is gone, and comes back: the spans that are made then
// arrive, and what was lost is counted.
func TestCollectorComesBack(t *testing.T) {
	c := newCollector(t, nil)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10") // milliseconds, as all of these
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "300")
	warnings := make(chan string, 10)
	tr, err := Setup(context.Background(), "test", slog.New(slog.NewTextHandler(told(warnings), nil)))
	if err != nil {
		t.Fatal(err)
	}
	arrived := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.spans)
	}
	wait := func(what string, f func() bool) {
		for range 500 {
			if f() {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("%s: %d spans arrived", what, arrived())
	}
	record(tr, 1)
	wait("before", func() bool { return arrived() == 100 })
	c.Close() // after its answer: spans that arrive without one count as lost
	record(tr, 1)
	if w := <-warnings; !strings.Contains(w, "could not be exported") {
		t.Error(w)
	}
	l, err := net.Listen("tcp", c.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	again := httptest.NewUnstartedServer(http.HandlerFunc(c.take))
	again.Listener.Close()
	again.Listener = l
	again.Start()
	defer again.Close()
	record(tr, 1)
	wait("after", func() bool { return arrived() >= 200 })
	if err := tr.Shutdown(); err != nil {
		t.Fatal(err)
	}
	all, lost := tr.Spans()
	if all != 300 || lost == 0 || lost > 100 || int64(arrived()) != all-lost {
		t.Errorf("%d spans, %d counted as lost, %d arrived", all, lost, arrived())
	}
	if len(warnings) > 0 {
		t.Errorf("another warning: %s", <-warnings)
	}
}

// told passes on what is written to it.
type told chan string

func (c told) Write(b []byte) (int, error) { c <- string(b); return len(b), nil }

// TestBatchesOfAnySize: sizes that OpenTelemetry would panic at are refused.
func TestBatchesOfAnySize(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "console")
	for _, name := range []string{"MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE", "SCHEDULE_DELAY", "EXPORT_TIMEOUT"} {
		for _, value := range []string{"-1", "0", "9223372036854775807", "1e3", "many"} {
			t.Run(name+" "+value, func(t *testing.T) {
				t.Setenv("OTEL_BSP_"+name, value)
				tr, err := Setup(t.Context(), "0", slog.New(slog.DiscardHandler))
				if want := fmt.Sprintf("OTEL_BSP_%s is %q; it takes a whole number", name, value); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %s", errors.Join(err, tr.Shutdown()), want)
				}
			})
		}
	}
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2") // less than a batch has
	tr, err := Setup(t.Context(), "0", slog.New(slog.DiscardHandler))
	if err := errors.Join(err, tr.Shutdown()); err != nil {
		t.Error(err)
	}
}

// TestFilesOfRanks: ranks that write their spans to files do not write to the same.
func TestFilesOfRanks(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "file")
	t.Setenv(FileVariable, filepath.Join(t.TempDir(), "spans.jsonl"))
	for rank, want := range map[int]string{0: "spans.jsonl", 3: "spans.rank3.jsonl"} {
		tr, err := SetupRank(t.Context(), "0", slog.New(slog.DiscardHandler), rank, rank)
		if err != nil {
			t.Fatal(err)
		}
		_, s := tr.With(KV{Rank, rank}).Begin(t.Context(), "apply", Opts{})
		s.End(nil)
		if err := tr.Shutdown(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(tr.File())
		if filepath.Base(tr.File()) != want || !strings.Contains(string(text), Rank) {
			t.Errorf("rank %d writes %s: %s, %v", rank, tr.File(), text, err)
		}
	}
}
