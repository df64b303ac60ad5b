package observe

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"stepflow/tracing"
)

// TestKilledTwice: the spans of a killed run are sent at once, since the run that sends them may be killed too, and the
// next knows of them no longer.
func TestKilledTwice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace.jsonl")
	t.Setenv("OTEL_TRACES_EXPORTER", "file")
	t.Setenv(tracing.FileVariable, file)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "600000") // milliseconds: nothing is sent for its time
	tr, err := tracing.Setup(t.Context(), "0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Shutdown()
	const of = "0af7651916cd43dd8448eb211c80319c"
	began := time.Now().Add(-time.Hour)
	o := &Observer{Trace: tr}
	o.Start(t.Context(), "p", RunBefore{Trace: "00-" + of + "-b7ad6b7169203331-01", Began: began, Last: began.Add(time.Minute)}, Past{})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), of) && strings.Contains(string(b), "the process ended without a word") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the killed run is not sent: %q", b)
		}
	}
}

// TestStrangeDead: what a state says of killed blocks is sent in a trace that can be read, whatever it is.
func TestStrangeDead(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	o := &Observer{Trace: tracing.New(spans)}
	past, future := time.Unix(0, 0), time.Now().AddDate(900, 0, 0)
	before := RunBefore{Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Began: time.Now().Add(-time.Hour), Last: future}
	for i := range 10_000 {
		k := Killed{Addr: strings.Repeat("x", 10_000), Kind: "stage", Trace: "00-zz", Began: future, Last: past, Saved: -i}
		if i%2 == 0 {
			k.Trace, k.Began, k.Last = before.Trace, past, future
		}
		before.Killed = append(before.Killed, k)
	}
	o.Start(t.Context(), "p", before, Past{})
	if n := len(spans.GetSpans()); n > traceSpans {
		t.Errorf("%d spans", n)
	}
	for _, s := range spans.GetSpans() {
		if s.EndTime.Before(s.StartTime) || s.EndTime.After(time.Now()) && s.StartTime != future {
			t.Fatalf("%.20s from %v to %v", s.Name, s.StartTime, s.EndTime)
		}
	}
}
