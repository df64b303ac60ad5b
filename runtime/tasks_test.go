package runtime_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
	"stepflow/tasks"
	"stepflow/tasks/taskstest"
)

// TestTasks measures a real model on tasks in the schema of each, and compares every likelihood, every choice and every
// metric with lm-evaluation-harness, which ran the same model with transformers.
func TestTasks(t *testing.T) {
	dir, err := filepath.Abs("../tasks/testdata/lm_eval")
	must(t, err)
	short := func(r *taskstest.Run) bool { // of each kind of request one; make parity compares all
		return r.NumFewshot == nil || r.Task == "runs/only_winogrande.yaml" || r.Task == "runs/mmlu_small.yaml" && *r.NumFewshot == 0
	}
	sameAsHarness(t, dir, "testdata/stories260K", short)
}

// TestTasksOfOthers is TestTasks with whatever make parity had the harness run.
func TestTasksOfOthers(t *testing.T) {
	dir := given(t, "STEPFLOW_TASKS")
	models, err := filepath.Glob(filepath.Join(dir, "models", "*"))
	must(t, err)
	if len(models) == 0 {
		t.Fatal("no models")
	}
	for _, m := range models {
		t.Run(filepath.Base(m), func(t *testing.T) {
			sameAsHarness(t, dir, m, func(*taskstest.Run) bool { return true })
		})
	}
}

// sameAsHarness runs a pipeline that asks a model what the harness asked it.
func sameAsHarness(t *testing.T, dir, model string, which func(*taskstest.Run) bool) {
	model, err := filepath.Abs(model)
	must(t, err)
	var runs []*taskstest.Run
	for _, r := range taskstest.Read(t, dir, filepath.Base(model)) {
		if which(r) {
			runs = append(runs, r)
		}
	}
	var hcl strings.Builder
	fmt.Fprintf(&hcl, "model \"auto\" \"m\" { from = %q }\ntokenizer \"huggingface\" \"t\" { file = %q }\n", model,
		filepath.Join(model, checkpoint.TokenizerFile))
	for i, r := range runs {
		fmt.Fprintf(&hcl, "evaluate \"tasks\" \"r%d\" {\n  model = model.auto.m\n  tokenizer = tokenizer.huggingface.t\n", i)
		fmt.Fprintf(&hcl, "  tasks = [%q]\n", filepath.Join(dir, r.Task))
		if r.NumFewshot != nil {
			fmt.Fprintf(&hcl, "  num_fewshot = %d\n", *r.NumFewshot)
		}
		if r.Limit > 0 {
			fmt.Fprintf(&hcl, "  limit = %d\n", r.Limit)
		}
		fmt.Fprintln(&hcl, "}")
	}
	pipeline := t.TempDir()
	must(t, os.Symlink(filepath.Join(dir, "data"), filepath.Join(pipeline, "data")))
	must(t, os.WriteFile(filepath.Join(pipeline, "main.hcl"), []byte(hcl.String()), 0o644))
	must(t, applyOn(t, cpuDevice(t, 2), planOf(t, pipeline)))
	st, err := state.Read(filepath.Join(pipeline, ".stepflow"))
	must(t, err)
	worst, n := 0.0, 0
	for i, r := range runs {
		b := st.State.Blocks[fmt.Sprintf("evaluate.tasks.r%d", i)]
		samples := samplesOf(t, filepath.Join(pipeline, ".stepflow", b.Dir, "samples.jsonl"))
		for name, want := range r.Samples {
			for k, s := range samples[name] {
				d := sameAnswers(t, &want[k], s)
				worst, n = max(worst, d), n+1
			}
			if len(samples[name]) != len(want) {
				t.Errorf("%s: %d documents, not %d", name, len(samples[name]), len(want))
			}
		}
		for name, result := range b.Values["results"].(map[string]any) {
			if len(r.Results[name]) > 0 {
				r.SameMetrics(t, asResult(name, result.(map[string]any)), 1e-4)
			}
		}
	}
	t.Logf("%s: %d documents in %d runs, largest difference of a log-likelihood %.1e", filepath.Base(model), n, len(runs), worst)
}

// samplesOf reads the samples of an evaluation, by task.
func samplesOf(t *testing.T, file string) map[string][]tasks.Sample {
	f, err := os.Open(file)
	must(t, err)
	defer f.Close()
	all := map[string][]tasks.Sample{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var s tasks.Sample
		must(t, json.Unmarshal(lines.Bytes(), &s))
		all[s.Task] = append(all[s.Task], s)
	}
	must(t, lines.Err())
	return all
}

// sameAnswers compares what came of a document, and returns the largest difference of a log-likelihood.
func sameAnswers(t *testing.T, want *taskstest.Sample, got tasks.Sample) (worst float64) {
	where := fmt.Sprintf("%s, document %d", got.Task, got.Document)
	if want.Texts != nil {
		if !reflect.DeepEqual(got.Written, want.Texts) {
			t.Errorf("%s: wrote %q, not %q", where, got.Written, want.Texts)
		}
		return 0
	}
	answers := want.Answered()
	if len(answers) != len(got.LogLikelihoods) {
		t.Fatalf("%s: %d answers, not %d", where, len(got.LogLikelihoods), len(answers))
	}
	for i, a := range answers {
		d := math.Abs(*got.LogLikelihoods[i] - a.LogLikelihood)
		worst = max(worst, d/math.Max(1, math.Abs(a.LogLikelihood)/100))
		if d > 1e-4*math.Max(1, math.Abs(a.LogLikelihood)/100) {
			t.Errorf("%s, request %d: log-likelihood %v, not %v", where, i, *got.LogLikelihoods[i], a.LogLikelihood)
		}
		if got.Greedy[i] != a.Greedy && want.Metrics["word_perplexity,none"] == 0 && !strings.HasPrefix(got.Task, "own_document") && got.Task != "wikitext" {
			t.Errorf("%s, request %d: greedy is %v", where, i, got.Greedy[i])
		}
	}
	for key, x := range want.Metrics {
		if y := got.Metrics[strings.TrimSuffix(key, ",none")]; y == nil || math.Abs(*y-x) > 1e-4*math.Max(1, math.Abs(x)/100) {
			t.Errorf("%s: %s is %v, not %v", where, key, y, x)
		}
	}
	return worst
}

// asResult is a result as the state has it.
func asResult(name string, values map[string]any) *tasks.Result {
	r := &tasks.Result{Name: name, Metrics: map[string]float64{}, Stderr: map[string]float64{}}
	for key, v := range values {
		metric, filter, _ := strings.Cut(key, ",")
		x, ok := v.(float64)
		if !ok || key == "documents" || key == "chance" {
			continue
		}
		list := r.Metrics
		if m, ok := strings.CutSuffix(metric, "_stderr"); ok {
			metric, list = m, r.Stderr
		}
		if filter != "" {
			metric += "," + filter
		}
		list[metric] = x
	}
	return r
}
