package mlflow

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/metrics"
	"stepflow/runtime/mlflow/mlflowtest"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

func TestMain(m *testing.M) {
	every, soon = 2*time.Millisecond, 2*time.Millisecond
	patience, persistence, impatience = time.Hour, time.Hour, 300*time.Millisecond
	os.Exit(m.Run())
}

// hasty lets runs give up soon, while f runs.
func hasty(f func()) {
	defer func(a, b time.Duration) { patience, persistence = a, b }(patience, persistence)
	patience, persistence = 50*time.Millisecond, 20*time.Millisecond
	f()
}

// folder is a state's folder that a test writes as a run does.
type folder struct {
	t   *testing.T
	dir *state.Dir
}

func newFolder(t *testing.T) *folder {
	t.Helper()
	d, err := state.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	d.State.Lineage = "5b0e8c1e-0000-4000-8000-000000000000"
	return &folder{t, d}
}

func (f *folder) save() {
	f.t.Helper()
	if err := f.dir.Save(); err != nil {
		f.t.Fatal(err)
	}
}

// at is when all of it happens.
var at = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// block records a block.
func (f *folder) block(name string, b state.Block) *state.Block {
	if b.Recipe == "" {
		b.Recipe = "recipe of " + name
	}
	if b.Status == state.Done {
		b.Content = "content of " + name
	}
	b.Started, b.Updated = at, at.Add(time.Minute)
	f.dir.State.Blocks[name] = &b
	f.save()
	return &b
}

// steps writes the steps of a stage after one that is kept, up to another.
func (f *folder) steps(name string, after, last int) {
	f.t.Helper()
	path, err := stepsFile(f.dir.Path, name)
	if err != nil {
		f.t.Fatal(err)
	}
	w, err := metrics.Open(filepath.Dir(path), after)
	if err != nil {
		f.t.Fatal(err)
	}
	defer w.Close()
	for i := after + 1; i <= last; i++ {
		if err := w.Write(metrics.Step{Step: i, Tokens: int64(i) * 8, Loss: 1 / float64(i), Seconds: 1}); err != nil {
			f.t.Fatal(err)
		}
	}
}

// pipeline is what a tracker is told.
func (f *folder) pipeline() Pipeline {
	return Pipeline{Name: "demo", Dir: f.dir.Path, Version: "1", Redact: func(s string) string { return s },
		Variables: map[string]string{"lr": "0.01"}, Blocks: map[string]Block{}}
}

func connect(t *testing.T, env map[string]string) *Server {
	t.Helper()
	s, err := FromEnvironment(func(name string) string { return env[name] })
	if err != nil || s == nil {
		t.Fatal(s, err)
	}
	return s
}

// warnings collects what a tracker warns of.
type warnings struct {
	mu   sync.Mutex
	list []string
}

func (w *warnings) add(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, err.Error())
}

// track shows a pipeline on a server, and ends at once.
func track(t *testing.T, s *mlflowtest.Server, p Pipeline, outcome Outcome) Summary {
	t.Helper()
	tracker := connect(t, map[string]string{addressVariable: s.URL()}).Track(p, func(error) {})
	tracker.Start()
	sum, ok := tracker.End(t.Context(), outcome, p.Blocks)
	if !ok {
		t.Fatal("the tracker did not start")
	}
	return sum
}

func newServer(t *testing.T) *mlflowtest.Server {
	s := mlflowtest.New()
	t.Cleanup(s.Close)
	return s
}

// one is the run of a name, of which there must be one.
func one(t *testing.T, s *mlflowtest.Server, name string) *mlflowtest.Run {
	t.Helper()
	list := s.Find(name)
	if len(list) != 1 {
		t.Fatalf("%d runs have the name %s", len(list), name)
	}
	return list[0]
}

// wantSteps wants the losses that the file of a stage has, once each and in order.
func wantSteps(t *testing.T, f *folder, s *mlflowtest.Server, name string) {
	t.Helper()
	path, err := stepsFile(f.dir.Path, name)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := metrics.Read(path)
	if err != nil || len(steps) == 0 {
		t.Fatal(len(steps), err)
	}
	for i, x := range steps[0].Scalars() {
		got := one(t, s, name).Metrics[x.Tag]
		if len(got) != len(steps) {
			t.Fatalf("%s: the server has %d values of %s, the file %d", name, len(got), x.Tag, len(steps))
		}
		for j := range steps {
			want := mlflowtest.Metric{Value: steps[j].Scalars()[i].Value, At: steps[j].Time, Step: int64(steps[j].Step)}
			if got[j].Step != want.Step || got[j].Value != want.Value {
				t.Fatalf("%s: %s of step %d is %v, want %v", name, x.Tag, want.Step, got[j], want)
			}
		}
	}
}

// sweep writes a pipeline of two instances of a stage, each evaluated, and an output.
func sweep(f *folder) Pipeline {
	p := f.pipeline()
	p.Blocks["optimizer.adamw.o"] = Block{Attrs: map[string]string{"learning_rate": "0.01", "betas": "[0.9, 0.95]"}}
	p.Blocks["data.jsonl.a"] = Block{Attrs: map[string]string{"source": `"a.jsonl"`}}
	p.Blocks["data.jsonl.b"] = Block{Attrs: map[string]string{"source": `"b.jsonl"`}}
	p.Blocks["model.llama.m"] = Block{Attrs: map[string]string{"hidden_size": "16", "vocab_size": "(known after apply)"}}
	p.Blocks["stage.base"] = Block{Inputs: []string{"model.llama.m", "optimizer.adamw.far"}}
	p.Blocks["optimizer.adamw.far"] = Block{Attrs: map[string]string{"learning_rate": "9"}}
	for _, k := range []string{`"x"`, `"y/z"`} {
		name := "stage.s[" + k + "]"
		f.block(name, state.Block{Status: state.Done, Step: 3, Steps: 3, Device: "cpu", Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			Attrs:  map[string]string{"train.steps": "3", "precision": `"fp32"`},
			Inputs: map[string]string{"optimizer.adamw.o": "1", "data.jsonl.a": "2", "data.jsonl.b": "3", "stage.base": "4"},
			Values: map[string]any{"loss": 0.5, "merge_error": nil, "not_finite": map[string]any{"merge_error": "NaN"}},
			Memory: &state.Memory{Planned: 100, Measured: 90}})
		f.steps(name, 0, 3)
		f.block("evaluate.perplexity.e["+k+"]", state.Block{Status: state.Done, Attrs: map[string]string{"model": fmt.Sprintf("%q", name)},
			Inputs: map[string]string{name: "content of " + name}, Values: map[string]any{"loss": 2.5, "texts": []string{"a"}, "tasks": map[string]any{"a b": 0.25}}})
	}
	f.dir.State.Outputs["best"] = state.Output{Value: 2.5}
	f.dir.State.Outputs["key"] = state.Output{Value: 7.0, Sensitive: true}
	f.dir.State.Outputs["text"] = state.Output{Value: "a"}
	f.save()
	return p
}

func TestPipeline(t *testing.T) {
	f, s := newFolder(t), newServer(t)
	p := sweep(f)
	sum := track(t, s, p, Finished)
	if sum.Err != nil || sum.Steps != 6 || sum.Stages != 2 || sum.Left != 0 {
		t.Fatalf("%+v", sum)
	}
	if got := s.Experiments(); !slices.Equal(got, []string{"Default", "demo"}) {
		t.Error(got)
	}
	parent := one(t, s, "demo")
	if parent.Status != string(Finished) || parent.Params["lr"] != "0.01" || parent.Metrics["best"][0].Value != 2.5 ||
		len(parent.Metrics) != 1 || parent.ID != sum.RunID || !strings.HasSuffix(sum.Page, "/#/experiments/1/runs/"+parent.ID) {
		t.Errorf("%+v", parent)
	}
	wantSteps(t, f, s, `stage.s["x"]`)
	wantSteps(t, f, s, `stage.s["y/z"]`)
	x := one(t, s, `stage.s["x"]`)
	if x.Status != string(Finished) || x.Started != at.UnixMilli() || x.Ended != at.Add(time.Minute).UnixMilli() {
		t.Errorf("%+v", x)
	}
	params := map[string]string{"train.steps": "3", "precision": "fp32", "each.key": "x", "optimizer.type": "adamw",
		"optimizer.learning_rate": "0.01", "optimizer.betas": "[0.9, 0.95]", "data.a.type": "jsonl", "data.a.source": "a.jsonl",
		"data.b.type": "jsonl", "data.b.source": "b.jsonl", "model.type": "llama", "model.hidden_size": "16"}
	if !maps.Equal(x.Params, params) {
		t.Errorf("got  %v\nwant %v", x.Params, params)
	}
	for k, v := range map[string]string{"mlflow.parentRunId": parent.ID, tagAddress: `stage.s["x"]`, tagDevice: "cpu",
		tagTrace: "0af7651916cd43dd8448eb211c80319c", tagLineage: f.dir.State.Lineage} {
		if x.Tags[k] != v {
			t.Errorf("tag %s is %q, want %q", k, x.Tags[k], v)
		}
	}
	y := one(t, s, `stage.s["y/z"]`)
	if a, b := slices.Sorted(maps.Keys(x.Metrics)), slices.Sorted(maps.Keys(y.Metrics)); !slices.Equal(a, b) {
		t.Errorf("instances have other metrics: %v %v", a, b)
	}
	for name, want := range map[string]float64{"evaluate.perplexity.e/loss": 2.5, key("evaluate.perplexity.e/tasks/a b"): 0.25,
		"result/loss": 0.5, "memory/measured_bytes": 90} {
		if got := x.Metrics[name]; len(got) != 1 || got[0].Value != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if got := x.Metrics["result/merge_error"]; len(got) != 1 || !math.IsNaN(got[0].Value) {
		t.Error(got)
	}

	// The next run has nothing to send. What a plan knows only now is sent.
	calls := maps.Clone(s.Called)
	p.Blocks["model.llama.m"].Attrs["vocab_size"] = "270"
	if sum := track(t, s, p, Finished); sum.Err != nil || sum.Steps != 0 || sum.RunID != parent.ID {
		t.Errorf("%+v", sum)
	}
	if s.Called["runs/create"] != calls["runs/create"] || s.Called["runs/update"] != calls["runs/update"] ||
		s.Called["runs/log-batch"] != calls["runs/log-batch"]+2 || x.Params["model.vocab_size"] != "270" {
		t.Errorf("%v, before %v; %v", s.Called, calls, x.Params)
	}
}

// TestWhileItRuns: a stage is seen while it trains, goes on after a kill without a step twice, and is renamed.
func TestWhileItRuns(t *testing.T) {
	f, s := newFolder(t), newServer(t)
	p := f.pipeline()
	b := state.Block{Status: state.Running, Steps: 400, Attrs: map[string]string{}}
	f.block("stage.a", b)
	f.steps("stage.a", 0, 3)
	tracker := connect(t, map[string]string{addressVariable: s.URL()}).Track(p, func(error) {})
	tracker.Start()
	wait(t, func() bool {
		r := s.Find("stage.a")
		return len(r) == 1 && len(s.Find("stage.a")[0].Tags) > 0 && loss(s, r[0]) == 3
	})
	f.steps("stage.a", 3, 390) // more than one request takes
	wait(t, func() bool { return loss(s, one(t, s, "stage.a")) == 390 })
	tracker.Seam("stage.a", "growth", 2.5, 2.75)
	sum, _ := tracker.End(t.Context(), Killed, nil)
	if sum.Err != nil || sum.Steps != 390 {
		t.Fatalf("%+v", sum)
	}
	r := one(t, s, "stage.a")
	if r.Status != string(Killed) || one(t, s, "demo").Status != string(Killed) || r.Metrics["growth/loss_after"][0].Value != 2.75 {
		t.Errorf("%+v", r)
	}

	f.steps("stage.a", 100, 300) // the run goes on from a checkpoint
	if sum := track(t, s, p, Killed); sum.Steps != 0 || loss(s, r) != 390 {
		t.Errorf("%+v; %d steps", sum, loss(s, r))
	}
	delete(f.dir.State.Blocks, "stage.a")
	path, err := stepsFile(f.dir.Path, "stage.a")
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(f.dir.Path, results.Folder(addr.Addr{Kind: "stage", Name: "b"}))
	if err := os.Rename(filepath.Dir(path), to); err != nil {
		t.Fatal(err)
	}
	f.block("stage.b", state.Block{Status: state.Done, Step: 400, Steps: 400, Recipe: "recipe of stage.a"})
	f.steps("stage.b", 300, 400)
	if sum := track(t, s, p, Finished); sum.Steps != 10 || sum.Err != nil {
		t.Errorf("%+v", sum)
	}
	wantSteps(t, f, s, "stage.b")
	if len(s.Runs()) != 2 || one(t, s, "demo").Status != string(Finished) || r.Status != string(Finished) || r.Tags[tagAddress] != "stage.b" {
		t.Errorf("%+v", r)
	}

	// Another configuration has other runs; the one of a process that is gone does not seem to go on.
	r.Status = running
	f.block("stage.b", state.Block{Status: state.Done, Step: 2, Steps: 2, Recipe: "another"})
	f.dir.State.Blocks["stage.b"].Updated = time.Now().Add(time.Hour)
	f.save()
	f.steps("stage.b", 0, 2)
	p.Variables["lr"] = "0.02"
	if sum := track(t, s, p, Finished); sum.Err != nil || len(s.Find("demo")) != 2 || len(s.Find("stage.b")) != 2 {
		t.Errorf("%+v", sum)
	}
	if r.Status != string(Killed) {
		t.Error(r.Status)
	}
}

// TestEvaluationsBetweenSteps: they reach the run of their stage once each, also where another process goes on, and where the
// stage ended early, with the model of an earlier step.
func TestEvaluationsBetweenSteps(t *testing.T) {
	f, s := newFolder(t), newServer(t)
	p := f.pipeline()
	p.Blocks["stage.a"] = Block{}
	path, err := stepsFile(f.dir.Path, "stage.a")
	if err != nil {
		t.Fatal(err)
	}
	run := func(status string, after, last int) {
		t.Helper()
		f.block("stage.a", state.Block{Status: status, Step: 2, Steps: 100})
		f.save()
		w, err := metrics.Open(filepath.Dir(path), after)
		for i := after + 1; i <= last && err == nil; i++ {
			if err = w.Write(metrics.Step{Step: i, Loss: 1, Seconds: 1}); err == nil {
				err = w.WriteEvaluation(metrics.Evaluation{Name: "v", Step: i, Values: map[string]float64{"loss": float64(10 * i)}})
			}
		}
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		if sum := track(t, s, p, Finished); sum.Err != nil {
			t.Fatalf("%+v", sum)
		}
		var got []float64
		for _, m := range one(t, s, "stage.a").Metrics["eval/v_loss"] {
			got = append(got, m.Value, float64(m.Step))
		}
		var want []float64
		for i := 1; i <= last; i++ {
			want = append(want, float64(10*i), float64(i))
		}
		if !slices.Equal(got, want) || loss(s, one(t, s, "stage.a")) != last {
			t.Errorf("the server has %v and %d steps", got, loss(s, one(t, s, "stage.a")))
		}
	}
	run(state.Running, 0, 3)
	run(state.Running, 2, 4) // from a checkpoint
	run(state.Done, 4, 6)
	run(state.Done, 6, 6)
}

func loss(s *mlflowtest.Server, r *mlflowtest.Run) (n int) {
	s.Locked(func() { n = len(r.Metrics["train/loss"]) })
	return n
}

func wait(t *testing.T, until func() bool) {
	t.Helper()
	for range 30000 {
		if until() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatal("it never happened")
}

// TestOutage: a server that fails now and then, and whose answers get lost, has all in the end, once.
func TestOutage(t *testing.T) {
	f, s := newFolder(t), newServer(t)
	p := sweep(f)
	f.steps(`stage.s["x"]`, 3, 700)
	f.dir.State.Blocks[`stage.s["x"]`].Step, f.dir.State.Blocks[`stage.s["x"]`].Steps = 700, 700
	f.save()
	random := rand.New(rand.NewPCG(1, 2)) // one request at a time
	s.Before = func(string) int { return []int{503, 0, 429, 0, 0}[random.IntN(5)] }
	s.After = func(string) bool { return random.IntN(3) == 0 }
	var w warnings
	tracker := connect(t, map[string]string{addressVariable: s.URL()}).Track(p, w.add)
	tracker.Start()
	wait(t, func() bool { r := s.Find(`stage.s["y/z"]`); return len(r) > 0 && loss(s, r[0]) == 3 })
	if sum, _ := tracker.End(t.Context(), Finished, p.Blocks); sum.Err != nil {
		t.Fatalf("%+v", sum)
	}
	if len(w.list) != 1 || !strings.Contains(w.list[0], "The run goes on") {
		t.Errorf("%q", w.list)
	}
	wantSteps(t, f, s, `stage.s["x"]`)
	wantSteps(t, f, s, `stage.s["y/z"]`)
	if len(s.Runs()) != 3 || one(t, s, "demo").Status != string(Finished) {
		t.Error(len(s.Runs()))
	}
}

// TestDownAtTheEnd: a run ends in bounded time without its server, says what is missing, and the next one sends it.
func TestDownAtTheEnd(t *testing.T) {
	release := make(chan struct{})
	for name, before := range map[string]func(string) int{
		"refuses": func(string) int { return 503 },
		"hangs":   func(string) int { <-release; return 503 },
		"half":    func(call string) int { return map[bool]int{true: 500}[call == "runs/log-batch"] },
	} {
		t.Run(name, func(t *testing.T) {
			f, s := newFolder(t), newServer(t)
			p := sweep(f)
			s.Before = before
			var sum Summary
			hasty(func() { sum = track(t, s, p, Failed) })
			if sum.Err == nil || sum.Left != 6 || sum.Steps != 0 {
				t.Errorf("%+v", sum)
			}
			if name == "hangs" {
				close(release)
			}
			s.Locked(func() { s.Before = nil })
			if sum := track(t, s, p, Finished); sum.Err != nil || sum.Steps != 6 {
				t.Errorf("%+v", sum)
			}
			wantSteps(t, f, s, `stage.s["x"]`)
		})
	}
	f := newFolder(t)
	p := sweep(f)
	gone := newServer(t)
	gone.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // as an interrupt does
	tracker := connect(t, map[string]string{addressVariable: gone.URL()}).Track(p, func(error) {})
	tracker.Start()
	if sum, _ := tracker.End(ctx, Killed, p.Blocks); sum.Err == nil || sum.Left != 6 {
		t.Errorf("%+v", sum)
	}
}

// TestRefused: what a server refuses for good is asked once, and the error says what to do.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"credentials": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"},
		"page":        {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, "not as an MLflow server does"},
		"redirect": {func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "https://example.org", http.StatusFound)
		}, "set MLFLOW_TRACKING_URI to the address itself"},
		"path": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "look at MLFLOW_TRACKING_URI"},
		"deleted": {func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"experiment":{"experiment_id":"1","lifecycle_stage":"deleted"}}`)
		}, "restore it, or set MLFLOW_EXPERIMENT_NAME"},
		"echo": {func(w http.ResponseWriter, q *http.Request) {
			w.WriteHeader(400)
			fmt.Fprintf(w, `{"error_code":"BAD","message":"%s\u001b[2J"}`, q.Header.Get("Authorization"))
		}, `400 Bad Request: Bearer …\x1b[2J`},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				asked.Add(1)
				c.handler(w, q)
			}))
			defer s.Close()
			f := newFolder(t)
			p := sweep(f)
			var w warnings
			tracker := connect(t, map[string]string{addressVariable: s.URL, tokenVariable: "t0psecret"}).Track(p, w.add)
			tracker.Start()
			wait(t, func() bool { return asked.Load() > 0 })
			time.Sleep(20 * time.Millisecond)
			sum, _ := tracker.End(t.Context(), Finished, p.Blocks)
			if sum.Err == nil || !strings.Contains(sum.Err.Error(), c.want) {
				t.Errorf("%v; want %q", sum.Err, c.want)
			}
			if n := asked.Load(); n != 1 || len(w.list) != 1 {
				t.Errorf("asked %d times; %q", n, w.list)
			}
		})
	}
}

// TestOneIsRefused: what is wrong with one run keeps nothing from the others.
func TestOneIsRefused(t *testing.T) {
	f, s := newFolder(t), newServer(t)
	p := sweep(f)
	track(t, s, p, Finished)
	x, y := one(t, s, `stage.s["x"]`), one(t, s, `stage.s["y/z"]`)
	x.Deleted = true // by its user
	for _, k := range []string{`"x"`, `"y/z"`} {
		name := "stage.s[" + k + "]"
		f.steps(name, 3, 5)
		f.dir.State.Blocks[name].Step, f.dir.State.Blocks[name].Steps = 5, 5
	}
	f.save()
	if sum := track(t, s, p, Finished); sum.Err != nil || sum.Steps != 2 || loss(s, x) != 3 || loss(s, y) != 5 {
		t.Errorf("%+v; %d and %d steps", sum, loss(s, x), loss(s, y))
	}
	x.Deleted = false
	y.Params["precision"] = "bf16" // whoever did that
	delete(y.Params, "train.steps")
	y.Tags[tagDevice] = "other"
	s.Locked(func() {
		s.Before = func(call string) int {
			if call == "runs/log-batch" { // while the run goes on
				s.Locked(func() { y.Deleted = true })
			}
			return 0
		}
	})
	if sum := track(t, s, p, Finished); sum.Err != nil || loss(s, x) != 5 { // what its user deletes is no error
		t.Errorf("%+v", sum)
	}

	y.Deleted = false
	s.Locked(func() { s.Before = nil })
	f.dir.State.Blocks[y.Name].Attrs["new"] = "1"
	f.dir.State.Blocks[x.Name].Attrs["new"] = "1"
	f.save()
	s.Locked(func() { s.Full = y.ID })
	if sum := track(t, s, p, Finished); sum.Err == nil || x.Params["new"] != "1" ||
		!strings.HasSuffix(sum.Err.Error(), "400 Bad Request: The run takes no more") {
		t.Errorf("%+v", sum)
	}
}

// TestHuge: names, texts and numbers of steps beyond what a server takes.
func TestHuge(t *testing.T) {
	f, s := newFolder(t), newServer(t)
	p := f.pipeline()
	const steps = 25_000
	attrs := map[string]string{"long": strings.Repeat("é", 10_000), "nul": "a\x00b", "bad": "\xff", strings.Repeat("k", 300): "1",
		"../../etc": "1", "/abs": "1", "a//b": "1", "a\nb": "1", "a'b": "1", "a`b": "1"}
	for i := range 350 {
		attrs[fmt.Sprintf("attribute_%d", i)] = fmt.Sprint(i)
	}
	name := `stage.a["../x\n\u202e` + strings.Repeat("k", 300) + `"]`
	f.block(name, state.Block{Status: state.Done, Step: steps, Steps: steps, Attrs: attrs})
	f.steps(name, 0, steps)
	evaluation := `evaluate.perplexity.e["..//"]`
	f.block(evaluation, state.Block{Status: state.Done, Attrs: map[string]string{"model": fmt.Sprintf("%q", name)},
		Inputs: map[string]string{name: "content of " + name}, Values: map[string]any{"a\nb": 1.0, "x": nil, "not_finite": map[string]any{"x": "-Infinity"}}})
	sum := track(t, s, p, Finished)
	if sum.Err != nil {
		t.Fatalf("%+v", sum)
	}
	r := one(t, s, name)
	n := len(r.Metrics["train/loss"])
	if n > mostSteps+2 || n < mostSteps/2 || r.Metrics["train/loss"][0].Step != 1 || r.Metrics["train/loss"][n-1].Step != steps {
		t.Errorf("%d of %d steps", n, steps)
	}
	if len(r.Params) != len(attrs)+1 {
		t.Errorf("%d parameters, want %d", len(r.Params), len(attrs)+1)
	}
	if got := []rune(r.Params["long"]); len(got) != longestValue || string(got[longestValue-1]) != "…" {
		t.Errorf("%d characters", len(got))
	}
	if sum := track(t, s, p, Finished); sum.Steps != 0 || sum.Err != nil {
		t.Errorf("%+v", sum)
	}
}

// TestHostileAnswers: whatever a server answers, a run ends.
func TestHostileAnswers(t *testing.T) {
	for _, answer := range []string{"", "null", "[]", "{}", `{"experiment_id":7}`, `{"runs":[null,{}]}`, `{"run":null}`, `{"run":{}}`,
		`{"runs":[{"data":{"metrics":[{"key":"train/loss","step":"9223372036854775807","value":"NaN"}],"tags":null}}],"next_page_token":"a"}`,
		strings.Repeat("[", 100_000), `{"error_code":"RESOURCE_DOES_NOT_EXIST"}`} {
		for _, status := range []int{200, 400, 404} {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if strings.HasSuffix(q.URL.Path, "get-by-name") && status == 200 {
					fmt.Fprint(w, `{"experiment":{"experiment_id":"1"}}`)
					return
				}
				w.WriteHeader(status)
				fmt.Fprint(w, answer)
			}))
			f := newFolder(t)
			tracker := connect(t, map[string]string{addressVariable: s.URL}).Track(sweep(f), func(error) {})
			tracker.Start()
			hasty(func() {
				if sum, ok := tracker.End(t.Context(), Finished, nil); !ok || sum.Steps > 6 {
					t.Errorf("%.40q: %+v", answer, sum)
				}
			})
			s.CloseClientConnections()
			s.Close()
		}
	}
}

// TestPages: a search may have several pages.
func TestPages(t *testing.T) {
	f, s := newFolder(t), newServer(t)
	p := f.pipeline()
	for i := range 7 {
		f.block(fmt.Sprintf("stage.s[%d]", i), state.Block{Status: state.Done})
	}
	track(t, s, p, Finished)
	s.Page = 2
	if sum := track(t, s, p, Finished); sum.Err != nil || len(s.Runs()) != 8 {
		t.Errorf("%+v; %d runs", sum, len(s.Runs()))
	}
}

// TestEndlessPages: a list of runs that does not end is given up.
func TestEndlessPages(t *testing.T) {
	page, calls := strings.Repeat(`{"info":{"run_id":"r"}},`, 50_000), 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !strings.HasSuffix(q.URL.Path, "runs/search") {
			fmt.Fprint(w, `{"experiment":{"experiment_id":"1"}}`)
			return
		}
		calls++
		fmt.Fprintf(w, `{"runs":[%s],"next_page_token":"%d"}`, strings.TrimSuffix(page, ","), calls)
	}))
	defer s.Close()
	_, err := connect(t, map[string]string{addressVariable: s.URL}).search(t.Context(), "1", "lineage")
	if err == nil || !strings.Contains(err.Error(), "more than 200000 runs") || calls != 5 {
		t.Errorf("%v after %d pages", err, calls)
	}
}

// TestGivenRun: MLFLOW_RUN_ID names the run that stands for the pipeline, whose end is another's to say.
func TestGivenRun(t *testing.T) {
	f, s := newFolder(t), newServer(t)
	s.Token = "t0psecret"
	env := map[string]string{addressVariable: s.URL(), tokenVariable: "t0psecret"}
	server := connect(t, env)
	given, err := server.create(t.Context(), "0", "project", 1, []pair{{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	env[runVariable] = given.Info.ID
	p := sweep(f)
	tracker := connect(t, env).Track(p, func(error) {})
	tracker.Start()
	if sum, _ := tracker.End(t.Context(), Finished, p.Blocks); sum.Err != nil || sum.RunID != given.Info.ID {
		t.Fatalf("%+v", sum)
	}
	r := one(t, s, "project")
	if r.Status != running || r.Params["lr"] != "0.01" || one(t, s, `stage.s["x"]`).Tags["mlflow.parentRunId"] != r.ID {
		t.Errorf("%+v", r)
	}

	r.Deleted = true
	tracker = connect(t, env).Track(p, func(error) {})
	tracker.Start()
	sum, _ := tracker.End(t.Context(), Finished, p.Blocks)
	if sum.Err == nil || !strings.Contains(sum.Err.Error(), "is deleted: restore it, or set MLFLOW_RUN_ID to another") {
		t.Errorf("%+v", sum)
	}
}

// TestHidden: what a server repeats of the credentials is not shown, also as a request has them.
func TestHidden(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.WriteHeader(400)
		fmt.Fprintf(w, `{"error_code":"BAD","message":"%s or s3cret"}`, q.Header.Get("Authorization"))
	}))
	defer s.Close()
	_, err := connect(t, map[string]string{addressVariable: s.URL, userVariable: "me", passwordVariable: "s3cret"}).get(t.Context(), "1")
	if want := "it answers 400 Bad Request: Basic … or …"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestEnvironment(t *testing.T) {
	for _, c := range []struct{ env, want string }{
		{"", "off"},
		{"MLFLOW_TRACKING_URI=http://h:5000/ DISABLE_MLFLOW_INTEGRATION=TRUE", "off"},
		{"MLFLOW_TRACKING_URI=http://h:5000/", "http://h:5000"},
		{"MLFLOW_TRACKING_URI=https://me:s3cret@h/mlflow/?a=b", "https://h/mlflow"},
		{"MLFLOW_TRACKING_URI=./mlruns", "by http:// or https://"},
		{"MLFLOW_TRACKING_URI=databricks", "by http:// or https://"},
		{"MLFLOW_TRACKING_URI=sqlite:///mlflow.db", "mlflow server --backend-store-uri"},
		{"MLFLOW_TRACKING_URI=postgresql://me:s3cret@h/db", "\"postgresql://…\", and stepflow sends to"},
		{"MLFLOW_TRACKING_URI=mysql://h/db?password=s3cret", "\"mysql://…\""},
		{"MLFLOW_TRACKING_URI=me:s3cret@h:5000", "\"…\", and stepflow sends to"},
		{"MLFLOW_TRACKING_URI=http://me:s3cret%zz@h", "\"http://…\", which is no address"},
		{"MLFLOW_TRACKING_URI=HTTPS://me:s3cret@h:port", "\"HTTPS://…\", which is no address"},
		{"MLFLOW_TRACKING_URI=http://me:s3cret@", "which is no address"},
		{"MLFLOW_TRACKING_URI=http://", "\"http://\", which is no address"},
		{"MLFLOW_TRACKING_URI=http://h MLFLOW_TRACKING_SERVER_CERT_PATH=/nowhere", "MLFLOW_TRACKING_SERVER_CERT_PATH"},
		{"MLFLOW_TRACKING_URI=http://h MLFLOW_TRACKING_CLIENT_CERT_PATH=/nowhere", "MLFLOW_TRACKING_CLIENT_CERT_PATH"},
		{"MLFLOW_TRACKING_URI=http://h MLFLOW_TRACKING_SERVER_CERT_PATH=/dev/zero", "MLFLOW_TRACKING_SERVER_CERT_PATH: "},
	} {
		s, err := FromEnvironment(func(name string) string {
			for _, x := range strings.Fields(c.env) {
				if v, ok := strings.CutPrefix(x, name+"="); ok {
					return v
				}
			}
			return ""
		})
		got := "off"
		if err != nil {
			got = err.Error()
		} else if s != nil {
			got = s.String()
		}
		if !strings.Contains(got, c.want) || strings.Contains(got, "s3cret") {
			t.Errorf("%s: %s; want %s", c.env, got, c.want)
		}
	}
}

// TestTLS: the certificates that the variables name are used.
func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if user, password, _ := q.BasicAuth(); user != "me" || password != "s3cret" {
			w.WriteHeader(401)
			return
		}
		fmt.Fprint(w, `{"run":{"info":{"run_id":"a"}}}`)
	}))
	defer s.Close()
	cert := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{addressVariable: strings.Replace(s.URL, "https://", "https://me:s3cret@", 1)}
	if _, err := connect(t, env).get(t.Context(), "a"); err == nil {
		t.Error("an unknown certificate was taken")
	}
	for _, x := range []string{serverCertVariable + "=" + cert, insecureVariable + "=true"} {
		name, v, _ := strings.Cut(x, "=")
		e := maps.Clone(env)
		e[name] = v
		if r, err := connect(t, e).get(t.Context(), "a"); err != nil || r.Info.ID != "a" {
			t.Error(x, err)
		}
	}
}

// TestNames: keys are taken by MLflow, and those of two texts differ.
func TestNames(t *testing.T) {
	seen := map[string]string{}
	for _, text := range []string{"a/b", "a b", "a_b", "a\nb", "a//b", "/a", "a/", ".", "..", "", "a/../b", strings.Repeat("x", 300),
		strings.Repeat("x", 301), "é", "\xff", "\xfe", `stage.a["x"]`, "train/loss"} {
		k := key(text)
		if was, ok := seen[k]; ok {
			t.Errorf("%q and %q have the key %q", was, text, k)
		}
		seen[k] = text
	}
	if key("train/loss") != "train/loss" {
		t.Error(key("train/loss"))
	}
}

// TestOlderSteps: of steps without a time, one is told by how long they took.
func TestOlderSteps(t *testing.T) {
	f, s := newFolder(t), newServer(t)
	f.block("stage.a", state.Block{Status: state.Done, Step: 2, Steps: 2})
	path, err := stepsFile(f.dir.Path, "stage.a")
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755),
			os.WriteFile(path, []byte("{\"step\":1,\"loss\":2,\"seconds\":1}\n{\"step\":2,\"loss\":1,\"seconds\":2}\n"), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	track(t, s, f.pipeline(), Finished)
	if got := one(t, s, "stage.a").Metrics["train/loss"]; len(got) != 2 || got[0].At != at.UnixMilli()+1000 || got[1].At != at.UnixMilli()+3000 {
		t.Error(got)
	}
}
