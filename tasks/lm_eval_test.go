package tasks_test

import (
	"math"
	"reflect"
	"testing"

	"stepflow/tasks"
	"stepflow/tasks/taskstest"
)

// Every request is that of lm-evaluation-harness, and of the answers of its model the same metrics and standard errors
// are made, for all built-in tasks in the schema of each and for tasks of the user's.
func TestHarness(t *testing.T) {
	n, asked := 0, map[string]bool{}
	for _, r := range taskstest.Read(t, "testdata/lm_eval", "stories260K") {
		results := map[string]*tasks.Result{}
		for _, task := range r.Leaves(t) {
			all := r.Requests(t, task)
			asked[task.Name] = true
			n += r.SameRequests(t, all)
			results[task.Name] = sameResults(t, r, all)
		}
		if g := r.Collection.Groups[r.Name]; g != nil && g.Metrics != nil {
			pooled, notes, err := r.Collection.Pool(g, results)
			if err != nil || notes != nil {
				t.Fatal(notes, err)
			}
			r.SameMetrics(t, pooled, 1e-9)
		}
	}
	if len(asked) < 21 || n < 1000 {
		t.Errorf("%d tasks and %d requests were compared", len(asked), n)
	}
}

// sameResults compares what is made of the harness's answers.
func sameResults(t *testing.T, r *taskstest.Run, all *tasks.Requests) *tasks.Result {
	var list []tasks.Judgement
	for i, x := range all.Items {
		s := r.Samples[all.Task.Name][i]
		j, err := all.Judge(x, s.Answered())
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range s.Metrics {
			if got, ok := j.Values[key]; !ok || math.Abs(got.X-want) > 1e-9 {
				t.Errorf("%s: %s: %s is %v, not %v", all.Task.Name, x.Document.Where, key, got.X, want)
			}
		}
		if s.Filtered != nil && !reflect.DeepEqual(j.Texts, s.Filtered) {
			t.Errorf("%s: %s: %q, not %q", all.Task.Name, x.Document.Where, j.Texts, s.Filtered)
		}
		list = append(list, j)
	}
	result := all.Score(list)
	r.SameMetrics(t, result, 1e-9)
	return result
}
