package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/runtime/apply"
	"stepflow/runtime/metrics"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/program"
	"stepflow/tracing"
)

// Where the tiny pipeline gets blocks that measure between steps: in stage one, and in stage two.
const (
	inOne = `schedule "wsd" { warmup_ratio = 0.3 }`
	inTwo = `checkpoint { every_steps = 3 }`
)

// validation measures between steps.
const validation = `
evaluate "validation" {
  every_steps = 2
  data        = data.jsonl.d.validation
}
`

// evaluating makes a folder with the start of the tiny pipeline, up to stage one, which measures between steps and has more
// in its train block. Its schedule is constant, and a block of its own measures it when it has ended.
func evaluating(t *testing.T, more string) string {
	t.Helper()
	dir := pipeline(t)
	before, _, _ := strings.Cut(tiny, `stage "two"`)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(strings.Replace(before, inOne, validation+more, 1)+`
evaluate "perplexity" "one" {
  model = stage.one
  data  = data.jsonl.d.validation
}`), 0o644))
	return dir
}

// curve reads the evaluations of a stage, without the times.
func curve(t *testing.T, dir, stage string) []metrics.Evaluation {
	t.Helper()
	list, err := metrics.Evaluations(filepath.Join(dir, ".stepflow", "blocks", "stage."+stage, metrics.FileName))
	must(t, err)
	for i := range list {
		if list[i].Seconds <= 0 || list[i].Time == 0 {
			t.Errorf("%+v takes no time", list[i])
		}
		list[i].Time, list[i].Seconds = 0, 0
	}
	return list
}

// at lists the steps of evaluations of a name.
func at(list []metrics.Evaluation, name string) (steps []int) {
	for _, e := range list {
		if e.Name == name {
			steps = append(steps, e.Step)
		}
	}
	return steps
}

// TestEvaluatingChangesNoBit: stages that are measured between steps, adapters and restarts included, train to the same
// bits; measuring what has been trained already runs nothing; and the last values are those of a block that measures
// the result.
func TestEvaluatingChangesNoBit(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, precision := range []string{"fp32", "bf16"} {
		plain := pipeline(t)
		edit(t, plain, inOne, "", `evaluate "generation"`, `evaluate "perplexity" "one" {
  model = stage.one
  data  = data.jsonl.d.validation
}
evaluate "generation"`)
		vars := []string{"precision=" + precision}
		must(t, applyOn(t, d, planOf(t, plain, vars...)))
		edit(t, plain, `checkpoint {
      every_steps = var.every`, validation+`checkpoint {
      every_steps = var.every`)
		if a := find(planOf(t, plain, vars...), "stage.one"); a.Verb != plan.UpToDate {
			t.Errorf("measuring a finished stage is to %s it: %s", a.Verb, a.Why)
		}
		dir := pipeline(t)
		text, err := os.ReadFile(filepath.Join(plain, "main.hcl"))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), text, 0o644))
		edit(t, dir, validation, validation+`
evaluate "few" {
  every_tokens = 100
  on_start     = true
  data         = data.jsonl.d.validation
  max_tokens   = 30
}
`, inTwo, inTwo+strings.Replace(validation, "= 2", "= 1", 1))
		p := planOf(t, dir, vars...)
		if a, b := find(p, "stage.one"), find(planOf(t, plain, vars...), "stage.one"); stageOf(a).Figures.Peak != stageOf(b).Figures.Peak {
			t.Errorf("measuring takes %d bytes, not %d", stageOf(a).Figures.Peak, stageOf(b).Figures.Peak)
		}
		must(t, applyOn(t, d, p))
		sameContents(t, precision, contents(t, dir), contents(t, plain))
		one, two := curve(t, dir, "one"), curve(t, dir, "two")
		if v, f := at(one, "validation"), at(one, "few"); !reflect.DeepEqual(v, []int{2, 4, 6}) || !reflect.DeepEqual(f, []int{0, 3, 5, 6}) {
			t.Errorf("there are evaluations after %v and %v", v, f)
		}
		if v := at(two, "validation"); !reflect.DeepEqual(v, []int{1, 2, 3, 4, 5, 6}) {
			t.Errorf("there are evaluations of stage two after %v", v)
		}
		for block, last := range map[string]metrics.Evaluation{"one": one[len(one)-2], "p": two[len(two)-1]} {
			want := valuesOf(t, dir, "evaluate.perplexity."+block)
			for name, v := range last.Values {
				apart := 0.0 // of stage two, whose adapters the block has merged
				if block == "p" {
					apart = map[string]float64{"fp32": 1e-6, "bf16": 1e-2}[precision]
				}
				if w := want[name].(float64); math.Abs(v/w-1) > apart || float64(last.Measured) != want["tokens"] {
					t.Errorf("%s %s: %s is %v of %d tokens, and when the stage has ended %v of %v", precision, block, name, v,
						last.Measured, w, want["tokens"])
				}
			}
		}
	}
}

// ending says at which step a stage ends by a curve, by a simple reading of what stop_when and keep_best say, and which step
// is the best.
func ending(list []metrics.Evaluation, patience int, delta float64) (last, best int) {
	record, lowest, waited := math.Inf(1), math.Inf(1), 0
	for _, e := range list {
		loss := e.Values["loss"]
		if loss < lowest {
			lowest, best = loss, e.Step
		}
		if waited++; loss < record-delta {
			record, waited = loss, 0
		}
		if last = e.Step; waited == patience {
			break
		}
	}
	return last, best
}

// early is a rule that ends the stage early, at a learning rate at which its loss soon rises.
func early(patience int) string {
	return fmt.Sprintf(`
stop_when {
  value     = "validation.loss"
  patience  = %d
  min_delta = 0.01
}
`, patience)
}

const best = `
keep_best = "validation.loss"
`

// ahead is a device that says that it works while the host goes on, so that the loop puts steps on it ahead.
type ahead struct{ *cpu.Device }

func (d ahead) Caps() gpu.Caps {
	c := d.Device.Caps()
	c.Async = true
	return c
}

// TestStageEndsEarly: a stage ends where its rule says, with the model that is to be its result, and it is done: nothing
// runs again. So it is where it was interrupted, or killed, on the way.
func TestStageEndsEarly(t *testing.T) {
	d := cpuDevice(t, 2)
	vars := []string{"steps=40", "lr=0.3", "every=3"}
	whole := evaluating(t, "")
	must(t, applyOn(t, d, planOf(t, whole, vars...)))
	all := curve(t, whole, "one")
	last, lowest := ending(all, 2, 0.01)
	if last >= 40 || lowest >= last {
		t.Fatalf("the test wants a stage that ends early, not at %d, where %d is the best", last, lowest)
	}
	for name, c := range map[string]struct {
		more   string
		result int
	}{"stop_when": {early(2), last}, "keep_best": {early(2) + best, lowest}} {
		dir := evaluating(t, c.more)
		var copies []string // of the state's folder, at moments at which the process might be killed
		must(t, applyWith(context.Background(), planOf(t, dir, vars...), apply.Options{Device: d, Emit: func(e observe.Event) {
			if e.Addr.Name == "one" && (e.Kind == observe.Saved || e.Kind == observe.Evaluated) {
				c := t.TempDir()
				must(t, os.CopyFS(c, os.DirFS(dir)))
				copies = append(copies, c)
			}
		}}))
		want, line := contents(t, dir), curve(t, dir, "one")
		queued := evaluating(t, c.more)
		must(t, applyOn(t, ahead{d}, planOf(t, queued, vars...)))
		sameContents(t, name+", work ahead", contents(t, queued), want)
		if !reflect.DeepEqual(curve(t, queued, "one"), line) {
			t.Errorf("%s: where work is put on the device ahead there is another curve", name)
		}
		if !reflect.DeepEqual(line, all[:len(line)]) || line[len(line)-1].Step != last {
			t.Errorf("%s: it ends after step %d, not %d", name, line[len(line)-1].Step, last)
		}
		if v := valuesOf(t, dir, "stage.one"); v["result_step"] != float64(c.result) || !strings.Contains(fmt.Sprint(v["ended"]),
			fmt.Sprintf("it ended at step %d of 40: validation.loss did not improve by more than 0.01 in 2 evaluations", last)) {
			t.Errorf("%s: its values are %v", name, v)
		}
		p := planOf(t, dir, vars...)
		if a := find(p, "stage.one"); p.Changes() || !strings.Contains(a.Why, "it ended at step") {
			t.Errorf("%s: when it has ended it is to %s: %s", name, a.Verb, a.Why)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".stepflow", "blocks", "stage.one", "step-*")); len(left) != 1 ||
			!strings.HasSuffix(left[0], fmt.Sprintf("%08d", c.result)) {
			t.Errorf("%s: there is %v", name, left)
		}
		if name == "stop_when" { // what follows is the same
			continue
		}
		for i, k := range copies {
			if i%6 != 2 && i != len(copies)-1 { // a few of them
				continue
			}
			must(t, os.RemoveAll(filepath.Join(k, ".stepflow", "lock")))
			must(t, applyOn(t, d, planOf(t, k, vars...)))
			sameContents(t, fmt.Sprint(name, " killed at ", i), contents(t, k), want)
			if !reflect.DeepEqual(curve(t, k, "one"), line) {
				t.Errorf("%s: killed at %d: another curve", name, i)
			}
		}
		for _, step := range []int{lowest, last} { // one of them before its evaluation is made
			k := evaluating(t, c.more)
			stopAt(t, d, k, "one", step, vars...)
			must(t, applyOn(t, d, planOf(t, k, vars...)))
			sameContents(t, fmt.Sprint(name, " stopped at ", step), contents(t, k), want)
			if !reflect.DeepEqual(curve(t, k, "one"), line) {
				t.Errorf("%s: stopped at %d: another curve", name, step)
			}
		}
	}
}

// TestBestModelOfAdapters: the best model of a stage with adapters is merged, as that of a stage that ends there is.
func TestBestModelOfAdapters(t *testing.T) {
	d := cpuDevice(t, 2)
	make := func(more string) string {
		dir := pipeline(t)
		edit(t, dir, inTwo, inTwo+strings.Replace(validation, "= 2", "= 3", 1)+more)
		return dir
	}
	vars := []string{"steps=12", "lr=0.2", "adapter=lora"}
	dir := make(best)
	must(t, applyOn(t, d, planOf(t, dir, vars...)))
	_, step := ending(curve(t, dir, "two"), 100, 0)
	if step == 12 {
		t.Fatal("the test wants a stage whose last model is not the best")
	}
	if v := valuesOf(t, dir, "stage.two"); v["result_step"] != float64(step) {
		t.Errorf("the result is the model of step %v, not %d", v["result_step"], step)
	}
	short := make("stop_at = 1.0\n")
	edit(t, short, "stop_at = 1.0", fmt.Sprintf("stop_at = %g", float64(step)/12))
	must(t, applyOn(t, d, planOf(t, short, vars...)))
	path := filepath.Join("blocks", "stage.two", fmt.Sprintf("step-%08d", step), "model.safetensors")
	a, err := os.ReadFile(filepath.Join(dir, ".stepflow", path))
	must(t, err)
	b, err := os.ReadFile(filepath.Join(short, ".stepflow", path))
	must(t, err)
	if string(a) != string(b) {
		t.Error("the best model is not that of a stage that ends there")
	}
}

// TestExtendingWhatEndedEarly: with more patience a stage goes on from where it ended, to the bits of one that had it from the
// start, and without a rule to those of one that never had any. With a rule that it did not have it is trained anew.
func TestExtendingWhatEndedEarly(t *testing.T) {
	d := cpuDevice(t, 2)
	vars := []string{"steps=20", "lr=0.3", "every=3"}
	for _, c := range []struct {
		before, after string
		verb          plan.Verb
	}{
		{early(1) + best, early(2) + best, plan.Extend},
		{early(1), "", plan.Extend},
		{"", early(1), plan.Run},
	} {
		dir := evaluating(t, c.before)
		must(t, applyOn(t, d, planOf(t, dir, vars...)))
		from := valuesOf(t, dir, "stage.one")["result_step"]
		if c.before == "" {
			edit(t, dir, validation, validation+c.after)
		} else {
			edit(t, dir, c.before, c.after)
		}
		p := planOf(t, dir, vars...)
		a := find(p, "stage.one")
		if a.Verb != c.verb || a.Verb == plan.Extend && float64(a.FromStep) != from {
			t.Errorf("%q then %q: it is to %s from %d: %s %v", c.before, c.after, a.Verb, a.FromStep, a.Why, a.Warnings)
			continue
		}
		if c.verb == plan.Run {
			continue
		}
		must(t, applyOn(t, d, p))
		whole := t.TempDir()
		for _, f := range []string{"main.hcl", "d.jsonl"} {
			b, err := os.ReadFile(filepath.Join(dir, f))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(whole, f), b, 0o644))
		}
		must(t, applyOn(t, d, planOf(t, whole, vars...)))
		sameContents(t, c.after, contents(t, dir), contents(t, whole))
		if !reflect.DeepEqual(curve(t, dir, "one"), curve(t, whole, "one")) {
			t.Errorf("%q then %q: another curve", c.before, c.after)
		}
	}
}

// TestInterruptedBetweenEvaluations: an evaluation that an interrupt kept from being made is made when the stage goes on.
func TestInterruptedBetweenEvaluations(t *testing.T) {
	d := cpuDevice(t, 2)
	more := strings.Replace(validation, `"validation"`, `"other"`, 1) + strings.Replace(early(2), "validation.", "other.", 1)
	whole := evaluating(t, more)
	must(t, applyOn(t, d, planOf(t, whole)))
	for _, step := range []int{2, 6} {
		dir := evaluating(t, more)
		interruptAt(t, d, dir, func(e observe.Event) bool {
			return e.Kind == observe.Evaluated && e.Evaluation.Step == step && e.Evaluation.Name == "validation"
		})
		list := curve(t, dir, "one")
		if last := list[len(list)-1]; last.Name != "validation" || last.Step != step {
			t.Fatalf("it was interrupted after %+v", last)
		}
		must(t, applyOn(t, d, planOf(t, dir)))
		sameContents(t, fmt.Sprint("stopped at ", step), contents(t, dir), contents(t, whole))
		if !reflect.DeepEqual(curve(t, dir, "one"), curve(t, whole, "one")) {
			t.Errorf("stopped at %d: another curve", step)
		}
	}
}

// interruptAt applies and interrupts the run at an event.
func interruptAt(t *testing.T, d *cpu.Device, dir string, hit func(observe.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := applyWith(ctx, planOf(t, dir), apply.Options{Device: d, Emit: func(e observe.Event) {
		if hit(e) {
			cancel()
		}
	}})
	if !errors.Is(err, observe.ErrInterrupted) {
		t.Fatalf("the run ended with %v", err)
	}
}

// TestEvaluationsAreTraced: there is a span for each evaluation, with what it gave, and the plan counts them.
func TestEvaluationsAreTraced(t *testing.T) {
	exp := tracetest.NewInMemoryExporter()
	dir := evaluating(t, "")
	p := planOf(t, dir)
	must(t, applyWith(context.Background(), p, apply.Options{Device: cpuDevice(t, 2), Trace: tracing.New(exp)}))
	spans, list := exp.GetSpans(), curve(t, dir, "one")
	if tree := trees(t, spans); strings.Count(tree, "\n      evaluate validation ") != len(list) { // below train
		t.Errorf("%s", tree)
	}
	edit(t, dir, validation, "")
	if n := p.TraceBudget().Spans - planOf(t, dir).TraceBudget().Spans; n < int64(len(list)) {
		t.Errorf("%d spans are planned for %d evaluations", n, len(list))
	}
	for _, s := range spans {
		if s.Name != "evaluate validation" {
			continue
		}
		e := list[0]
		list = list[1:]
		for key, want := range map[string]any{tracing.StepNumber: e.Step, tracing.Evaluation: e.Name,
			tracing.EvaluationTokens: e.Measured, tracing.EvaluationLoss: e.Values["loss"], tracing.Tokens: e.Tokens} {
			if got := attribute(s, key); got != fmt.Sprint(want) {
				t.Errorf("after step %d: %s is %s, not %v", e.Step, key, got, want)
			}
		}
	}
	if len(list) > 0 {
		t.Errorf("%d evaluations have no span", len(list))
	}
}

// failing is a device whose first losses of positions that are read are not numbers.
type failing struct {
	*cpu.Device
	left int
}

type failingLoaded struct {
	gpu.Loaded
	d     *failing
	at    int64 // of the losses
	probe gpu.Segment
	whole bool // what ran last is all of the probe
}

func (d *failing) Load(p *gpu.Program) (gpu.Loaded, error) {
	l, err := d.Device.Load(p)
	b, _ := p.Buffer(program.BufNLL)
	s, _ := p.Segment(program.SegProbe)
	return &failingLoaded{l, d, b.Operand.Offset, s, false}, err
}

func (l *failingLoaded) Run(lo, hi int, timed bool) error {
	l.whole = lo == l.probe.Lo && hi == l.probe.Hi
	return l.Loaded.Run(lo, hi, timed)
}

func (l *failingLoaded) CopyOut(to []byte, from gpu.Operand) error {
	err := l.Loaded.CopyOut(to, from)
	if l.whole && from.Offset == l.at && l.d.left > 0 {
		l.d.left--
		copy(to, gpu.Float32Bytes([]float32{float32(math.NaN())}, gpu.F32))
	}
	return err
}

// TestEvaluationThatIsNotFinite: it is in the curve, is told once, does not end the run, is no improvement, and is not the best.
func TestEvaluationThatIsNotFinite(t *testing.T) {
	for _, c := range []struct {
		nan    int // evaluations, from the first
		more   string
		result float64
		ended  string
	}{
		{1, early(5) + best, 6, ""},
		{3, early(5) + best, 6, ""},
		{2, early(2), 4, "it ended at step 4 of 6: validation.loss was not finite in 2 evaluations"},
	} {
		d := &failing{Device: cpuDevice(t, 2), left: c.nan}
		dir := evaluating(t, c.more)
		var told []string
		must(t, applyWith(context.Background(), planOf(t, dir), apply.Options{Device: d, Emit: func(e observe.Event) {
			if e.Kind == observe.Warned && strings.Contains(e.Message, "validation") {
				told = append(told, e.Message)
			}
		}}))
		v := valuesOf(t, dir, "stage.one")
		if ended, _ := v["ended"].(string); v["result_step"] != c.result || ended != c.ended {
			t.Errorf("%d: the result is of step %v: %q", c.nan, v["result_step"], ended)
		}
		if len(told) < 1 || !strings.Contains(told[0], `evaluate "validation" after step 2: bits_per_byte is NaN; the first tensor that `+
			"is not finite: none was found when the batch was repeated") || c.nan == 3 != (len(told) == 2) {
			t.Errorf("%d: it is told %q", c.nan, told)
		}
		for i, e := range curve(t, dir, "one") {
			if math.IsNaN(e.Values["loss"]) != (i < c.nan) {
				t.Errorf("%d: after step %d the loss is %v", c.nan, e.Step, e.Values["loss"])
			}
		}
	}
}

// Documents to evaluate that are gone when the stage begins are what the run ends with, and the stage is not begun.
func TestEvaluationWithoutItsDocuments(t *testing.T) {
	dir := t.TempDir()
	must(t, errors.Join(os.WriteFile(filepath.Join(dir, "d.jsonl"), []byte(strings.Repeat(`{"text": "the quick brown fox jumps over a lazy dog"}`+"\n", 9)), 0o644),
		os.WriteFile(filepath.Join(dir, "v.jsonl"), []byte(`{"text": "a lazy fox"}`+"\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(`
data "jsonl" "d" { source = "d.jsonl" }
data "jsonl" "v" { source = "v.jsonl" }
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 260
}
model "llama" "m" {
  vocab_size          = 264
  hidden_size         = 16
  intermediate_size   = 24
  num_hidden_layers   = 1
  num_attention_heads = 2
}
optimizer "adamw" "o" { learning_rate = 0.001 }
stage "s" {
  model = model.llama.m
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 16
    batch_size      = 1
    steps           = 2
    evaluate "v" {
      every_steps = 1
      data        = data.jsonl.v.all
    }
  }
}
`), 0o644)))
	p := planOf(t, dir)
	must(t, os.Remove(filepath.Join(dir, "v.jsonl")))
	err := applyOn(t, cpuDevice(t, 1), p)
	if says := fmt.Sprint(err); !strings.Contains(says, "v.jsonl matches no file") || strings.Contains(says, "program") {
		t.Errorf("%v", err)
	}
}
