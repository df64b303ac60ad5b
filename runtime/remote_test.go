package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"stepflow/runtime/apply"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
	"stepflow/tracing"
)

func secret(s string) bool { return strings.Contains(s, "s3cret") || strings.Contains(s, "passw0rd") }

// Data on a server are planned without it where it does not answer, and then as they were last seen; a run wants
// the server. Data that changed there make what was made of them out of date.
func TestDataOnAServer(t *testing.T) {
	t.Setenv("STEPFLOW_CACHE_DIR", t.TempDir())
	dir := pipeline(t)
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	up := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !up {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		http.ServeFile(w, q, filepath.Join(dir, "d.jsonl"))
	}))
	defer server.Close()
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(strings.Replace(string(src), `"d.jsonl"`, `"`+strings.Replace(server.URL, "//", "//me:passw0rd@", 1)+`/d.jsonl?sig=s3cret"`, 1)), 0o644))
	d := cpuDevice(t, 2)

	up = false
	p := planOf(t, dir)
	if !p.Changes() || p.Actions[0].Block.(*data.Data).Unseen == "" || !strings.Contains(strings.Join(p.Actions[0].Warnings, ""), "without a look") {
		t.Fatalf("planned without the server: %+v, %v", p.Actions[0].Block.(*data.Data), p.Actions[0].Warnings)
	}
	if err := applyOn(t, d, p); err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), strings.TrimPrefix(server.URL, "http://")) {
		t.Errorf("a run without its data: %v", err)
	} else if secret(err.Error()) || secret(strings.Join(p.Actions[0].Warnings, "")) {
		t.Errorf("a key is told: %v, %v", err, p.Actions[0].Warnings)
	}

	up = true
	exp := tracetest.NewInMemoryExporter()
	must(t, applyWith(context.Background(), planOf(t, dir), apply.Options{Device: d, Trace: tracing.New(exp)}))
	downloads(t, exp.GetSpans())
	st, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	if s := st.State.Sources["data.jsonl.d"]; s == nil || s.Rows == 0 || len(s.Files) != 1 {
		t.Errorf("the state keeps %+v of the data", s)
	}
	must(t, filepath.Walk(filepath.Join(dir, ".stepflow"), func(path string, st os.FileInfo, err error) error {
		if err != nil || st.IsDir() {
			return err
		}
		if b, err := os.ReadFile(path); err != nil || secret(string(b)) {
			t.Errorf("%s holds a key, %v", path, err)
		}
		return nil
	}))

	up = false
	if p := planOf(t, dir); p.Changes() || !strings.Contains(strings.Join(p.Actions[0].Warnings, ""), "as the data were on") {
		t.Errorf("what is done is not up to date without the server: %v", p.Actions[0].Warnings)
	}

	up = true
	later := time.Now().Add(time.Hour)
	must(t, os.Chtimes(filepath.Join(dir, "d.jsonl"), later, later))
	if p := planOf(t, dir); !p.Changes() {
		t.Error("the data changed on the server, and nothing is out of date")
	}
}

// Data that fail in the middle end the run at a checkpoint of its last step; once they are back it goes on to the
// same bits.
func TestDataFailInTheMiddle(t *testing.T) {
	d := cpuDevice(t, 2)
	vars := []string{"every=100", "steps=40"}
	whole := pipeline(t)
	must(t, applyOn(t, d, planOf(t, whole, vars...)))
	dir := pipeline(t)
	path := filepath.Join(dir, "d.jsonl")
	good, err := os.ReadFile(path)
	must(t, err)
	last := 0
	err = applyWith(context.Background(), planOf(t, dir, vars...), apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.StepDone && e.Addr.Name == "one" {
			if last = e.Step.Step; last == 2 {
				must(t, os.Truncate(path, 100))
			}
		}
	}})
	if want := fmt.Sprintf("Step %d of 40 is saved", last); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "d.jsonl: the file changed") {
		t.Fatalf("the data are gone after step 2, and at step %d the error is %v", last, err)
	}
	must(t, os.WriteFile(path, good, 0o644))
	p := planOf(t, dir, vars...)
	for _, a := range p.Actions {
		if a.Addr.Name == "one" && (a.Verb != plan.Resume || a.FromStep != last) {
			t.Errorf("%s is to %s from step %d", a.Addr, a.Verb, a.FromStep)
		}
	}
	must(t, applyOn(t, d, p))
	sameContents(t, "data that came back", contents(t, dir), contents(t, whole))
}

// Data that change between two blocks of a run end it: nothing is made of other data than those that were planned.
func TestDataThatChangeBetweenBlocks(t *testing.T) {
	d := cpuDevice(t, 2)
	whole := pipeline(t)
	must(t, applyOn(t, d, planOf(t, whole)))
	for _, at := range []string{"stage.one", "tokenizer.bpe.t"} {
		dir := pipeline(t)
		path := filepath.Join(dir, "d.jsonl")
		good, err := os.ReadFile(path)
		must(t, err)
		changed := false
		err = applyWith(context.Background(), planOf(t, dir), apply.Options{Device: d, Emit: func(e observe.Event) {
			if e.Kind == observe.BlockDone && e.Addr.String() == at {
				must(t, os.WriteFile(path, []byte(strings.ReplaceAll(string(good), "a", "e")), 0o644))
				changed = true
			}
		}})
		if !changed || err == nil || !strings.Contains(err.Error(), "the files of data.jsonl.d changed since the plan was made") {
			t.Errorf("data that change after %s: %v", at, err)
		}
		must(t, os.WriteFile(path, good, 0o644))
		must(t, applyOn(t, d, planOf(t, dir)))
		sameContents(t, "data that changed back", contents(t, dir), contents(t, whole))
	}
}

// A file that changes while a stage reads it ends the stage at a checkpoint, with the file's name; with the file as it was, the stage
// goes on and makes what it would have.
func TestDataThatChangeInAStage(t *testing.T) {
	d := cpuDevice(t, 2)
	whole := pipeline(t)
	must(t, applyOn(t, d, planOf(t, whole, "steps=40")))
	dir := pipeline(t)
	path := filepath.Join(dir, "d.jsonl")
	good, err := os.ReadFile(path)
	must(t, err)
	err = applyWith(context.Background(), planOf(t, dir, "steps=40"), apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.StepDone && e.Step.Step == 1 {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString(strings.ReplaceAll(string(good), "a", "e"))
			must(t, errors.Join(err, f.Close()))
		}
	}})
	if err == nil || !strings.Contains(err.Error(), path+": the file changed while it was read") || !strings.Contains(err.Error(), "is saved: with the file as it was, apply goes on from there") {
		t.Fatalf("%v", err)
	}
	must(t, os.WriteFile(path, good, 0o644))
	p := planOf(t, dir, "steps=40")
	if a := find(p, "stage.one"); a.Verb != plan.Resume || a.FromStep < 1 {
		t.Errorf("%s from step %d: %s", a.Verb, a.FromStep, a.Why)
	}
	must(t, applyOn(t, d, p))
	sameContents(t, "data that changed back", contents(t, dir), contents(t, whole))
}

// downloads looks for a stage's download of the file, which tells no key.
func downloads(t *testing.T, spans tracetest.SpanStubs) {
	t.Helper()
	knownSpans(t, spans)
	for _, s := range spans {
		if s.Name == "download d.jsonl" && attribute(s, tracing.Stage) == "stage.one" {
			if n := attribute(s, tracing.Bytes); n == "" || n == "0" || secret(attribute(s, tracing.URL)) {
				t.Errorf("%s bytes of %s", n, attribute(s, tracing.URL))
			}
			return
		}
	}
	t.Error("the stage's download has no span")
}
