// Package taskstest reads what lm-evaluation-harness made of tasks, and compares; see tools/parity/tasks_fixture.py.
package taskstest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"stepflow/tasks"
)

// Run is a run of the harness.
type Run struct {
	Task       string // the file that describes it
	NumFewshot *int   `json:"num_fewshot"`
	Limit      int    // of documents a task; 0 for all
	Results    map[string]map[string]float64
	Samples    map[string][]Sample

	Collection *tasks.Collection
	Name       string // of the task or group
	dir        string
}

// Sample is what came of a document.
type Sample struct {
	Requests []string // hashes
	Answers  [][2]any
	Texts    []string
	Filtered map[string]string
	Metrics  map[string]float64
}

// Answered are the answers of the harness's model.
func (s *Sample) Answered() (list []tasks.Answer) {
	if s.Texts != nil {
		return []tasks.Answer{{Texts: s.Texts}}
	}
	for _, a := range s.Answers {
		greedy, _ := a[1].(bool)
		list = append(list, tasks.Answer{LogLikelihood: a[0].(float64), Greedy: greedy})
	}
	return list
}

// Read reads the runs with a model, and the descriptions that the harness read.
func Read(t testing.TB, dir, model string) (list []*Run) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, model+".json"))
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		r.Collection, r.dir = tasks.Builtin(), dir
		read := func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) }
		if r.Name, err = r.Collection.Load(read, r.Task, dir); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// Leaves are the tasks of a run.
func (r *Run) Leaves(t testing.TB) []*tasks.Task {
	t.Helper()
	list, err := r.Collection.Leaves(r.Name)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Requests are those of a task as the harness was run.
func (r *Run) Requests(t testing.TB, task *tasks.Task) *tasks.Requests {
	t.Helper()
	shots := max(task.NumFewshot, 0)
	if r.NumFewshot != nil {
		shots = *r.NumFewshot
	}
	var examples []*tasks.Document
	if shots > 0 {
		examples = documents(t, task, task.ExampleSplit(), 0)
	}
	all, err := tasks.NewRequests(task, shots, documents(t, task, task.Eval(), len(r.Samples[task.Name])), examples, 1234)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// documents reads a split of a task.
func documents(t testing.TB, task *tasks.Task, split string, n int) []*tasks.Document {
	t.Helper()
	s, err := task.Data.Source(split)
	if err != nil {
		t.Fatal(err)
	}
	d, err := tasks.OpenDocuments(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	list, err := d.First(n)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// SameRequests compares the requests of a task, and counts them.
func (r *Run) SameRequests(t testing.TB, all *tasks.Requests) (n int) {
	t.Helper()
	want := r.Samples[all.Task.Name]
	if len(want) != len(all.Items) {
		t.Fatalf("%s: %d documents, not %d", r.Task, len(all.Items), len(want))
	}
	for i, x := range all.Items {
		var got []string
		for _, q := range all.List[x.First : x.First+x.N] {
			text := q.Context + "\x00" + q.Continuation
			if all.Task.Output == tasks.Rolling {
				text = q.Continuation + "\x00"
			}
			sum := sha256.Sum256([]byte(text))
			got = append(got, hex.EncodeToString(sum[:8]))
		}
		if !reflect.DeepEqual(got, want[i].Requests) {
			t.Errorf("%s: %s, %d examples: other requests:\n%+v", all.Task.Name, x.Document.Where, all.Shots,
				all.List[x.First:x.First+x.N])
		}
		n += x.N
	}
	return n
}

// SameMetrics compares metrics and standard errors up to a relative difference, and sees that there are the same.
func (r *Run) SameMetrics(t testing.TB, got *tasks.Result, most float64) {
	t.Helper()
	n := 0
	for key, want := range r.Results[got.Name] {
		metric, filter, ok := strings.Cut(key, ",")
		if !ok {
			continue
		}
		n++
		list := got.Metrics
		if m, is := strings.CutSuffix(metric, "_stderr"); is {
			metric, list = m, got.Stderr
		}
		key = strings.TrimSuffix(metric+","+filter, ",none")
		if x, ok := list[key]; !ok || math.Abs(x-want) > most*math.Max(1, math.Abs(want)) {
			t.Errorf("%s with %d documents: %s is %v, not %v", got.Name, got.Documents, key, x, want)
		}
	}
	if n != len(got.Metrics)+len(got.Stderr) {
		t.Errorf("%s: %v and %v, the harness has %v", got.Name, got.Metrics, got.Stderr, r.Results[got.Name])
	}
}
