package runtime

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"stepflow/gpu/cpu"
	"stepflow/runtime/metrics"
	"stepflow/tracing"
)

// BenchmarkTelemetry measures what telemetry adds to a step of the quickstart's last stage: with everything off, to a
// step that is not sampled, and to one that is, the sending of its spans to a collector included.
func BenchmarkTelemetry(b *testing.B) {
	const dir = "../pipelines/quickstart"
	if _, err := os.Stat(dir + "/data/go-docs.parquet"); err != nil {
		b.Skip("make quickstart makes the data")
	}
	p, diags := NewPlan(Options{Path: dir, StateDir: b.TempDir(), Caps: cpu.PlanCaps("")})
	if diags.HasErrors() {
		b.Fatal(diags)
	}
	var a *Action
	for _, x := range p.Actions {
		if x.Stage != nil {
			a = x
		}
	}
	d, err := cpu.Open(0, "")
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	loaded, err := d.Load(a.Stage.Program)
	if err != nil {
		b.Fatal(err)
	}
	defer loaded.Close()
	t := &trainer{stage: a.Stage, loaded: loaded}
	f := &flight{timed: true, at: time.Now()}
	for _, segment := range []string{segZero, segMicro, segMicro, segUpdate} {
		if err := f.run(t, segment); err != nil {
			b.Fatal(err)
		}
	}
	start := f.at
	took := time.Since(start)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/x-protobuf") }))
	defer collector.Close()
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	for _, x := range []struct {
		name string
		on   bool
		step int
	}{{"off", false, 50}, {"step not sampled", true, 51}, {"step sampled", true, 50}} {
		b.Run(x.name, func(b *testing.B) {
			o := &observer{device: "bench", every: 50, spansLeft: 1 << 60}
			if x.on {
				if o.trace, err = tracing.Setup(context.Background(), "bench", slog.New(slog.DiscardHandler)); err != nil {
					b.Fatal(err)
				}
			}
			w := &sampler{first: 1, last: 1 << 30, every: 50}
			m := metrics.Step{Step: x.step, Seconds: took.Seconds()}
			b.ReportAllocs()
			for b.Loop() {
				o.step(context.Background(), a, w, m, f, start, 0, 0)
			}
			if err := o.trace.Shutdown(); err != nil {
				b.Fatal(err)
			}
		})
	}
	for _, timed := range []bool{false, true} {
		seg, _ := a.Stage.Program.Segment(segUpdate) // many short operations: where taking times costs most
		b.Run(map[bool]string{false: "operations, not timed", true: "operations, timed"}[timed], func(b *testing.B) {
			for b.Loop() {
				if err := loaded.Run(seg.Lo, seg.Hi, timed); err != nil {
					b.Fatal(err)
				}
				if _, err := loaded.Sync(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(seg.Hi-seg.Lo), "ns/operation")
		})
	}
}
