package runtime

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"stepflow/runtime/metrics"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

// TestSpanTree runs the tiny pipeline with an exporter in memory and compares the tree of spans.
func TestSpanTree(t *testing.T) {
	exp := tracetest.NewInMemoryExporter()
	dir := pipeline(t)
	p := planOf(t, dir, "steps=3", "every=3")
	must(t, Apply(context.Background(), p, ApplyOptions{Device: cpuDevice(t, 2), Trace: tracing.New(exp)}))
	spans := exp.GetSpans()
	children := map[string][]tracetest.SpanStub{}
	root := ""
	known := map[string]bool{}
	for _, n := range tracing.Attributes {
		known[n.Name] = true
	}
	for _, s := range spans {
		parent := s.Parent.SpanID().String()
		children[parent] = append(children[parent], s)
		if !s.Parent.SpanID().IsValid() {
			root = parent
		}
		for _, a := range s.Attributes {
			if !known[string(a.Key)] {
				t.Errorf("span %s has the attribute %s, which is not in the table", s.Name, a.Key)
			}
		}
	}
	var b strings.Builder
	var walk func(id string, depth int)
	walk = func(id string, depth int) {
		list := children[id]
		sort.SliceStable(list, func(i, j int) bool { return list[i].StartTime.Before(list[j].StartTime) })
		operations := 0
		for _, s := range list {
			if len(children[s.SpanContext.SpanID().String()]) == 0 && depth > 0 && strings.Contains(fmt.Sprint(s.Attributes), tracing.OpKernel) {
				operations++
				continue
			}
			name := s.Name
			for _, a := range s.Attributes {
				if string(a.Key) == tracing.Address || string(a.Key) == tracing.StepNumber {
					name += " " + a.Value.String()
				}
			}
			fmt.Fprintf(&b, "%s%s\n", strings.Repeat("  ", depth), name)
			walk(s.SpanContext.SpanID().String(), depth+1)
		}
		if operations > 0 {
			fmt.Fprintf(&b, "%soperations: %t\n", strings.Repeat("  ", depth), operations > 50)
		}
	}
	walk(root, 0)
	want := `apply
  tokenizer tokenizer.bpe.t
  stage stage.one
    grow
    train
      step 1
        operations: true
      step 3
        operations: true
    checkpoint 3
  stage stage.two
    grow
    train
      step 1
        operations: true
      step 3
        operations: true
    checkpoint 3
  evaluate evaluate.perplexity.p
  evaluate evaluate.generation.g
  export export.huggingface.e
`
	if b.String() != want {
		t.Errorf("got:\n%swant:\n%s", b.String(), want)
	}
	for _, s := range spans {
		for _, c := range children[s.SpanContext.SpanID().String()] {
			if c.StartTime.Before(s.StartTime) || c.EndTime.After(s.EndTime.Add(1e6)) {
				t.Errorf("%s lies outside its parent %s", c.Name, s.Name)
			}
		}
	}
}

func TestTracingOffCostsNothing(t *testing.T) {
	o := &observer{}
	ctx := context.Background()
	a := &Action{}
	if n := testing.AllocsPerRun(100, func() {
		if o.sampled(50, 1, 100) {
			t.Fatal("sampled without tracing")
		}
		_, end := o.trace.Span(ctx, "x")
		end(nil)
	}); n > 0 {
		t.Errorf("%g allocations a step with tracing off", n)
	}
	o.step(ctx, a, metrics.Step{}, time.Time{}, 0, nil, nil)
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

func TestSampling(t *testing.T) {
	logits := []float32{1, 3, 2, -1}
	count := func(s Sampling) (n [4]int) {
		rng := rand.New(rand.NewPCG(1, 1))
		for i := 0; i < 4000; i++ {
			n[s.next(logits, rng)]++
		}
		return n
	}
	if n := count(Sampling{TopP: 1}); n[1] != 4000 {
		t.Errorf("greedy: %v", n)
	}
	if n := count(Sampling{Temperature: 1, TopP: 1}); n[1] < 2450 || n[1] > 2750 || n[3] == 0 { // softmax gives 0.64
		t.Errorf("temperature 1: %v", n)
	}
	if n := count(Sampling{Temperature: 1, TopP: 1, TopK: 2}); n[0] != 0 || n[3] != 0 || n[2] == 0 {
		t.Errorf("top_k 2: %v", n)
	}
	if n := count(Sampling{Temperature: 1, TopP: 0.6}); n[1] != 4000 {
		t.Errorf("top_p 0.6 holds the likeliest alone: %v", n)
	}
	if n := count(Sampling{Temperature: 100, TopP: 1}); n[3] < 800 {
		t.Errorf("a high temperature is nearly uniform: %v", n)
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
	verbs := map[string]Verb{}
	for _, a := range p.Actions {
		verbs[a.Addr.String()] = a.Verb
	}
	if verbs["optimizer.adamw.late"] != Deferred || verbs[`stage.grid["b"]`] != Deferred {
		t.Errorf("%v", verbs)
	}
	if p.Outputs["best"].IsKnown() {
		t.Error("the plan guesses a loss")
	}
	must(t, applyOn(t, cpuDevice(t, 2), p))
	if p = planOf(t, dir); p.Changes() {
		for _, a := range p.Actions {
			if a.Verb != UpToDate && a.Verb != Ready {
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
