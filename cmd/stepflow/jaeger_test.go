package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"stepflow/tracing"
)

// jaegerTrace is a trace as Jaeger's query API gives it.
type jaegerTrace struct {
	TraceID string       `json:"traceID"`
	Spans   []jaegerSpan `json:"spans"`
}

type jaegerSpan struct {
	TraceID    string `json:"traceID"`
	SpanID     string `json:"spanID"`
	Name       string `json:"operationName"`
	Start      int64  `json:"startTime"` // µs
	Duration   int64  `json:"duration"`  // µs
	References []struct {
		Type    string `json:"refType"`
		TraceID string `json:"traceID"`
		SpanID  string `json:"spanID"`
	} `json:"references"`
	Tags     []jaegerTag `json:"tags"`
	Warnings []string    `json:"warnings"`
	Logs     []struct {
		Fields []jaegerTag `json:"fields"`
	} `json:"logs"`
}

type jaegerTag struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

func (s jaegerSpan) tag(key string) string {
	for _, t := range s.Tags {
		if t.Key == key {
			if f, ok := t.Value.(float64); ok {
				return strconv.FormatFloat(f, 'f', -1, 64)
			}
			return fmt.Sprint(t.Value)
		}
	}
	return ""
}

func (s jaegerSpan) parent() string {
	for _, r := range s.References {
		if r.Type == "CHILD_OF" {
			return r.SpanID
		}
	}
	return ""
}

// links returns the ids of the traces that a span links to.
func (s jaegerSpan) links() (ids []string) {
	for _, r := range s.References {
		if r.Type != "CHILD_OF" {
			ids = append(ids, r.TraceID)
		}
	}
	return ids
}

// search asks Jaeger for traces, as its page does.
type search func(query ...string) []jaegerTrace

// jaeger starts a real Jaeger on free ports. It returns an environment in which stepflow sends its traces there, and a
// function that searches them.
func jaeger(t *testing.T) (env []string, find search) {
	binary := os.Getenv("STEPFLOW_JAEGER")
	if binary == "" {
		t.Skip("STEPFLOW_JAEGER does not name a Jaeger: make test-jaeger builds one")
	}
	ports := map[string]string{}
	for _, name := range []string{"JAEGER_GRPC_PORT", "JAEGER_HTTP_PORT", "OTLP_GRPC_PORT", "OTLP_HTTP_PORT"} {
		ports[name] = port(t)
	}
	cmd := exec.Command(binary, "--config", "../../tools/jaeger/config.yaml")
	cmd.Env = append(os.Environ(), "OTEL_TRACES_SAMPLER=always_off") // it would trace itself
	for name, p := range ports {
		cmd.Env = append(cmd.Env, name+"="+p)
	}
	cmd.Stderr = os.Stderr
	env = append(os.Environ(), "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:"+ports["OTLP_HTTP_PORT"])
	api := "http://127.0.0.1:" + ports["JAEGER_HTTP_PORT"]
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	for i := 0; ; i++ {
		if c, err := net.Dial("tcp", "127.0.0.1:"+ports["OTLP_HTTP_PORT"]); err == nil {
			c.Close()
			break
		}
		if i == 300 {
			t.Fatal("Jaeger did not start within 30 seconds")
		}
		time.Sleep(100 * time.Millisecond)
	}
	return env, func(query ...string) []jaegerTrace {
		q := url.Values{"service": {"stepflow"}, "limit": {"100000"}, "lookback": {"1h"}}
		for i := 0; i+1 < len(query); i += 2 {
			q.Set(query[i], query[i+1])
		}
		r, err := http.Get(api + "/api/traces?" + q.Encode())
		if err != nil {
			return nil
		}
		defer r.Body.Close()
		var body struct{ Data []jaegerTrace }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			return nil
		}
		return body.Data
	}
}

// quickstart is a copy of the pipeline, so that what make quickstart exported stays. It reads the same data.
func quickstart(t *testing.T) string {
	const from = "../../pipelines/quickstart"
	dir := filepath.Join(t.TempDir(), "quickstart")
	data, err := filepath.Abs(filepath.Join(from, "data"))
	if err == nil {
		err = os.Mkdir(dir, 0o777)
	}
	if err == nil {
		err = os.Symlink(data, filepath.Join(dir, "data"))
	}
	files, e := filepath.Glob(filepath.Join(from, "*.hcl"))
	if err = errors.Join(err, e); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestJaeger runs the quickstart, shortened, with a real Jaeger: once to its end, once into an error, once killed and
// gone on.
func TestJaeger(t *testing.T) {
	env, find := jaeger(t)
	state, pipeline := t.TempDir(), quickstart(t)
	apply := func(args ...string) *exec.Cmd {
		args = append([]string{"apply", "-auto-approve", "-state-dir", state}, append(args, pipeline)...)
		c := exec.Command("../../bin/stepflow", args...)
		c.Env = env
		return c
	}

	out, err := apply("-var", "tokens=60000").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m := regexp.MustCompile(`Trace ([0-9a-f]{32}): (\d+) spans`).FindSubmatch(out)
	if m == nil || strings.Contains(string(out), "Warning") {
		t.Fatalf("the run did not say what it sent, or warned:\n%s", out)
	}
	sent, _ := strconv.Atoi(string(m[2]))
	list := arrived(t, find, sent)
	stages := checkRun(t, list, string(m[1]))
	checkNames(t, list)
	checkSearch(t, find, string(m[1]), stages)

	state = t.TempDir()
	fails(t, filepath.Join(pipeline, "main.hcl"), apply, find)
	state = t.TempDir()
	killed(t, apply, find)
}

// fails lets a stage fail, and finds it by its outcome.
func fails(t *testing.T, file string, apply func(...string) *exec.Cmd, find search) {
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := regexp.MustCompile(`learning_rate = \S+`).ReplaceAll(src, []byte("learning_rate = 1e30"))
	if err := os.WriteFile(file, bad, 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := apply("-var", "tokens=60000").CombinedOutput()
	m := regexp.MustCompile(`Trace ([0-9a-f]{32})`).FindSubmatch(out)
	if err == nil || m == nil {
		t.Fatalf("a learning rate of 1e30 trained:\n%s", out)
	}
	if err := os.WriteFile(file, src, 0o666); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	for _, tr := range find("tags", `{"stepflow.outcome":"failed"}`) {
		if tr.TraceID != string(m[1]) {
			continue
		}
		for _, s := range tr.Spans {
			if s.tag(tracing.Address) == "stage.seed" && s.tag("error") == "true" && s.tag(tracing.Outcome) == "failed" {
				return
			}
		}
	}
	t.Error("the block that failed is not found by its outcome")
}

// killed kills a run in the middle of a stage. Its trace is there meanwhile, and the next run completes it.
func killed(t *testing.T, apply func(...string) *exec.Cmd, find search) {
	before := map[string]bool{}
	for _, tr := range find() {
		before[tr.TraceID] = true
	}
	c := apply("-var", "tokens=200000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	run := ""
	for i := 0; run == ""; i++ { // the run is seen while it goes on
		if i > 600 {
			t.Fatal("no step was seen in the run's trace within a minute")
		}
		time.Sleep(100 * time.Millisecond)
		for _, tr := range find("tags", `{"stepflow.trace":"run"}`) {
			if !before[tr.TraceID] && slices.ContainsFunc(tr.Spans, func(s jaegerSpan) bool { return strings.HasPrefix(s.Name, "step ") }) {
				run = tr.TraceID
				if name := title(tr); name != "plan · apply quickstart" {
					t.Errorf("a run that goes on is called %s", name)
				}
			}
		}
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	again := exec.CommandContext(ctx, c.Path, c.Args[1:]...)
	again.Env = c.Env
	out, err := again.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m := regexp.MustCompile(`Trace ([0-9a-f]{32})`).FindSubmatch(out)
	time.Sleep(time.Second)
	seen := 0
	for _, tr := range find() {
		switch r := root(t, tr); tr.TraceID {
		case run:
			seen++
			if r.Name != "apply quickstart" || r.tag(tracing.Outcome) != "killed" {
				t.Errorf("the run that was killed has the root %s %v", r.Name, r.Tags)
			}
		case string(m[1]):
			seen++
			if len(r.links()) != 2 || r.links()[0] != run { // the other is its plan
				t.Errorf("the run that went on leads to %v, not to %s", r.links(), run)
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d of the two runs are there", seen)
	}
}

// title is what Jaeger's page calls a trace: the name of the span with the fewest references among those that refer to no
// other span of the trace, of these the earliest.
func title(tr jaegerTrace) string {
	ids := map[string]bool{}
	for _, s := range tr.Spans {
		ids[s.SpanID] = true
	}
	var first *jaegerSpan
	for i := range tr.Spans {
		s := &tr.Spans[i]
		if ids[s.parent()] {
			continue
		}
		if first == nil || len(s.References) < len(first.References) ||
			len(s.References) == len(first.References) && s.Start < first.Start {
			first = s
		}
	}
	return first.Name
}

// arrived waits until Jaeger has as many spans as were sent.
func arrived(t *testing.T, find search, sent int) []jaegerTrace {
	n := 0
	for range 50 {
		n = 0
		list := find()
		for _, tr := range list {
			n += len(tr.Spans)
		}
		if n == sent {
			return list
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%d spans were sent, Jaeger has %d", sent, n)
	return nil
}

// root checks that a trace is a tree with one root, children inside their parents, and returns the root.
func root(t *testing.T, tr jaegerTrace) (root jaegerSpan) {
	t.Helper()
	byID := map[string]jaegerSpan{}
	for _, s := range tr.Spans {
		byID[s.SpanID] = s
	}
	roots := 0
	for _, s := range tr.Spans {
		if len(s.Warnings) > 0 {
			t.Errorf("%s: %v", s.Name, s.Warnings)
		}
		if s.parent() == "" {
			root = s
			roots++
			continue
		}
		p, ok := byID[s.parent()]
		if !ok {
			t.Errorf("%s has no parent", s.Name)
		}
		if s.Start < p.Start || s.Start+s.Duration > p.Start+p.Duration+1 { // Jaeger cuts times to µs
			t.Errorf("%s [%d +%d] lies outside its parent %s [%d +%d]", s.Name, s.Start, s.Duration, p.Name, p.Start, p.Duration)
		}
	}
	if roots != 1 {
		t.Errorf("trace %s has %d roots", tr.TraceID, roots)
	}
	if len(tr.Spans) > 2000 {
		t.Errorf("trace %s of %s has %d spans", tr.TraceID, root.Name, len(tr.Spans))
	}
	return root
}

// rootNames matches the names of roots: each tells what its trace shows.
var rootNames = regexp.MustCompile(`^(apply quickstart|plan quickstart|step \d+ · stage\.\S+)$`)

// checkRun looks at the traces of one run of the quickstart, and returns the addresses of its stages.
func checkRun(t *testing.T, list []jaegerTrace, run string) (stages []string) {
	steps := map[string]jaegerTrace{} // by trace
	var whole, plan jaegerTrace
	for _, tr := range list {
		r := root(t, tr)
		if !rootNames.MatchString(r.Name) || r.tag(tracing.Run) != run {
			t.Errorf("a trace is named %s and is of run %s, not %s", r.Name, r.tag(tracing.Run), run)
		}
		if r.tag(tracing.TraceOf) == "run" {
			whole = tr
			continue
		}
		if !slices.Contains(r.links(), run) {
			t.Errorf("%s does not lead to its run", r.Name)
		}
		if r.tag(tracing.TraceOf) == "plan" {
			plan = tr
			continue
		}
		steps[tr.TraceID] = tr
		checkStep(t, tr, r)
	}
	if got := root(t, whole).links(); !slices.Equal(got, []string{plan.TraceID}) {
		t.Errorf("the run leads to %v, not to its plan", got)
	}
	for _, name := range []string{"load", "plan stage.middle", "compile stage.middle", "lower"} {
		if !slices.ContainsFunc(plan.Spans, func(s jaegerSpan) bool { return s.Name == name }) {
			t.Errorf("the trace of the plan has no span %s", name)
		}
	}
	kinds, inside, why := map[string]int{}, map[string]map[string]int{}, map[string]string{}
	for _, s := range whole.Spans {
		kind, _, _ := strings.Cut(s.tag(tracing.Address), ".")
		kinds[kind]++
		stage := s.tag(tracing.Stage)
		if inside[stage] == nil {
			inside[stage] = map[string]int{}
		}
		inside[stage][s.Name]++
		if number := s.tag(tracing.Why); number != "" {
			why[stage] += " " + number
			if len(s.links()) != 1 || root(t, steps[s.links()[0]]).Name != s.Name {
				t.Errorf("%s leads to %v, not to its own trace", s.Name, s.links())
			}
		}
		if kind == "stage" {
			stages = append(stages, stage)
			if s.Name != stage || s.tag("code.file.path") == "" || s.tag(tracing.Outcome) != "done" {
				t.Errorf("%s: %v", s.Name, s.Tags)
			}
		}
	}
	for kind, want := range map[string]int{"tokenizer": 1, "stage": 3, "evaluate": 2, "export": 1} {
		if kinds[kind] != want {
			t.Errorf("%d spans of blocks of kind %s, want %d", kinds[kind], kind, want)
		}
	}
	for _, stage := range stages {
		n, merges := inside[stage], 1
		if stage == "stage.seed" { // it has no adapters
			merges = 0
		}
		if n["grow"] != 1 || n["train"] != 1 || n["checkpoint"] == 0 || n["merge"] != merges ||
			!strings.Contains(why[stage], "first") || !strings.Contains(why[stage], "last") {
			t.Errorf("%s: %v, steps %s", stage, n, why[stage])
		}
	}
	for block, names := range map[string][]string{"tokenizer.bpe.docs": {"count words", "text 0", "make vocabulary"},
		"stage.middle":                {"verify stage.seed"},
		"evaluate.perplexity.step":    {"verify stage.final", "read weights", "batch 0", "batch 10-19"},
		"evaluate.generation.samples": {"prompt 1"},
		"export.huggingface.model":    {"verify stage.final", "write config.json", "write model.safetensors"}} {
		for _, name := range names {
			if inside[block][name] != 1 {
				t.Errorf("%s has %d spans %s", block, inside[block][name], name)
			}
		}
	}
	return stages
}

// checkSearch finds with Jaeger's search alone what people look for.
func checkSearch(t *testing.T, find search, run string, stages []string) {
	for _, stage := range stages {
		list := find("tags", fmt.Sprintf(`{"stepflow.trace":"step","stepflow.stage":%q}`, stage))
		if len(list) < 2 {
			t.Errorf("%d steps of %s are found", len(list), stage)
		}
		for _, tr := range list {
			if r := root(t, tr); r.tag(tracing.Stage) != stage || !strings.HasPrefix(r.Name, "step ") {
				t.Errorf("%s is found as a step of %s", r.Name, stage)
			}
		}
	}
	if list := find("operation", "checkpoint", "minDuration", "1us"); len(list) != 1 || list[0].TraceID != run {
		t.Errorf("checkpoints are found in %d traces", len(list))
	}
	if list := find("operation", "checkpoint", "minDuration", "1h"); len(list) != 0 {
		t.Errorf("checkpoints of an hour are found in %d traces", len(list))
	}
	if list := find("tags", `{"stepflow.outcome":"failed"}`); len(list) != 0 {
		t.Errorf("%d traces have an error", len(list))
	}
	if list := find("tags", `{"stepflow.trace":"run"}`); len(list) != 1 || list[0].TraceID != run {
		t.Errorf("%d runs are found", len(list))
	}
}

// checkStep adds up a step's operations and looks at what each tells.
func checkStep(t *testing.T, tr jaegerTrace, r jaegerSpan) {
	var operations, wait int64
	n := 0
	for _, s := range tr.Spans {
		switch s.Name {
		case tracing.SpanData:
			wait += s.Duration
		case tracing.SpanZero: // one span for all its operations
			operations += s.Duration
		}
		if s.tag(tracing.OpKernel) == "" {
			continue
		}
		n++
		operations += s.Duration
		for _, key := range []string{tracing.OpPhase, tracing.OpShapes, tracing.OpDType, tracing.Layer,
			tracing.OpName, tracing.OpFLOPs, tracing.OpBytes, tracing.Device} {
			if s.tag(key) == "" {
				t.Errorf("operation %s has no %s", s.Name, key)
			}
		}
		if s.Duration > 0 && (s.tag(tracing.OpGFLOPs) == "" || s.tag(tracing.OpGBs) == "") {
			t.Errorf("operation %s has no rates", s.Name)
		}
	}
	share := float64(operations+wait) / float64(r.Duration)
	t.Logf("%s step %s (%s): %d operations, %.1f %% of its %.1f ms; waiting for data %.2f ms", r.tag(tracing.Stage), r.tag(tracing.StepNumber), r.tag(tracing.Why), n, 100*float64(operations)/float64(r.Duration), float64(r.Duration)/1e3, float64(wait)/1e3)
	if share < 0.95 || share > 1.05 {
		t.Errorf("%s step %s: its operations and the wait for data are %.3f of its time", r.tag(tracing.Stage), r.tag(tracing.StepNumber), share)
	}
}

// checkNames fails on an attribute that the table of names does not have. Jaeger adds tags of its own.
func checkNames(t *testing.T, list []jaegerTrace) {
	known := map[string]bool{"span.kind": true, "otel.scope.name": true, "otel.status_code": true, "otel.status_description": true, "error": true, "internal.span.format": true}
	for _, n := range tracing.Attributes {
		known[n.Name] = true
	}
	for _, tr := range list {
		for _, s := range tr.Spans {
			for _, tag := range s.Tags {
				if !known[tag.Key] {
					t.Errorf("%s has the attribute %s, which is not in the table", s.Name, tag.Key)
				}
			}
		}
	}
}
