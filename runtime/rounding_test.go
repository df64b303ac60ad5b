package runtime_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
	"stepflow/runtime/plan"
	"stepflow/runtime/trainstate"
)

// shortCycles makes a folder with a stage whose frozen projections learn by a ReLoRA that restarts every second step, at a rate
// so small that what a cycle learns is far below the resolution of bf16.
func shortCycles(t *testing.T, precision, rounding string) string {
	t.Helper()
	dir := layered(t, 2, "")
	path := filepath.Join(dir, "main.hcl")
	b, err := os.ReadFile(path)
	must(t, err)
	text := strings.NewReplacer("learning_rate = 1e-3", "learning_rate = 1e-4", "steps           = 6", "steps           = 60",
		"  model = model.llama.m\n  train", fmt.Sprintf("  model     = model.llama.m\n  precision = %q\n  freeze    = [\"*\"]\n  adapter   = peft.relora.a\n  train", precision)).Replace(string(b))
	text += fmt.Sprintf(`
peft "relora" "a" {
  r              = 4
  lora_alpha     = 8
  target_modules = ["all-linear"]
  reset_every    = 2
  merge_rounding = %q
}
`, rounding)
	must(t, os.WriteFile(path, []byte(text), 0o644))
	return dir
}

// projections reads those of a checkpoint of stage a.
func projections(t *testing.T, dir string, step int) (v []float32) {
	t.Helper()
	f, err := checkpoint.OpenFolder(checkpoint.StepDir(filepath.Join(dir, ".stepflow", "blocks", "stage.a"), step))
	must(t, err)
	defer f.Close()
	for l := range 2 {
		for _, name := range []string{"self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj"} {
			x, err := f.Float32(fmt.Sprintf("model.layers.%d.%s.weight", l, name))
			must(t, err)
			v = append(v, x...)
		}
	}
	return v
}

func inner(a, b []float64) (s float64) {
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// TestMergesKeepWhatIsLearnt compares ReLoRA of bf16 weights with that of fp32 weights: rounding to nearest would lose most of
// what cycles of two steps learn.
func TestMergesKeepWhatIsLearnt(t *testing.T) {
	d := cpuDevice(t, 2)
	run := func(precision, rounding string) ([]float64, []metrics.Step, *trainstate.State) {
		dir := shortCycles(t, precision, rounding)
		stopAt(t, d, dir, "a", 1)
		first := projections(t, dir, 1) // no merge yet
		must(t, applyOn(t, d, planOf(t, dir)))
		root := filepath.Join(dir, ".stepflow", "blocks", "stage.a")
		steps, err := metrics.Read(filepath.Join(root, metrics.FileName))
		must(t, err)
		ts, err := trainstate.Read(checkpoint.StepDir(root, 60))
		must(t, err)
		var learnt []float64
		for i, x := range projections(t, dir, 60) {
			learnt = append(learnt, float64(x)-float64(first[i]))
		}
		return learnt, steps, ts
	}
	want, steps, ts := run("fp32", "stochastic")
	if ts.Merges.Lost != 0 || ts.Merges.Product == 0 || steps[1].MergeError != 0 {
		t.Errorf("fp32: %+v, error %g", ts.Merges, steps[1].MergeError)
	}
	for _, c := range []struct {
		rounding    string
		cos         float64 // with the change in fp32, at least
		least, most float64 // error of each merge
	}{{"remainder", 0.9, 0, 0.01}, {"stochastic", 0.3, 0.5, 20}} {
		got, steps, ts := run("bf16", c.rounding)
		if kept := inner(got, want) / inner(want, want); math.Abs(kept-1) > 0.1 {
			t.Errorf("%s: %.3f of the change in fp32 is kept", c.rounding, kept)
		}
		if cos := inner(got, want) / math.Sqrt(inner(got, got)*inner(want, want)); cos < c.cos {
			t.Errorf("%s: the change has a cosine of %.3f with that in fp32", c.rounding, cos)
		}
		merges := 0
		for _, s := range steps {
			if e := s.MergeError; e != 0 {
				merges++
				if e < c.least || e > c.most {
					t.Errorf("%s: step %d merges with an error of %g", c.rounding, s.Step, e)
				}
			}
		}
		if merges != 29 || ts.Restarts != 29 {
			t.Errorf("%s: %d merges have an error, %d restarts", c.rounding, merges, ts.Restarts)
		}
		if e := ts.Merges.Error(); e < 0.05 || e > c.most && c.rounding == "stochastic" {
			t.Errorf("%s: all merges have an error of %g, the last one's rounding included", c.rounding, e)
		}
	}
}

// TestRestartsResumeWithTheSameBits stops before, at and after merges into bf16 weights.
func TestRestartsResumeWithTheSameBits(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, vars := range [][]string{{"precision=bf16", "rounding=remainder"}, {"precision=bf16", "rounding=stochastic"},
		{"precision=bf16", "rounding=remainder", "stochastic=true", "accumulate=fp32"}} {
		whole := pipeline(t)
		must(t, applyOn(t, d, planOf(t, whole, vars...)))
		want := contents(t, whole)
		for _, at := range []int{1, 2, 5} {
			dir := pipeline(t)
			stopAt(t, d, dir, "two", at, vars...)
			must(t, applyOn(t, d, planOf(t, dir, vars...)))
			sameContents(t, fmt.Sprint(vars, " stopped at ", at), contents(t, dir), want)
		}
	}
}

// manyParts makes a folder with a stage of one step whose gradients have a part a sequence.
func manyParts(t *testing.T, precision, accumulate string, sequences int) string {
	t.Helper()
	dir := layered(t, 2, fmt.Sprintf("micro_batch_size = 1\n accumulate_dtype = %q", accumulate))
	path := filepath.Join(dir, "main.hcl")
	b, err := os.ReadFile(path)
	must(t, err)
	text := strings.NewReplacer("batch_size      = 4", fmt.Sprint("batch_size = ", sequences), "steps           = 6", "steps = 1", "sequence_length = 32", "sequence_length = 8",
		"  model = model.llama.m\n  train", fmt.Sprintf("  model     = model.llama.m\n  precision = %q\n  train", precision)).Replace(string(b))
	must(t, os.WriteFile(path, []byte(text), 0o644))
	var docs strings.Builder
	for i := range 400 {
		fmt.Fprintf(&docs, "{\"text\": \"document %d tells of %d things and of %x others, which differ\"}\n", i, i*i, i*7919)
	}
	must(t, os.WriteFile(filepath.Join(dir, "d.jsonl"), []byte(docs.String()), 0o644))
	return dir
}

// TestGradientsOfManyParts compares gradients of a thousand micro-batches with those of fp32 weights.
func TestGradientsOfManyParts(t *testing.T) {
	d := cpuDevice(t, 2)
	norm := func(precision, accumulate string) float64 {
		dir := manyParts(t, precision, accumulate, 1024)
		must(t, applyOn(t, d, planOf(t, dir)))
		steps, err := metrics.Read(filepath.Join(dir, ".stepflow", "blocks", "stage.a", metrics.FileName))
		must(t, err)
		return steps[0].GradNorm
	}
	want := norm("fp32", "auto")
	if got := norm("bf16", "auto"); math.Abs(got/want-1) > 0.003 {
		t.Errorf("a thousand parts have a norm of %g, in fp32 weights %g", got, want)
	}
	if got := norm("bf16", "bf16"); math.Abs(got/want-1) < 0.003 {
		t.Errorf("added up in bf16 the norm is %g, %g in fp32: this test no longer shows what fp32 is for", got, want)
	}
}

// TestWhereGradientsAreAddedUp: the type follows from the number of parts, is in the plan's bytes, and said outright it is the same recipe.
func TestWhereGradientsAreAddedUp(t *testing.T) {
	const most = 64 // parts that are added up in bf16
	planned := func(accumulate string, sequences int) *plan.Action {
		return planOf(t, manyParts(t, "bf16", accumulate, sequences)).Action(addr.Addr{Kind: "stage", Name: "a"})
	}
	few, many := planned("auto", most), planned("auto", most+1)
	n := stageOf(few).Figures.Trainable
	for _, c := range []struct {
		a    *plan.Action
		per  int64
		wide int64
	}{{few, 2, 0}, {many, 4, n}} {
		f := stageOf(c.a).Figures
		if f.ByKind["gradients"] != c.per*n || f.WideGradients != c.wide || f.States != (14+c.per)*n || f.PaperStates != 16*n {
			t.Errorf("%d parts: %d parameters have %d bytes of gradients, %d in fp32, %d of states, %d as the paper counts",
				stageOf(c.a).MicroSteps(), n, f.ByKind["gradients"], f.WideGradients, f.States, f.PaperStates)
		}
	}
	if a := planned("bf16", most); a.Recipe != few.Recipe {
		t.Error("bf16 said outright is another recipe")
	}
	if a := planned("fp32", most+1); a.Recipe != many.Recipe {
		t.Error("fp32 said outright is another recipe")
	}
	if a := planned("fp32", most); a.Recipe == few.Recipe || stageOf(a).GradType(stageOf(a).Params[0]) != gpu.F32 {
		t.Error("fp32 is not what was asked for")
	}
}
