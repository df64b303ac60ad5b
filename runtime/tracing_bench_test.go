package runtime_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"stepflow/fineweb"
	"stepflow/gpu/cpu"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/program"
	"stepflow/runtime/train"
	"stepflow/tracing"
)

// randomBatch is a micro-batch of random tokens.
func randomBatch(s *stage.Stage, rng *rand.Rand) *fineweb.Batch {
	n := s.Batch * s.Seq
	b := &fineweb.Batch{IDs: make([]int32, n), Targets: make([]int32, n), Segments: make([]int32, n), Valid: n}
	for i := range b.IDs {
		b.IDs[i], b.Targets[i] = rng.Int32N(int32(s.Model.VocabSize)), rng.Int32N(int32(s.Model.VocabSize))
	}
	return b
}

// BenchmarkTelemetry measures what telemetry adds to a step of the quickstart's last stage: with everything off, to a
// step that is not sampled, and to one that is, the sending of its spans to a collector included.
func BenchmarkTelemetry(b *testing.B) {
	const dir = "../pipelines/quickstart"
	if _, err := os.Stat(dir + "/data/go-docs.parquet"); err != nil {
		b.Skip("make quickstart makes the data")
	}
	p, diags := plan.New(context.Background(), plan.Options{Path: dir, StateDir: b.TempDir(), Caps: cpu.PlanCaps("")})
	if diags.HasErrors() {
		b.Fatal(diags)
	}
	var a *plan.Action
	for _, x := range p.Actions {
		if stageOf(x) != nil {
			a = x
		}
	}
	s := stageOf(a)
	d, err := cpu.Open(0, "")
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	rng := rand.New(rand.NewPCG(1, 1))
	timed, err := train.TimeSteps(b.Context(), &s.Stage, d, 1, func() *fineweb.Batch { return randomBatch(s, rng) })
	must(b, err)
	run := &observe.StepRun{Start: timed[0].Start, Data: timed[0].Start, Runs: timed[0].Runs}
	loaded, err := d.Load(s.Program)
	must(b, err)
	defer loaded.Close()
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/x-protobuf") }))
	defer collector.Close()
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	for _, x := range []struct {
		name string
		on   bool
		step int
	}{{"off", false, 50}, {"step not sampled", true, 51}, {"step sampled", true, 50}} {
		b.Run(x.name, func(b *testing.B) {
			o := &observe.Observer{Device: "bench", Budget: observe.Budget{Every: 50, Shown: 1 << 30, MaxSpans: 1 << 60}}
			if x.on {
				if o.Trace, err = tracing.Setup(context.Background(), "bench", slog.New(slog.DiscardHandler)); err != nil {
					b.Fatal(err)
				}
			}
			o.Start(context.Background(), "bench", observe.RunBefore{}, observe.Past{})
			ctx, block := o.Block(context.Background(), observe.Place{Addr: a.Addr}, "")
			work := s.Work()
			work.Steps = 1 << 30
			steps := block.Steps(ctx, work, 1)
			m := metrics.Step{Step: x.step, Seconds: timed[0].Seconds}
			b.ReportAllocs()
			for b.Loop() {
				steps.Done(ctx, m, run)
			}
			if err := o.Trace.Shutdown(); err != nil {
				b.Fatal(err)
			}
		})
	}
	for _, timed := range []bool{false, true} {
		seg, _ := s.Program.Segment(program.SegUpdate) // many short operations: where taking times costs most
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
