package runtime_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"stepflow/runtime/apply"
	"stepflow/runtime/blocks"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
)

// questions are tasks of each kind of request.
const questions = `
task "odd" {
  data_files    = "q.jsonl"
  output_type   = "multiple_choice"
  doc_to_text   = "{{q}}"
  doc_to_choice = "{{[a, b, c]}}"
  doc_to_target = 0
  metric_list   = ["acc", "acc_norm"]
}
task "likely" {
  data_files    = "q.jsonl"
  output_type   = "loglikelihood"
  doc_to_text   = "{{q}}"
  doc_to_target = " {{a}}"
  metric_list   = ["perplexity", "acc"]
}
task "written" {
  data_files    = "q.jsonl"
  output_type   = "generate_until"
  doc_to_text   = "{{q}}"
  doc_to_target = " {{a}}"
  metric_list   = ["exact_match"]
  generation_kwargs = {
    until        = ["zz"]
    max_gen_toks = 4
  }
}
`

// asking measures on them between steps.
const asking = `
evaluate "tasks" {
  every_steps = 2
  tasks       = [task.odd, task.likely, task.written]
}
`

// asked is the tiny pipeline up to stage one with tasks, and with a block that measures it on them when it has ended; in says
// what its train block has.
func asked(t *testing.T, in string) string {
	t.Helper()
	dir := evaluating(t, "")
	edit(t, dir, validation, in, `evaluate "perplexity" "one" {
  model = stage.one
  data  = data.jsonl.d.validation
}`, questions+`
evaluate "tasks" "one" {
  model = stage.one
  tasks = [task.odd, task.likely, task.written]
}`)
	writeQuestions(t, dir)
	return dir
}

// writeQuestions writes the documents of questions.
func writeQuestions(t *testing.T, dir string) {
	t.Helper()
	var b strings.Builder
	words := strings.Fields("quick brown fox jumps over lazy dog while wizards mix strange potions")
	for i := range 9 {
		w := func(n int) string { return words[(i*n+n)%len(words)] }
		fmt.Fprintf(&b, "{\"q\": %q, \"a\": %q, \"b\": %q, \"c\": %q}\n", w(1)+" "+w(2), w(5), w(7)+"s", w(3)+" not")
	}
	must(t, os.WriteFile(filepath.Join(dir, "q.jsonl"), []byte(b.String()), 0o644))
}

// sameAsBlock holds an evaluation to what the block of its own gave: the same bits.
func sameAsBlock(t *testing.T, e metrics.Evaluation, values map[string]any) {
	t.Helper()
	n := 0
	for name, r := range values["results"].(map[string]any) {
		for key, want := range r.(map[string]any) {
			if key == "documents" || key == "chance" || key == blocks.CleanScores || key == "unchecked_documents" ||
				strings.Contains(key, "contaminat") { // what was trained on is known when the stage has ended
				continue
			}
			if got, ok := e.Values[name+"."+key]; !ok || got != want.(float64) {
				t.Errorf("after step %d %s.%s is %v, and when the stage has ended %v", e.Step, name, key, got, want)
			}
			n++
		}
	}
	if n != len(e.Values) || n < 10 {
		t.Errorf("%d values, and of the block %d: %v", len(e.Values), n, e.Values)
	}
}

// TestTasksBetweenSteps: a stage that is asked tasks between its steps has the bits of one that is not, whether it is killed on
// the way or not; the last answers are, bit for bit, those of a block that asks its result; and asking what is trained already
// runs nothing.
func TestTasksBetweenSteps(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, precision := range []string{"fp32", "bf16"} {
		vars := []string{"precision=" + precision, "every=3"}
		plain := asked(t, "")
		must(t, applyOn(t, d, planOf(t, plain, vars...)))
		dir := asked(t, asking)
		p := planOf(t, dir, vars...)
		one := find(p, "stage.one")
		if a, b := stageOf(one).Figures, stageOf(find(planOf(t, plain, vars...), "stage.one")).Figures; a.Peak <= b.Peak ||
			a.ByKind["cache"] == 0 || a.StepFLOPs != b.StepFLOPs {
			t.Errorf("%+v, and without tasks %+v", a, b)
		}
		var copies []string
		must(t, applyWith(context.Background(), p, apply.Options{Device: d, Emit: func(e observe.Event) {
			if e.Addr.Name == "one" && precision == "fp32" &&
				(e.Kind == observe.Saved || e.Kind == observe.Evaluated && e.Evaluation.Step == 4) {
				c := t.TempDir()
				must(t, os.CopyFS(c, os.DirFS(dir)))
				copies = append(copies, c)
			}
		}}))
		trained := func(dir string) map[string]string { // the block's samples name files
			c := contents(t, dir)
			delete(c, "evaluate.tasks.one")
			return c
		}
		want := trained(plain)
		sameContents(t, precision, trained(dir), want)
		line := curve(t, dir, "one")
		if steps := at(line, "tasks"); !reflect.DeepEqual(steps, []int{2, 4, 6}) {
			t.Fatalf("there are evaluations after %v", steps)
		}
		sameAsBlock(t, line[2], valuesOf(t, dir, "evaluate.tasks.one"))
		if reflect.DeepEqual(line[0].Values, line[2].Values) {
			t.Error("training changed no answer")
		}
		for i, k := range copies {
			must(t, os.RemoveAll(filepath.Join(k, ".stepflow", "lock")))
			must(t, applyOn(t, d, planOf(t, k, vars...)))
			sameContents(t, fmt.Sprint("killed at ", i), trained(k), want)
			if !reflect.DeepEqual(curve(t, k, "one"), line) {
				t.Errorf("killed at %d: another curve", i)
			}
		}
		edit(t, plain, inOneEmpty, asking+inOneEmpty)
		if a := find(planOf(t, plain, vars...), "stage.one"); a.Verb != plan.UpToDate {
			t.Errorf("asking a finished stage is to %s it: %s", a.Verb, a.Why)
		}
	}
}

// inOneEmpty is where stage one without evaluations gets some.
const inOneEmpty = `checkpoint {
      every_steps = var.every`

// TestTasksDecide: each value is better in the direction that its metric has, and a rule on it ends the stage where the curve says.
func TestTasksDecide(t *testing.T) {
	d := cpuDevice(t, 2)
	vars := []string{"steps=12", "lr=0.1"}
	dir := asked(t, asking)
	must(t, applyOn(t, d, planOf(t, dir, vars...)))
	line := curve(t, dir, "one")
	for _, c := range []struct {
		value  string
		higher bool
	}{{"likely.perplexity", false}, {"odd.acc_norm", true}} {
		best, at := math.Inf(1), 0
		if c.higher {
			best = -best
		}
		for _, e := range line {
			if v := e.Values[c.value]; c.higher && v > best || !c.higher && v < best {
				best, at = v, e.Step
			}
		}
		kept := asked(t, asking+"keep_best = \"tasks."+c.value+"\"\n")
		must(t, applyOn(t, d, planOf(t, kept, vars...)))
		if v := valuesOf(t, kept, "stage.one"); v["result_step"] != float64(at) {
			t.Errorf("%s: the result is the model of step %v, and it is best at %d: %v", c.value, v["result_step"], at, line)
		}
		if !reflect.DeepEqual(curve(t, kept, "one"), line) {
			t.Errorf("%s: another curve", c.value)
		}
		early := asked(t, asking+fmt.Sprintf("stop_when {\n value = \"tasks.%s\"\n threshold = %v\n}\n", c.value, best))
		must(t, applyOn(t, d, planOf(t, early, vars...)))
		v := valuesOf(t, early, "stage.one")
		if want := map[bool]string{false: "or less", true: "or more"}[c.higher]; v["result_step"] != float64(at) ||
			at < 12 && !strings.Contains(fmt.Sprint(v["ended"]), want) {
			t.Errorf("%s: it ended at %v: %v", c.value, v["result_step"], v["ended"])
		}
	}
}
