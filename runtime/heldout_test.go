package runtime_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/runtime/apply"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/state"
)

// leaking is the tiny pipeline with an evaluation whose documents the stages train on, under another block and name.
func leaking(t *testing.T) string {
	t.Helper()
	dir := pipeline(t)
	b, err := os.ReadFile(filepath.Join(dir, "d.jsonl"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "copy.jsonl"), b, 0o644))
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), append(src, []byte(`
data "jsonl" "held" {
  source              = "copy.jsonl"
  validation_fraction = 0.999
}

evaluate "perplexity" "leak" {
  model = stage.two
  data  = data.jsonl.held.validation
}

output "seen" { value = stage.one.held_out_documents }
`)...), 0o644))
	return dir
}

// Documents that are measured and trained on are warned of by the plan, which knows the files, and counted by the run, which goes on
// counting where it was interrupted; what is trained does not depend on it.
func TestHeldOutDocumentsAreCounted(t *testing.T) {
	d := cpuDevice(t, 2)
	plain := pipeline(t)
	must(t, applyOn(t, d, planOf(t, plain, "steps=12")))
	count := func(dir string) (one float64, last int64) {
		st, err := state.Read(filepath.Join(dir, ".stepflow"))
		must(t, err)
		n, ok := st.State.Blocks["stage.one"].Values["held_out_documents"].(float64)
		if !ok {
			t.Fatalf("%v", st.State.Blocks["stage.one"].Values)
		}
		steps, err := metrics.Read(filepath.Join(dir, ".stepflow", "blocks", "stage.one", metrics.FileName))
		must(t, err)
		return n, steps[len(steps)-1].HeldOut
	}
	whole := leaking(t)
	p := planOf(t, whole, "steps=12")
	a := find(p, "stage.one")
	if said := strings.Join(a.Warnings, "\n"); !strings.Contains(said, "data.jsonl.d (") || !strings.Contains(said, "main.hcl:") || !strings.Contains(said, "data.jsonl.held (") || !strings.Contains(said, "evaluate.perplexity.leak (") || !strings.Contains(said, "d.jsonl") {
		t.Errorf("the plan says %q", said)
	}
	var warned []string
	must(t, applyWith(context.Background(), p, apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.Warned && e.Addr.String() == "stage.one" {
			warned = append(warned, e.Message)
		}
	}}))
	n, last := count(whole)
	if n < 14 || int64(n) != last { // all documents, more than once
		t.Errorf("%v documents, %d in the metrics", n, last)
	}
	if len(warned) != 2 || !strings.Contains(warned[0], "evaluate.perplexity.leak measures") || !strings.Contains(warned[1], "evaluate.perplexity.leak measures") {
		t.Errorf("%q", warned)
	}
	got, want := contents(t, whole), contents(t, plain)
	delete(got, "evaluate.perplexity.leak")
	sameContents(t, "counting", got, want)

	stopped := leaking(t)
	ctx, stop := context.WithCancel(context.Background())
	err := applyWith(ctx, planOf(t, stopped, "steps=12"), apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.StepDone && e.Step.Step == 5 {
			stop()
		}
	}})
	if err == nil {
		t.Fatal("the run was not interrupted")
	}
	must(t, applyOn(t, d, planOf(t, stopped, "steps=12")))
	if again, last := count(stopped); again != n || last != int64(n) {
		t.Errorf("%v documents and %d in the metrics, without an interrupt %v", again, last, n)
	}
}

// Of a sensitive source no warning names a file.
func TestSensitiveSourcesAreNotNamed(t *testing.T) {
	dir := leaking(t)
	b, err := os.ReadFile(filepath.Join(dir, "d.jsonl"))
	must(t, err)
	must(t, os.Mkdir(filepath.Join(dir, "s3cret"), 0o755))
	for _, n := range []string{"a.jsonl", "b.jsonl", "_c.jsonl"} {
		must(t, os.WriteFile(filepath.Join(dir, "s3cret", n), b, 0o644))
	}
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	text := strings.Replace(string(src), `"d.jsonl"`, `sensitive("s3cret/*.jsonl")`, 1)
	if text == string(src) {
		t.Fatal("the source is written otherwise")
	}
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
	said := 0
	for _, a := range planOf(t, dir).Actions {
		for _, w := range a.Warnings {
			said++
			if secret(w) {
				t.Errorf("%s: %s", a.Addr, w)
			}
		}
	}
	if said < 2 {
		t.Errorf("%d warnings", said)
	}
}
