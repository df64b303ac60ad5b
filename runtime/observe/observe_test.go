package observe

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
