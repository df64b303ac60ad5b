package runtime_test

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
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/ops/graph"
	"stepflow/runtime/apply"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/program"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// knownSpans fails the test if a span, link or event carries an attribute that is not in the table, or a name that is not.
func knownSpans(t *testing.T, spans tracetest.SpanStubs) {
	t.Helper()
	known := map[string]bool{}
	for _, n := range tracing.Attributes {
		known[n.Name] = true
	}
	for _, e := range tracing.Events {
		known[e.Name] = true
	}
	named := spanNames()
	for _, s := range spans {
		list := s.Attributes
		for _, e := range s.Events {
			if !known[e.Name] {
				t.Errorf("span %s has the event %s, which is not in the table", s.Name, e.Name)
			}
			list = append(list, e.Attributes...)
		}
		for _, l := range s.Links {
			list = append(list, l.Attributes...)
		}
		operation := false
		for _, a := range list {
			if !known[string(a.Key)] {
				t.Errorf("span %s has the attribute %s, which is not in the table", s.Name, a.Key)
			}
			operation = operation || string(a.Key) == tracing.OpKernel
		}
		if !named.MatchString(s.Name) && !operation {
			t.Errorf("span %s is not in the table", s.Name)
		}
	}
}

// planTree is the tree of the trace of making the plan.
func planTree(dir string) string {
	passes := "      build\n"
	for _, p := range graph.Passes {
		if p.On == nil || p.On(gpu.Caps{}) {
			passes += "      " + p.Name + "\n"
		}
	}
	passes += "      lower\n"
	tree := "plan " + filepath.Base(dir) + " →run\n  load\n"
	for _, a := range []string{"data.jsonl.d", "tokenizer.bpe.t", "model.llama.m", "peft.relora.a", "peft.lora.a", "optimizer.adamw.o", "stage.one", "stage.two", "evaluate.perplexity.p", "evaluate.generation.g", "export.huggingface.e"} {
		tree += "  plan " + a + "\n"
		for _, of := range map[string][]string{"stage.one": {a, a + ", full model"}, "stage.two": {a}}[a] {
			tree += "    compile " + of + "\n" + passes
		}
	}
	return tree
}

// spanNames matches the names that the table has, and those of passes.
func spanNames() *regexp.Regexp {
	names := []string{"build", "lower"}
	for _, n := range tracing.Spans {
		names = append(names, strings.NewReplacer("NUMBER", `\d+(-\d+)?`, "ADDRESS", `\w+\.\S+`, "PIPELINE", ".+", "FILE", ".+", "NAME", `\w+`, "MODULE", `self_attn|mlp|\w+_layernorm`, "KERNEL", "-").Replace(n.Name))
	}
	for _, p := range graph.Passes {
		names = append(names, p.Name)
	}
	return regexp.MustCompile("^(" + strings.Join(names, "|") + ")$")
}

// attribute is the value of a span's attribute as text; empty without it.
func attribute(s tracetest.SpanStub, key string) string {
	for _, a := range s.Attributes {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

// trees prints the traces in the order in which their roots began, operations counted, links by what they lead to.
func trees(t *testing.T, spans tracetest.SpanStubs) string {
	t.Helper()
	knownSpans(t, spans)
	children := map[string][]tracetest.SpanStub{}
	for _, s := range spans {
		id := s.Parent.SpanID().String()
		children[id] = append(children[id], s)
	}
	var b strings.Builder
	var walk func(parent tracetest.SpanStub, id string, depth int)
	walk = func(parent tracetest.SpanStub, id string, depth int) {
		list := children[id]
		sort.SliceStable(list, func(i, j int) bool { return list[i].StartTime.Before(list[j].StartTime) })
		operations := 0
		for _, s := range list {
			if depth > 0 && (s.StartTime.Before(parent.StartTime) || s.EndTime.After(parent.EndTime)) {
				t.Errorf("%s lies outside its parent %s", s.Name, parent.Name)
			}
			if attribute(s, tracing.OpKernel) != "" {
				operations++
				continue
			}
			line := s.Name
			for _, key := range []string{tracing.Address, tracing.StepNumber, tracing.Why, tracing.Outcome} {
				if v := attribute(s, key); v != "" {
					line += " " + v
				}
			}
			for _, l := range s.Links {
				line += " →" + l.Attributes[0].Value.AsString()
			}
			fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", depth), line)
			walk(s, s.SpanContext.SpanID().String(), depth+1)
		}
		if operations > 0 {
			fmt.Fprintf(&b, "%soperations: %d\n", strings.Repeat("  ", depth), operations)
		}
	}
	walk(tracetest.SpanStub{}, "0000000000000000", 0)
	return b.String()
}

// TestSpanTree runs the tiny pipeline with an exporter in memory and compares the trees of spans.
func TestSpanTree(t *testing.T) {
	exp := tracetest.NewInMemoryExporter()
	dir := pipeline(t)
	p := planOf(t, dir, "steps=3", "every=3")
	must(t, applyWith(context.Background(), p, apply.Options{Device: cpuDevice(t, 2), Trace: tracing.New(exp)}))
	spans := exp.GetSpans()
	unplanned := regexp.MustCompile(`^(batch|prompt|text|verify) `) // how many there are depends on the data and on the disk
	n := int64(0)
	for _, s := range spans {
		if !unplanned.MatchString(s.Name) {
			n++
		}
	}
	if want := p.TraceBudget(); n != want.Spans {
		t.Errorf("%d spans, planned %d", n, want.Spans)
	}
	got := trees(t, spans)
	before, steps, _ := strings.Cut(got, "\nstep 1 · stage.one 1 first →run\n")
	i := strings.Index(before, "apply ") // both begin at one time
	run, plan := strings.TrimSpace(before[i:]), before[:i]
	if i == 0 {
		i = strings.Index(before, "\nplan ") + 1
		run, plan = strings.TrimSpace(before[:i]), before[i:]+"\n"
	}
	if want := planTree(dir); plan != want {
		t.Errorf("got:\n%swant:\n%s", plan, want)
	}
	if want := runTree(dir); run != want {
		t.Errorf("got:\n%swant:\n%s", run, want)
	}
	for _, want := range []string{"\nstep 3 · stage.one 3 last →run\n", "\nstep 1 · stage.two 1 first →run\n",
		"  data\n  zero_grad\n  micro_batch 0\n    forward\n      layer 0\n", "    backward\n      layer 2\n",
		"  micro_batch 1\n    forward\n", "  optimizer\n    layer 0\n"} {
		if !strings.Contains(steps, want) {
			t.Errorf("the steps have no %q:\n%s", want, steps)
		}
	}
	for _, s := range spans {
		if s.Name != tracing.SpanCheckpoint {
			continue
		}
		stage := attribute(s, tracing.Stage)
		saved := checkpoint.StepDir(filepath.Join(dir, ".stepflow", "blocks", stage), 3)
		if got := attribute(s, tracing.Bytes); got != strconv.FormatInt(checkpoint.Size(saved), 10) || got == "0" {
			t.Errorf("a checkpoint of %s says %s bytes", stage, got)
		}
	}
	for _, a := range p.Actions {
		if s := stageOf(a); s != nil {
			micro, _ := s.Program.Segment(program.SegMicro)
			update, _ := s.Program.Segment(program.SegUpdate)
			want := 2*(micro.Hi-micro.Lo) + update.Hi - update.Lo
			if n := operationsOf(spans, fmt.Sprintf("step 3 · %s", a.Addr)); n != want {
				t.Errorf("a step of %s shows %d operations of %d", a.Addr, n, want)
			}
		}
	}
}

// runTree is the tree of the tiny pipeline's run, in which all is sampled.
func runTree(dir string) string {
	tree := "apply " + filepath.Base(dir) + " done →plan\n  plan · apply " + filepath.Base(dir) + "\n"
	block := func(address, inside string) {
		tree += "  " + address + " " + address + " done\n" + inside
	}
	stage := func(address, from, merge string) string {
		return from + "    grow\n    train\n      step 1 · " + address + " 1 first →operations\n      step 3 · " + address +
			" 3 last →operations\n" + merge + "    checkpoint 3\n"
	}
	block("tokenizer.bpe.t", "    count words\n      text 0\n    make vocabulary\n")
	block("stage.one", stage("stage.one", "", ""))
	block("stage.two", stage("stage.two", "    verify stage.one\n", "    merge\n"))
	block("evaluate.perplexity.p", "    verify stage.two\n    read weights\n    batch 0\n    batch 1\n    batch 2\n")
	block("evaluate.generation.g", "    verify stage.two\n    prompt 0\n")
	written := "    verify stage.two\n"
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json", "generation_config.json", "model.safetensors", "README.md"} {
		written += "    write " + name + "\n"
	}
	block("export.huggingface.e", written)
	return strings.TrimSuffix(tree, "\n")
}

// operationsOf counts the operations in the trace of which a span of this name is the root.
func operationsOf(spans tracetest.SpanStubs, root string) (n int) {
	for _, r := range spans {
		if r.Name != root || r.Parent.IsValid() {
			continue
		}
		for _, s := range spans {
			if s.SpanContext.TraceID() == r.SpanContext.TraceID() && attribute(s, tracing.OpKernel) != "" {
				n++
			}
		}
	}
	return n
}

// TestRunOfDays makes a trace old after a moment: the run goes on in new ones, in which all that is under way stands
// again and leads to where it stood before.
func TestRunOfDays(t *testing.T) {
	exp := tracetest.NewInMemoryExporter()
	o := &observe.Observer{Trace: tracing.New(exp), Secrets: &dsl.Secrets{}, Budget: observe.Budget{Age: time.Nanosecond, Every: 1, Shown: 1, MaxSpans: 1000}}
	o.Start(context.Background(), "x/long", observe.RunBefore{}, observe.Past{})
	ctx, b := o.Block(context.Background(), observe.Place{Addr: addr.Addr{Kind: "stage", Name: "s"}}, "")
	first := b.Reference()
	must(t, b.Inside(ctx, tracing.SpanTrain, func(ctx context.Context) error {
		return b.Inside(ctx, tracing.SpanCheckpoint, func(context.Context) error { return nil })
	}))
	if b.Reference() == first || b.Reference() == "" {
		t.Error("the block is where it was")
	}
	b.End(nil)
	o.Finish(nil)
	want := `apply long continued
apply long, part 2 continued →previous part
  part 2 · apply long
  stage.s stage.s continued
apply long, part 3 continued →previous part
  part 3 · apply long
  stage.s stage.s continued →previous part
    train continued
apply long, part 4 done →previous part
  part 4 · apply long
  stage.s stage.s done →previous part
    train →previous part
      checkpoint
`
	if got := trees(t, exp.GetSpans()); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	for _, s := range exp.GetSpans() {
		if id := attribute(s, tracing.Run); !s.Parent.IsValid() && id != o.Run().TraceID() {
			t.Errorf("%s is of run %q", s.Name, id)
		}
	}
}

// TestThousandsOfBlocks has more blocks than a trace takes: they stand in several, linked one to the other, each of which
// says what it is.
func TestThousandsOfBlocks(t *testing.T) {
	exp := tracetest.NewInMemoryExporter()
	o := &observe.Observer{Trace: tracing.New(exp), Secrets: &dsl.Secrets{}, Budget: observe.NewBudget(1, 50, 100000, 1, make([]observe.Planned, 5000))}
	o.Start(context.Background(), "x/wide", observe.RunBefore{}, observe.Past{})
	for i := range 5000 {
		_, b := o.Block(context.Background(), observe.Place{Addr: addr.Addr{Kind: "stage", Name: fmt.Sprint("s", i)}}, "")
		b.End(nil)
	}
	o.Finish(nil)
	size, roots, blocks := map[string]int{}, "", map[string]bool{}
	for _, s := range exp.GetSpans() {
		size[s.SpanContext.TraceID().String()]++
		if !s.Parent.IsValid() {
			roots += fmt.Sprintf("%s (%d links)\n", s.Name, len(s.Links))
		}
		if a := attribute(s, tracing.Address); a != "" {
			blocks[a] = true
		}
	}
	if want := "apply wide (0 links)\napply wide, part 2 (1 links)\napply wide, part 3 (1 links)\n"; roots != want || len(blocks) != 5000 {
		t.Errorf("%d blocks in\n%swant\n%s", len(blocks), roots, want)
	}
	for id, n := range size {
		if n > 2000 {
			t.Errorf("trace %s has %d spans", id, n)
		}
	}
}

// TestFailureInTraces lets a stage fail: its span says where in the configuration it stands and why it failed.
func TestFailureInTraces(t *testing.T) {
	exp := tracetest.NewInMemoryExporter()
	p := planOf(t, pipeline(t), "lr=1e30")
	if err := applyWith(context.Background(), p, apply.Options{Device: cpuDevice(t, 2), Trace: tracing.New(exp)}); err == nil {
		t.Fatal("a learning rate of 1e30 trained")
	}
	knownSpans(t, exp.GetSpans())
	found := false
	for _, s := range exp.GetSpans() {
		if attribute(s, tracing.Why) == "failed" && s.Status.Code != codes.Error {
			t.Errorf("%s ended the run, and is not marked", s.Name)
		}
		if s.Name != "stage.one" {
			continue
		}
		found = true
		if s.Status.Code != codes.Error || attribute(s, tracing.Outcome) != "failed" || len(s.Events) != 1 {
			t.Fatalf("status %v, outcome %s, %d events", s.Status, attribute(s, tracing.Outcome), len(s.Events))
		}
		text := fmt.Sprint(s.Events[0].Name, s.Events[0].Attributes)
		for _, want := range []string{"exception", "the first tensor that is not finite", "stage.one", "main.hcl", tracing.CodeLine} {
			if !strings.Contains(text, want) {
				t.Errorf("the event does not tell %q: %s", want, text)
			}
		}
	}
	if !found {
		t.Error("the failed stage has no span")
	}
	if got := trees(t, exp.GetSpans()); !strings.Contains(got, " failed →run\n  data\n") {
		t.Errorf("the step that failed has no trace:\n%s", got)
	}
}

// TestMetricsOfARun scrapes a run at its last step: every metric of the table is there, memory by kind.
func TestMetricsOfARun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	l.Close()
	t.Setenv("OTEL_METRICS_EXPORTER", "prometheus")
	t.Setenv("OTEL_EXPORTER_PROMETHEUS_HOST", "127.0.0.1")
	t.Setenv("OTEL_EXPORTER_PROMETHEUS_PORT", port)
	trace, err := tracing.Setup(context.Background(), "test", slog.New(slog.DiscardHandler))
	must(t, err)
	defer trace.Shutdown()
	var page string
	dir := pipeline(t)
	edit(t, dir, inOne, validation+asking, "stage \"one\"", questions+"stage \"one\"")
	writeQuestions(t, dir)
	must(t, applyWith(context.Background(), planOf(t, dir, "steps=3", "every=2"), apply.Options{Device: cpuDevice(t, 2), Trace: trace, Emit: func(e observe.Event) {
		if e.Kind != observe.StepDone || e.Step.Step != 3 {
			return
		}
		r, err := http.Get("http://127.0.0.1:" + port + "/metrics")
		must(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		must(t, err)
		page = string(b)
	}}))
	for _, m := range tracing.Metrics {
		if !strings.Contains(page, "\n"+strings.ReplaceAll(m.Name, ".", "_")) {
			t.Errorf("a run records no %s", m.Name)
		}
	}
	for _, want := range []string{`stepflow_memory_kind="optimizer"`, `stepflow_stage="stage.two"`} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in\n%s", want, page)
		}
	}
}

// TestResumeLinksTraces interrupts a run, pretends that another was killed, and goes on: each trace leads to the one
// before, and the killed stage gets its root, also if a run without traces comes in between.
func TestResumeLinksTraces(t *testing.T) {
	t.Run("at once", func(t *testing.T) { resumeLinks(t, 0, 3) })
	t.Run("after a run without traces", func(t *testing.T) { resumeLinks(t, 4, 5) })
}

// resumeLinks resumes, at a step, after a run without traces up to the step before, if untraced is not 0.
func resumeLinks(t *testing.T, untraced, step int) {
	dir := pipeline(t)
	exp := tracetest.NewInMemoryExporter()
	d := cpuDevice(t, 2)
	run := func(trace *tracing.Tracing, stopAt int) error {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		return applyWith(ctx, planOf(t, dir, "steps=6"), apply.Options{Device: d, Trace: trace, Emit: func(e observe.Event) {
			if e.Kind == observe.StepDone && e.Step.Step == stopAt {
				cancel()
			}
		}})
	}
	if err := run(tracing.New(exp), 2); !errors.Is(err, observe.ErrInterrupted) {
		t.Fatal(err)
	}
	first := exp.GetSpans()
	if got := trees(t, first); !strings.Contains(got, "stage.one stage.one interrupted\n") {
		t.Errorf("got:\n%s", got)
	}
	// As if it had been killed: the spans that were under way were never sent.
	st, err := state.Open(filepath.Join(dir, ".stepflow"))
	must(t, err)
	if !st.State.Traced.IsZero() {
		t.Error("the state says that a run that was interrupted had no end")
	}
	killed := slices.DeleteFunc(slices.Clone(first), func(s tracetest.SpanStub) bool {
		return !s.Parent.IsValid() && attribute(s, tracing.TraceOf) == "run" || s.Name == "stage.one" || s.Name == tracing.SpanTrain
	})
	for _, s := range first {
		if !s.Parent.IsValid() && attribute(s, tracing.TraceOf) == "run" {
			st.State.Traced = s.StartTime
		}
	}
	st.State.Blocks["stage.one"].TraceEnded = false
	must(t, st.Save())
	must(t, st.Close())
	exp.Reset()
	if untraced > 0 { // it writes over what the state says of the stage
		if err := run(nil, untraced); !errors.Is(err, observe.ErrInterrupted) {
			t.Fatal(err)
		}
	}
	must(t, run(tracing.New(exp), 0))
	got := trees(t, append(killed, exp.GetSpans()...))
	name := filepath.Base(dir)
	for _, want := range []string{"apply " + name + " killed\n", "  stage.one stage.one killed\n    train killed\n      step 1 · stage.one 1 first →operations\n      checkpoint 2\n    grow\n",
		"apply " + name + " done →previous run →plan\n", "  stage.one stage.one done →previous attempt" + fmt.Sprintf("\n    restore\n    train\n      step %[1]d · stage.one %[1]d first", step)} {
		if !strings.Contains(got, want) {
			t.Errorf("the two runs have no %q:\n%s", want, got)
		}
	}
}

// TestSpanBudget bounds the spans of a run: by sampling less often as planned, and by passing over what is too much.
func TestSpanBudget(t *testing.T) {
	dir := pipeline(t)
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), append(src, "\ntelemetry {\n  step_every = 1\n  max_spans = 1500\n}\n"...), 0o644))
	exp := tracetest.NewInMemoryExporter()
	p := planOf(t, dir, "steps=12")
	b := p.TraceBudget()
	if b.Every <= 1 || b.Spans > 1500 && b.Every < 12 {
		t.Errorf("%+v", b)
	}
	p.MaxSpans = 700
	done, err := apply.Apply(context.Background(), p, apply.Options{Device: cpuDevice(t, 2), Trace: tracing.New(exp)})
	must(t, err)
	if n := len(exp.GetSpans()); n > 710 || done.StepsUntraced == 0 {
		t.Errorf("%d spans, %d steps passed over", n, done.StepsUntraced)
	}
}

func TestEvaluationDoesNotDependOnItsBatch(t *testing.T) {
	d := cpuDevice(t, 2)
	var want string
	for _, size := range []int{1, 3, 8} {
		dir := pipeline(t)
		src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
		must(t, err)
		text := strings.Replace(string(src), "data  = data.jsonl.d.validation", fmt.Sprintf("data  = data.jsonl.d.validation\n  batch_size = %d", size), 1)
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
		must(t, applyOn(t, d, planOf(t, dir)))
		st, err := state.Read(filepath.Join(dir, ".stepflow"))
		must(t, err)
		v := st.State.Blocks["evaluate.perplexity.p"].Values
		got := fmt.Sprint(v["loss"], v["stderr"], v["tokens"], v["bits_per_byte"])
		if want == "" {
			want = got
		} else if got != want {
			t.Errorf("batch size %d: %s, want %s", size, got, want)
		}
	}
}

// TestLateValuesAndInstances plans a stage whose learning rate is known only after another was
// evaluated, and stages by for_each.
func TestLateValuesAndInstances(t *testing.T) {
	dir := pipeline(t)
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	text := string(src) + `
optimizer "adamw" "late" { learning_rate = evaluate.perplexity.p.loss / 1000 }
stage "grid" {
  for_each = { a = 1, b = 2 }
  from     = stage.one
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = each.key == "a" ? optimizer.adamw.o : optimizer.adamw.late
    sequence_length = 12
    batch_size      = 2
    steps           = each.value
  }
}
evaluate "perplexity" "grid" {
  for_each = { a = 1, b = 2 }
  model    = stage.grid[each.key]
  data     = data.jsonl.d.validation
}
output "best" { value = min([for k, e in evaluate.perplexity.grid : e.loss]...) }
`
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
	p := planOf(t, dir)
	verbs := map[string]plan.Verb{}
	for _, a := range p.Actions {
		verbs[a.Addr.String()] = a.Verb
	}
	if verbs["optimizer.adamw.late"] != plan.Deferred || verbs[`stage.grid["b"]`] != plan.Deferred {
		t.Errorf("%v", verbs)
	}
	if p.Outputs["best"].IsKnown() {
		t.Error("the plan guesses a loss")
	}
	must(t, applyOn(t, cpuDevice(t, 2), p))
	if p = planOf(t, dir); p.Changes() {
		for _, a := range p.Actions {
			if a.Verb != plan.UpToDate && a.Verb != plan.Ready {
				t.Errorf("%s: %s, %s", a.Addr, a.Verb, a.Why)
			}
		}
	}
	st, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	if v, ok := st.State.Outputs["best"].Value.(float64); !ok || v <= 0 {
		t.Errorf("best is %v", st.State.Outputs["best"].Value)
	}
	if st.State.Blocks[`stage.grid["b"]`].Steps != 2 {
		t.Error("each.value is not what the stage took")
	}
}
