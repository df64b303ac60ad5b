package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/gputest"
	"stepflow/runtime/apply"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// rankRun is a run on several ranks, each a goroutine with a device of its own.
type rankRun struct {
	n    int
	with func(rank int, o *apply.Options) // changes the options of a rank
	vars func(rank int) []string
}

// run applies a pipeline on all ranks, and returns their errors in order.
func (x rankRun) run(t *testing.T, ctx context.Context, dir string) []error {
	t.Helper()
	errs := make([]error, x.n)
	var wg sync.WaitGroup
	for rank, c := range gputest.Ranks(x.n) {
		d := cpuDevice(t, 1)
		must(t, d.Join(c))
		var vars []string
		if x.vars != nil {
			vars = x.vars(rank)
		}
		p, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{Flags: dsl.Vars(vars...)},
			Caps: cpu.PlanCaps(""), Ranks: x.n, Rank: rank})
		if diags.HasErrors() {
			t.Fatal(diags.Errs())
		}
		o := apply.Options{Device: d, Comm: c}
		if x.with != nil {
			x.with(rank, &o)
		}
		wg.Go(func() {
			if rank == 0 {
				errs[0] = applyWith(ctx, p, o)
			} else {
				errs[rank] = apply.Follow(context.Background(), p, o)
			}
		})
	}
	wg.Wait()
	return errs
}

// sound fails a test in which a rank ended with an error.
func sound(t *testing.T, errs []error) {
	t.Helper()
	for rank, err := range errs {
		if err != nil {
			t.Errorf("rank %d of %d: %v", rank, len(errs), err)
		}
	}
}

// parallelPipeline is the tiny pipeline with stages that have a parallel block: what ranks make of it has the bits of one
// process where each rank has one micro-batch.
func parallelPipeline(t *testing.T) string {
	t.Helper()
	dir := pipeline(t)
	text := strings.ReplaceAll(tiny, "    update           = var.update\n", "    update           = var.update\n    parallel { shard = var.shard }\n")
	text = "variable \"shard\" { default = \"optimizer\" }\n" + strings.ReplaceAll(text, "    batch_size       = 4\n", "    batch_size       = 6\n")
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
	return dir
}

// TestRanksGiveTheBitsOfOne trains and measures on several ranks, interrupted in each of the stages, and alone.
func TestRanksGiveTheBitsOfOne(t *testing.T) {
	alone := parallelPipeline(t)
	must(t, applyOn(t, cpuDevice(t, 1), planOf(t, alone, "steps=4")))
	want := contents(t, alone)
	for _, x := range []struct {
		stops []any // stage and step
		shard string
	}{{nil, "none"}, {[]any{"one", 2}, "optimizer"}, {[]any{"two", 3}, "gradients"}} {
		if x.stops == nil && testing.Short() {
			continue
		}
		dir := parallelPipeline(t)
		vars := func(int) []string { return []string{"shard=" + x.shard, "steps=4"} }
		if x.stops != nil {
			ctx, cancel := context.WithCancel(t.Context())
			errs := rankRun{n: 3, vars: vars, with: func(rank int, o *apply.Options) {
				o.Emit = func(e observe.Event) {
					if e.Kind == observe.StepDone && e.Addr.Name == x.stops[0] && e.Step.Step == x.stops[1] {
						cancel()
					}
				}
			}}.run(t, ctx, dir)
			cancel()
			for rank, err := range errs {
				if !errors.Is(err, observe.ErrInterrupted) {
					t.Errorf("stopped at %v, rank %d ends with %v", x.stops, rank, err)
				}
			}
			p := planOf(t, dir, "steps=4")
			if a := find(p, "stage."+x.stops[0].(string)); a.Verb != plan.Resume || a.FromStep != x.stops[1] {
				t.Errorf("stopped at %v: %s from step %d", x.stops, a.Verb, a.FromStep)
			}
		}
		loads := make([]int, 3) // programs of each rank
		sound(t, rankRun{n: 3, vars: vars, with: func(rank int, o *apply.Options) {
			o.Device = &loading{o.Device, &loads[rank]}
			if rank == 0 {
				return
			}
			o.Emit = func(e observe.Event) { t.Errorf("rank %d tells of %v", rank, e) }
			o.Begin = func() error { return fmt.Errorf("rank %d begins a run", rank) }
		}}.run(t, t.Context(), dir))
		onceEach(t, dir)
		sameContents(t, fmt.Sprint("shard ", x.shard, ", stopped at ", x.stops), contents(t, dir), want)
		for rank, loaded := range loads {
			if loaded < 2 {
				t.Errorf("rank %d loaded %d programs", rank, loaded)
			}
		}
		st, err := state.Read(filepath.Join(dir, ".stepflow"))
		must(t, err)
		if text := st.State.Blocks["stage.two"].RanksText(); text != "3" {
			t.Errorf("stage.two was trained by %q ranks", text)
		}
	}
}

// onceEach fails a test in which a step is in a stage's metrics more than once.
func onceEach(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, ".stepflow", "blocks", "stage.*", "metrics.jsonl"))
	must(t, err)
	if len(files) == 0 {
		t.Error("no metrics")
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
			if !strings.Contains(line, fmt.Sprintf(`"step":%d,`, i+1)) {
				t.Errorf("%s: line %d is %s", file, i+1, line)
			}
		}
	}
}

// loading counts the programs that a device loads.
type loading struct {
	gpu.Device
	n *int
}

func (l *loading) Load(p *gpu.Program) (gpu.Loaded, error) {
	*l.n++
	return l.Device.Load(p)
}

// TestRanksThatDiffer has a rank plan what rank 0 does not: the run ends, and says where they differ.
func TestRanksThatDiffer(t *testing.T) {
	dir := parallelPipeline(t)
	errs := rankRun{n: 3, vars: func(rank int) []string {
		if rank == 2 {
			return []string{"lr=0.5"}
		}
		return nil
	}}.run(t, t.Context(), dir)
	for _, want := range []string{"rank 2: ", "optimizer.adamw.o", "learning_rate is 0.5 here, and 0.01 there"} {
		if errs[0] == nil || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("rank 0 says %v, without %q", errs[0], want)
		}
	}
	var ended *apply.EndedError
	for rank, err := range errs[1:] {
		if !errors.As(err, &ended) {
			t.Errorf("rank %d: %v", rank+1, err)
		}
	}
}

// TestTasksOnRanks has three ranks ask a model: requests that are scored, and texts that are written. There are fewer texts
// than ranks in one of the tasks.
func TestTasksOnRanks(t *testing.T) {
	dir, err := filepath.Abs("../tasks/testdata/lm_eval")
	must(t, err)
	model, err := filepath.Abs("testdata/stories260K")
	must(t, err)
	var hcl strings.Builder
	fmt.Fprintf(&hcl, "model \"auto\" \"m\" { from = %q }\ntokenizer \"huggingface\" \"t\" { file = %q }\n", model,
		filepath.Join(model, checkpoint.TokenizerFile))
	for name, limit := range map[string]int{"gsm8k": 2, "arc_easy": 5, "wikitext": 1} {
		fmt.Fprintf(&hcl, "evaluate \"tasks\" %q {\n  model = model.auto.m\n  tokenizer = tokenizer.huggingface.t\n  tasks = [%q]\n"+
			"  limit = %d\n}\n", name, filepath.Join(dir, "runs", "only_"+name+".yaml"), limit)
	}
	p := t.TempDir()
	must(t, os.Symlink(filepath.Join(dir, "data"), filepath.Join(p, "data")))
	must(t, os.WriteFile(filepath.Join(p, "main.hcl"), []byte(hcl.String()), 0o644))
	must(t, applyOn(t, cpuDevice(t, 1), planOf(t, p)))
	want := contents(t, p)
	must(t, os.RemoveAll(filepath.Join(p, ".stepflow")))
	loads := make([]int, 3)
	sound(t, rankRun{n: 3, with: func(rank int, o *apply.Options) {
		o.Device = &loading{o.Device, &loads[rank]}
	}}.run(t, t.Context(), p))
	if len(want) != 3 {
		t.Errorf("%d results", len(want))
	}
	sameContents(t, "3 ranks", contents(t, p), want)
	if loads[1] < 3 || loads[2] < 3 {
		t.Errorf("ranks loaded %v programs", loads)
	}
}

// TestTraceOfRanks puts the spans of two ranks into one trace: those of the other lie below rank 0's span of the block, and all
// say their rank.
func TestTraceOfRanks(t *testing.T) {
	dir := pipeline(t)
	exporters := []*tracetest.InMemoryExporter{tracetest.NewInMemoryExporter(), tracetest.NewInMemoryExporter()}
	sound(t, rankRun{n: 2, with: func(rank int, o *apply.Options) {
		o.Trace = tracing.New(exporters[rank])
	}}.run(t, t.Context(), dir))
	led, followed := exporters[0].GetSpans(), exporters[1].GetSpans()
	knownSpans(t, followed)
	above := map[string]tracetest.SpanStub{}
	for _, s := range led {
		above[s.Name] = s
		if attribute(s, tracing.Rank) != "0" {
			t.Errorf("rank 0's span %s says rank %q", s.Name, attribute(s, tracing.Rank))
		}
	}
	mine := map[string]tracetest.SpanStub{}
	for _, s := range followed {
		mine[s.SpanContext.SpanID().String()] = s
	}
	run := above["apply "+filepath.Base(dir)].SpanContext.TraceID()
	blocks, steps := 0, 0
	for _, s := range followed {
		if attribute(s, tracing.Rank) != "1" {
			t.Errorf("rank 1's span %s says rank %q", s.Name, attribute(s, tracing.Rank))
		}
		if s.SpanContext.TraceID() != run {
			if of := attribute(s, tracing.TraceOf); !s.Parent.IsValid() && of != "step" {
				t.Errorf("rank 1's span %s begins a trace of its own, of %q", s.Name, of)
			}
			continue
		}
		if attribute(s, tracing.StepNumber) != "" && strings.HasPrefix(s.Name, tracing.SpanStep+" ") {
			steps++
			if x, err := strconv.ParseFloat(attribute(s, tracing.Collectives), 64); err != nil || x <= 0 {
				t.Errorf("rank 1's span %s says %q s in collectives", s.Name, attribute(s, tracing.Collectives))
			}
		}
		if _, ok := mine[s.Parent.SpanID().String()]; ok {
			continue
		}
		blocks++
		if at := above[s.Name]; at.SpanContext.SpanID() != s.Parent.SpanID() || attribute(s, tracing.Address) != s.Name {
			t.Errorf("rank 1's span %s is not below rank 0's of the same block", s.Name)
		}
	}
	if blocks != 3 || steps == 0 {
		t.Errorf("rank 1 has spans of %d blocks and %d steps", blocks, steps)
	}
}

// TestTrainedBy follows the number of ranks of a stage that is gone on with.
func TestTrainedBy(t *testing.T) {
	var by []int
	for _, x := range []struct {
		n    int
		want string
	}{{1, ""}, {1, ""}, {4, "1, then 4"}, {4, "1, then 4"}, {2, "1, then 4, then 2"}} {
		by = state.TrainedBy(by, true, x.n)
		if got := (&state.Block{Ranks: by}).RanksText(); got != x.want {
			t.Errorf("%q, want %q", got, x.want)
		}
	}
	if by = state.TrainedBy(by, false, 2); len(by) != 1 || by[0] != 2 {
		t.Errorf("from the start by 2: %v", by)
	}
	if by = state.TrainedBy(by, false, 1); by != nil {
		t.Errorf("from the start by 1: %v", by)
	}
}

// TestVerifyNeedsTheSameRanks verifies a stage that four ranks trained, on one.
func TestVerifyNeedsTheSameRanks(t *testing.T) {
	dir, d := pipeline(t), cpuDevice(t, 2)
	must(t, applyOn(t, d, planOf(t, dir, "steps=1")))
	st, err := state.Open(filepath.Join(dir, ".stepflow"))
	must(t, err)
	st.State.Blocks["stage.one"].Ranks = []int{4}
	st.State.Blocks["stage.two"].Ranks = []int{1, 2}
	must(t, st.Save())
	must(t, st.Close())
	copy, err := state.NewScratch()
	must(t, err)
	defer copy.Remove()
	o := plan.Options{Path: dir, Inputs: dsl.Inputs{Flags: dsl.Vars("steps=1")}, Caps: cpu.PlanCaps("")}
	_, _, err = apply.Verify(t.Context(), o, planOf(t, dir, "steps=1"), copy, apply.Options{Device: d})
	for _, want := range []string{"stage.one was trained by 4 ranks, and would be by 1 now, which makes other bits: verify it with -ranks 4",
		"stage.two was trained by 1, then 2 ranks"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, without %q", err, want)
		}
	}
}
