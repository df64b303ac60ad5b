package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
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

// links are the ids of the traces that a root leads to.
func (s jaegerSpan) links() (ids []string) {
	for _, r := range s.References {
		if r.Type != "CHILD_OF" {
			ids = append(ids, r.TraceID)
		}
	}
	return ids
}

// jaeger starts the real thing on free ports, and gives the environment that leads to it and a reader of its traces.
func jaeger(t *testing.T) (env []string, read func() []jaegerTrace) {
	binary := os.Getenv("STEPFLOW_JAEGER")
	if binary == "" {
		t.Skip("STEPFLOW_JAEGER names no Jaeger: make test-jaeger builds one")
	}
	ports := map[string]int{}
	for _, name := range []string{"JAEGER_GRPC_PORT", "JAEGER_HTTP_PORT", "OTLP_GRPC_PORT", "OTLP_HTTP_PORT"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[name] = l.Addr().(*net.TCPAddr).Port
		l.Close()
	}
	cmd := exec.Command(binary, "--config", "../../tools/jaeger/config.yaml")
	cmd.Env = append(os.Environ(), "OTEL_TRACES_SAMPLER=always_off") // it would trace itself
	for name, p := range ports {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", name, p))
	}
	cmd.Stderr = os.Stderr
	env = append(os.Environ(), fmt.Sprintf("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:%d", ports["OTLP_HTTP_PORT"]))
	api := fmt.Sprintf("http://127.0.0.1:%d", ports["JAEGER_HTTP_PORT"])
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	for i := 0; ; i++ {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", ports["OTLP_HTTP_PORT"])); err == nil {
			c.Close()
			break
		}
		if i == 300 {
			t.Fatal("Jaeger did not start within 30 seconds")
		}
		time.Sleep(100 * time.Millisecond)
	}
	return env, func() []jaegerTrace {
		r, err := http.Get(api + "/api/traces?service=stepflow&limit=100000&lookback=1h")
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

// TestJaeger runs the quickstart, shortened, with a real Jaeger: once to its end, once killed and gone on.
func TestJaeger(t *testing.T) {
	env, read := jaeger(t)
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
	list := arrived(t, read, sent)
	checkTraces(t, list, string(m[1]))
	checkNames(t, list)

	// Killed in the middle of a stage: every trace is whole, and the next run completes the stage's.
	state = t.TempDir()
	c := apply("-var", "tokens=200000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	steps := func() (n int) {
		for _, tr := range read() {
			if !slices.ContainsFunc(list, func(x jaegerTrace) bool { return x.TraceID == tr.TraceID }) && root(t, tr).Name == "step" {
				n++
			}
		}
		return n
	}
	for i := 0; steps() < 2; i++ { // the run is seen while it goes on
		if i > 600 {
			t.Fatal("no step was seen within a minute")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	for _, tr := range read() {
		root(t, tr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	again := exec.CommandContext(ctx, c.Path, c.Args[1:]...)
	again.Env = env
	if out, err = again.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m = regexp.MustCompile(`Trace ([0-9a-f]{32})`).FindSubmatch(out)
	var killed, apply2 *jaegerSpan
	time.Sleep(time.Second)
	for _, tr := range read() {
		r := root(t, tr)
		if r.tag(tracing.Outcome) == "killed" {
			killed = &r
		}
		if r.TraceID == string(m[1]) {
			apply2 = &r
		}
	}
	if killed == nil || apply2 == nil || len(apply2.links()) != 1 || !slices.Contains(killed.links(), apply2.links()[0]) {
		t.Errorf("the killed stage %+v and the run that went on %+v do not lead to the killed run", killed, apply2)
	}
}

// arrived waits until Jaeger has as many spans as were sent.
func arrived(t *testing.T, read func() []jaegerTrace, sent int) []jaegerTrace {
	n := 0
	for range 50 {
		n = 0
		list := read()
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

// root checks that a trace is a tree with one root, children inside their parents, and gives the root.
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

// checkTraces looks at the traces of one run of the quickstart.
func checkTraces(t *testing.T, list []jaegerTrace, run string) {
	counts, steps := map[string]int{}, map[string][]string{}
	stages := map[string]string{}
	for _, tr := range list {
		r := root(t, tr)
		counts[r.Name]++
		if r.tag(tracing.Run) != run {
			t.Errorf("%s is of run %s, not %s", r.Name, r.tag(tracing.Run), run)
		}
		if r.Name != "apply" && (len(r.links()) == 0 || r.links()[0] != run) {
			t.Errorf("%s does not lead to its run", r.Name)
		}
		switch r.Name {
		case "stage":
			stages[r.tag(tracing.Address)] = tr.TraceID
			inside := map[string]int{}
			for _, s := range tr.Spans {
				inside[s.Name]++
			}
			if inside["grow"] != 1 || inside["train"] != 1 || inside["checkpoint"] == 0 || r.tag("code.file.path") == "" || r.tag(tracing.Outcome) != "done" {
				t.Errorf("%s: %v %v", r.tag(tracing.Address), inside, r.Tags)
			}
		case "step":
			steps[r.tag(tracing.Stage)] = append(steps[r.tag(tracing.Stage)], r.tag(tracing.Why))
			checkStep(t, tr, r)
		}
	}
	for name, want := range map[string]int{"apply": 1, "tokenizer": 1, "stage": 3, "evaluate": 2, "export": 1} {
		if counts[name] != want {
			t.Errorf("%d traces of %s, want %d", counts[name], name, want)
		}
	}
	for _, stage := range []string{"stage.seed", "stage.middle", "stage.final"} {
		if why := strings.Join(steps[stage], " "); !strings.Contains(why, "first") || !strings.Contains(why, "last") {
			t.Errorf("%s has steps %q", stage, why)
		}
		if stages[stage] == "" {
			t.Errorf("%s has no trace", stage)
		}
	}
}

// checkStep adds up a step's operations and looks at what each tells.
func checkStep(t *testing.T, tr jaegerTrace, r jaegerSpan) {
	var operations, wait int64
	n := 0
	for _, s := range tr.Spans {
		if s.Name == "data" {
			wait += s.Duration
		}
		if s.tag(tracing.OpKernel) == "" {
			continue
		}
		n++
		operations += s.Duration
		for _, key := range []string{tracing.OpPhase, tracing.OpShapes, tracing.OpDType, tracing.OpLayer, tracing.OpName, tracing.OpFLOPs, tracing.OpBytes, tracing.Device} {
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
