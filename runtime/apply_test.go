package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/ref"
	"stepflow/runtime/apply"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/evaluate"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/program"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/runtime/trainstate"
)

const tiny = `
variable "lr" { default = 1e-2 }
variable "precision" { default = "fp32" }
variable "micro" { default = 2 }
variable "steps" { default = 6 }
variable "position" { default = "upper" }
variable "preserving" { default = true }
variable "adapter" { default = "relora" }
variable "tied" { default = true }
variable "bias" { default = false }
variable "kv" { default = 1 }
variable "mask" { default = true }
variable "nonfinite" { default = "stop" }
variable "every" { default = 2 }
variable "keep" { default = null }
variable "freeze" {
  type    = list(string)
  default = ["inherited"]
}
variable "recompute" { default = "none" }
variable "sequence" { default = 12 }
variable "stochastic" { default = false }
variable "rounding" { default = "stochastic" }
variable "accumulate" { default = "auto" }
variable "update" { default = "separate" }
variable "norm" { default = 1 }

data "jsonl" "d" {
  source              = "d.jsonl"
  validation_fraction = 0.3
  seed                = 3
  document_mask       = var.mask
}
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 270
}
model "llama" "m" {
  vocab_size              = 272
  hidden_size             = 16
  intermediate_size       = 24
  num_hidden_layers       = 5
  num_attention_heads     = 2
  num_key_value_heads     = var.kv
  max_position_embeddings = 32
  tie_word_embeddings     = var.tied
  attention_bias          = var.bias
  mlp_bias                = var.bias
  initializer_range       = 0.1
}
peft "relora" "a" {
  r                    = 2
  lora_alpha           = 4
  target_modules       = ["all-linear"]
  reset_every          = 2
  restart_warmup_steps = 1
  merge_rounding       = var.rounding
}
peft "lora" "a" {
  r              = 2
  lora_alpha     = 4
  target_modules = ["q_proj", "down_proj"]
}
optimizer "adamw" "o" {
  learning_rate         = var.lr
  bf16_stochastic_round = var.stochastic
  max_grad_norm         = var.norm
}
stage "one" {
  model     = model.llama.m
  layers    = 3
  precision = var.precision
  train {
    data             = data.jsonl.d
    tokenizer        = tokenizer.bpe.t
    optimizer        = optimizer.adamw.o
    sequence_length  = var.sequence
    batch_size       = 4
    micro_batch_size = var.micro
    accumulate_dtype = var.accumulate
    update           = var.update
    activation_checkpointing = var.recompute
    steps            = var.steps
    on_nonfinite     = var.nonfinite
    schedule "wsd" { warmup_ratio = 0.3 }
    checkpoint {
      every_steps = var.every
      keep        = var.keep
    }
  }
}
stage "two" {
  from      = stage.one
  precision = var.precision
  grow "interpolation" {
    layers              = 2
    position            = var.position
    function_preserving = var.preserving
  }
  freeze  = var.freeze
  adapter = var.adapter == "relora" ? peft.relora.a : peft.lora.a
  train {
    data             = data.jsonl.d
    tokenizer        = tokenizer.bpe.t
    optimizer        = optimizer.adamw.o
    sequence_length  = var.sequence
    batch_size       = 4
    micro_batch_size = var.micro
    accumulate_dtype = var.accumulate
    update           = var.update
    activation_checkpointing = var.recompute
    steps            = var.steps
    checkpoint { every_steps = 3 }
  }
}
evaluate "perplexity" "p" {
  model = stage.two
  data  = data.jsonl.d.validation
}
evaluate "generation" "g" {
  model          = stage.two
  prompts        = ["the"]
  max_new_tokens = 5
  temperature    = 1
}
export "huggingface" "e" {
  model = stage.two
  path  = "out"
}
output "loss" { value = evaluate.perplexity.p.loss }
`

// pipeline makes a folder with the tiny pipeline and fourteen short documents.
func pipeline(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	words := strings.Fields("the quick brown fox jumps over a lazy dog while seven wizards quietly mix strange " +
		"potions in the cellar of an old house")
	for i := 0; i < 14; i++ {
		var text []string
		for j := 0; j < 5+i%7; j++ {
			text = append(text, words[(i*5+j*j)%len(words)])
		}
		fmt.Fprintf(&b, "{\"id\":\"%d\",\"text\":%q}\n", i, strings.Join(text, " "))
	}
	must(t, os.WriteFile(filepath.Join(dir, "d.jsonl"), []byte(b.String()), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(tiny), 0o644))
	return dir
}

func planOf(t testing.TB, dir string, vars ...string) *plan.Plan {
	t.Helper()
	p, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{Flags: dsl.Vars(vars...)},
		Caps: cpu.PlanCaps("")})
	if diags.HasErrors() {
		t.Fatal(diags.Errs())
	}
	return p
}

func applyOn(t testing.TB, d gpu.Device, p *plan.Plan) error {
	t.Helper()
	return applyWith(context.Background(), p, apply.Options{Device: d})
}

func cpuDevice(t testing.TB, threads int) *cpu.Device {
	t.Helper()
	d, err := cpu.Open(threads, os.Getenv("STEPFLOW_CPU_ISA"))
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// applyWith applies a plan where only the error matters.
func applyWith(ctx context.Context, p *plan.Plan, o apply.Options) error {
	_, err := apply.Apply(ctx, p, o)
	return err
}

// stageOf is the planned stage of an action; nil for another block.
func stageOf(a *plan.Action) *stage.Stage {
	s, _ := a.Block.(*stage.Stage)
	return s
}

// evaluationOf is the planned evaluation of an action; nil for another block.
func evaluationOf(a *plan.Action) *evaluate.Evaluation {
	e, _ := a.Block.(*evaluate.Evaluation)
	return e
}

// perplexityOf is the planned perplexity of an action; nil for another block.
func perplexityOf(a *plan.Action) *evaluate.Perplexity {
	if e := evaluationOf(a); e != nil {
		x, _ := e.Evaluator.(*evaluate.Perplexity)
		return x
	}
	return nil
}

// contents gives the content ids of all blocks.
func contents(t testing.TB, dir string) map[string]string {
	t.Helper()
	d, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	must(t, results.NewDisk(d.Path).CheckState(t.Context(), d))
	m := map[string]string{}
	for n, b := range d.State.Blocks {
		if b.Status != state.Done {
			t.Errorf("%s is %s", n, b.Status)
		}
		if !strings.HasPrefix(n, "export.") { // its record holds the folder's path
			m[n] = b.Content
		}
	}
	return m
}

func sameContents(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for n := range want {
		if got[n] != want[n] {
			t.Errorf("%s: %s has other bits", what, n)
		}
	}
}

// stopAt applies and interrupts the run after a step of a stage.
func stopAt(t *testing.T, d gpu.Device, dir, stage string, step int, vars ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := planOf(t, dir, vars...)
	hit := false
	err := applyWith(ctx, p, apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.StepDone && e.Addr.Name == stage && e.Step.Step == step {
			hit = true
			cancel() // seen in the loop after the step, as a signal would be
		}
	}})
	if !hit {
		t.Fatalf("the run never reached step %d of %s: %v", step, stage, err)
	}
	if !errors.Is(err, observe.ErrInterrupted) {
		t.Fatalf("stopped at step %d of %s with %v", step, stage, err)
	}
}

func TestResumeGivesTheSameBits(t *testing.T) {
	d := cpuDevice(t, 2)
	whole := pipeline(t)
	p := planOf(t, whole)
	must(t, applyOn(t, d, p))
	want := contents(t, whole)
	ts, err := trainstate.Read(checkpoint.StepDir(filepath.Join(whole, ".stepflow", "blocks", "stage.two"), 6))
	must(t, err)
	if ts.Position.Epoch < 1 {
		t.Fatalf("the test wants a run past an epoch, it ends at %+v", ts.Position)
	}
	for _, stops := range [][][2]any{{{"one", 1}}, {{"one", 3}, {"one", 5}}, {{"one", 6}}, {{"two", 1}},
		{{"two", 2}, {"two", 4}}, {{"one", 2}, {"two", 5}}} {
		dir := pipeline(t)
		for _, s := range stops {
			stopAt(t, d, dir, s[0].(string), s[1].(int))
		}
		if p := planOf(t, dir); !p.Changes() {
			t.Error("an interrupted run is up to date")
		}
		must(t, applyOn(t, d, planOf(t, dir)))
		sameContents(t, fmt.Sprint("stopped at ", stops), contents(t, dir), want)
	}
}

// TestResultThatWasNotRecorded puts the state back to the moment before a stage's end was recorded.
func TestResultThatWasNotRecorded(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	var before string
	spare := filepath.Join(t.TempDir(), "checkpoint")
	must(t, applyWith(context.Background(), planOf(t, dir), apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.Saved && before == "" && e.Addr.Name == "two" {
			before = e.Message
			must(t, os.CopyFS(spare, os.DirFS(before)))
		}
	}}))
	must(t, os.CopyFS(before, os.DirFS(spare))) // the process had no time to remove it
	want := contents(t, dir)
	st, err := state.Open(filepath.Join(dir, ".stepflow"))
	must(t, err)
	for _, name := range []string{"stage.one", "stage.two"} { // with and without adapters
		b := st.State.Blocks[name]
		st.State.Blocks[name] = &state.Block{Status: state.Running, Recipe: b.Recipe, Attrs: b.Attrs, Inputs: b.Inputs,
			Step: 3, Steps: b.Steps}
	}
	must(t, st.Save())
	must(t, st.Close())
	steps := 0
	must(t, applyWith(context.Background(), planOf(t, dir), apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.StepDone {
			steps++
		}
	}}))
	if steps > 0 {
		t.Errorf("%d steps were trained again", steps)
	}
	sameContents(t, "a result that was not recorded", contents(t, dir), want)
	if _, err := os.Stat(before); err == nil {
		t.Errorf("%s was left behind", before)
	}
	st, err = state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	if loss, ok := st.State.Blocks["stage.two"].Values["loss"].(float64); !ok || loss <= 0 {
		t.Errorf("the stage's exports are %v", st.State.Blocks["stage.two"].Values)
	}
}

func TestThreadsAndRenamesDoNotChangeBits(t *testing.T) {
	var want map[string]string
	for _, threads := range []int{1, 2, 7} {
		dir := pipeline(t)
		must(t, applyOn(t, cpuDevice(t, threads), planOf(t, dir)))
		if got := contents(t, dir); want == nil {
			want = got
		} else {
			sameContents(t, fmt.Sprint(threads, " threads"), got, want)
		}
	}
	dir := pipeline(t)
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	renamed := strings.NewReplacer(`stage "one"`, `stage "uno"`, "stage.one", "stage.uno").Replace(string(src))
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(renamed), 0o644))
	must(t, applyOn(t, cpuDevice(t, 2), planOf(t, dir)))
	got := contents(t, dir)
	if got["stage.two"] != want["stage.two"] {
		t.Error("renaming stage.one changes what stage.two makes")
	}
}

// counting is a device that knows how much memory is held at once.
type counting struct {
	gpu.Device
	held, most int64
	loads      []int64
}

type countingLoaded struct {
	gpu.Loaded
	d *counting
}

func (c *counting) Load(p *gpu.Program) (gpu.Loaded, error) {
	l, err := c.Device.Load(p)
	if err != nil {
		return nil, err
	}
	c.held += l.Allocated()
	c.most = max(c.most, c.held)
	c.loads = append(c.loads, l.Allocated())
	return &countingLoaded{l, c}, nil
}

func (l *countingLoaded) Close() error { l.d.held -= l.Allocated(); return l.Loaded.Close() }

// TestPlannedPeakIsWhatTheRunTakes compares, for ten configurations, the peak that plan prints with
// all the device memory a run holds at once, growth and resume included.
func TestPlannedPeakIsWhatTheRunTakes(t *testing.T) {
	for i, vars := range [][]string{nil, {"micro=1"}, {"micro=4"}, {"adapter=lora"}, {"position=lower"},
		{"preserving=false"}, {"tied=false"}, {"bias=true"},
		{"kv=2"}, {"mask=false"}, {"recompute=block"}, {"freeze=[\"layers:0-1\", \"embeddings\"]", "adapter=lora"}} {
		dir := pipeline(t)
		c := &counting{Device: cpuDevice(t, 2)}
		if i%2 == 0 {
			stopAt(t, c, dir, "two", 3, vars...)
			if c.held != 0 {
				t.Errorf("%v: %d bytes are still held after an interrupt", vars, c.held)
			}
		}
		p := planOf(t, dir, vars...)
		var peak int64
		for _, a := range p.Actions {
			if s := stageOf(a); s != nil {
				peak = max(peak, s.Figures.Peak)
				var sum int64
				for _, k := range program.ByteKinds {
					sum += s.Figures.ByKind[k]
				}
				if sum != s.Figures.Peak {
					t.Errorf("%v: the kinds add up to %d, the peak is %d", vars, sum, s.Figures.Peak)
				}
			}
		}
		must(t, applyOn(t, c, p))
		if c.most != peak {
			t.Errorf("%v: the run held %d bytes at once, plan says %d", vars, c.most, peak)
		}
		st, err := state.Read(filepath.Join(dir, ".stepflow"))
		must(t, err)
		for _, n := range []string{"stage.one", "stage.two"} {
			if m := st.State.Blocks[n].Memory; m.Planned != m.Measured || m.Planned == 0 {
				t.Errorf("%v: %s planned %d bytes, allocated %d", vars, n, m.Planned, m.Measured)
			}
		}
	}
}

// find gives the action of a block.
func find(p *plan.Plan, name string) *plan.Action {
	for _, a := range p.Actions {
		if a.Addr.String() == name {
			return a
		}
	}
	return nil
}

func TestPlanSaysWhy(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, applyOn(t, d, planOf(t, dir)))
	p := planOf(t, dir)
	if p.Changes() {
		t.Fatal("nothing changed, yet something is to run")
	}
	p = planOf(t, dir, "every=1") // saving more often changes no result
	if p.Changes() {
		t.Error("checkpoint settings make a stage run again")
	}
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(strings.Replace(string(src),
		"learning_rate         = var.lr", "learning_rate = var.lr\n  eps           = 1e-8", 1)), 0o644))
	if planOf(t, dir).Changes() {
		t.Error("writing a default out makes a stage run again")
	}
	p = planOf(t, dir, "micro=4")
	if a := find(p, "stage.one"); a.Verb != plan.Run || !strings.Contains(a.Why,
		"train.micro_batch_size was \"2\", is \"4\"") || len(a.Losses) != 1 || a.Losses[0].Steps != 6 || a.Losses[0].Seconds <= 0 {
		t.Errorf("stage.one: %s, %s, losses %v", a.Verb, a.Why, a.Losses)
	}
	if a := find(p, "stage.two"); a.Verb != plan.Run || a.Why != "stage.one will run" {
		t.Errorf("stage.two: %s, %s", a.Verb, a.Why)
	}
	p = planOf(t, dir, "lr=0.005")
	if a := find(p, "stage.one"); !strings.Contains(a.Why, "optimizer.adamw.o changed") {
		t.Errorf("stage.one: %s", a.Why)
	}
}

func TestDamagedCheckpointsAreNotUsed(t *testing.T) {
	d := cpuDevice(t, 2)
	want := pipeline(t)
	must(t, applyOn(t, d, planOf(t, want)))
	dir := pipeline(t)
	stopAt(t, d, dir, "one", 5)
	root := filepath.Join(dir, ".stepflow", "blocks", "stage.one")
	steps, err := checkpoint.Steps(root)
	must(t, err)
	if len(steps) != 2 || steps[0] != 5 {
		t.Fatalf("checkpoints %v, want 5, 4", steps)
	}
	flip(t, filepath.Join(checkpoint.StepDir(root, 5), checkpoint.ModelFile))
	p := planOf(t, dir)
	var a *plan.Action
	for _, x := range p.Actions {
		if x.Addr.String() == "stage.one" {
			a = x
		}
	}
	if a.Verb != plan.Resume || a.FromStep != 4 || len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "hashes to") {
		t.Fatalf("%s from %d, %v; want a warning about the hash and step 4", a.Verb, a.FromStep, a.Warnings)
	}
	must(t, applyOn(t, d, p))
	sameContents(t, "a flipped byte", contents(t, dir), contents(t, want))
	// The result of a finished stage is checked too.
	final := checkpoint.StepDir(root, 6)
	flip(t, filepath.Join(final, checkpoint.ModelFile))
	p = planOf(t, dir)
	for _, x := range p.Actions {
		if x.Addr.String() == "stage.one" && (x.Verb != plan.Run || !strings.Contains(x.Why, "damaged")) {
			t.Errorf("a damaged result: %s, %s", x.Verb, x.Why)
		}
	}
}

func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	b[len(b)/2] ^= 1
	must(t, os.WriteFile(path, b, 0o644))
}

func TestNonFinite(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	err := applyOn(t, d, planOf(t, dir, "lr=1e30", "every=1"))
	for _, want := range []string{"stage.one: step ", "NaN", "first tensor that is not finite", "the checkpoint at step",
		"on_nonfinite", "d.jsonl, ", "stepflow data head -step", " stage.one shows it"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	root := filepath.Join(dir, ".stepflow", "blocks", "stage.one")
	steps, err := checkpoint.Steps(root)
	must(t, err)
	if len(steps) == 0 {
		t.Fatal("no checkpoint was kept")
	}
	if _, _, err := checkpoint.Check(checkpoint.StepDir(root, steps[0])); err != nil {
		t.Error(err)
	}
	for _, update := range []string{"micro=2", "update=fused"} {
		dir := pipeline(t)
		skipped := 0
		err := applyWith(context.Background(), planOf(t, dir, "lr=1e30", "nonfinite=skip", "micro=4", update),
			apply.Options{Device: d, Emit: func(e observe.Event) {
				if e.Kind == observe.Warned && strings.Contains(e.Message, "skipped, no weight was changed") {
					if !strings.Contains(e.Message, "Its batch: ") {
						t.Errorf("%q names no document", e.Message)
					}
					skipped++
				}
			}})
		st, _ := state.Read(filepath.Join(dir, ".stepflow"))
		if b := st.State.Blocks["stage.one"]; skipped == 0 || b.Status != state.Done || b.Values["skipped_steps"].(float64) != float64(skipped) {
			t.Errorf("%s: %d steps skipped, state %+v, %v", update, skipped, b, err)
		}
	}
}

func TestLockAndStaleness(t *testing.T) {
	d := cpuDevice(t, 1)
	dir := pipeline(t)
	p, q := planOf(t, dir), planOf(t, dir)
	held, err := state.Open(p.StateDir)
	must(t, err)
	if err := applyOn(t, d, p); !errors.Is(err, state.ErrLocked) || !strings.Contains(err.Error(),
		fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("a second apply: %v", err)
	}
	must(t, held.Close())
	must(t, applyOn(t, d, p))
	if err := applyOn(t, d, q); err == nil || !strings.Contains(err.Error(), "plan again") {
		t.Errorf("applying a stale plan: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(p.StateDir, state.FileName), []byte(`{"version": 99}`), 0o644))
	_, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: cpu.PlanCaps("")})
	if !diags.HasErrors() || !strings.Contains(diags.Error(), "newer version") {
		t.Errorf("a newer state: %v", diags)
	}
}

func TestGrowthPreservesTheFunction(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, method := range []string{"interpolation", "copy", "stack"} {
		for _, preserving := range []bool{true, false} {
			dir := pipeline(t)
			src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(strings.Replace(string(src), `grow "interpolation"`,
				fmt.Sprintf("grow %q", method), 1)), 0o644))
			var seam string
			must(t, applyWith(context.Background(), planOf(t, dir, fmt.Sprint("preserving=", preserving)),
				apply.Options{Device: d, Emit: func(e observe.Event) {
					if e.Kind == observe.Notice && strings.HasPrefix(e.Message, "grown") {
						seam = e.Message
					}
				}}))
			var before, after float64
			if _, err := fmt.Sscanf(seam, "grown from 3 to 5 layers: loss on the next micro-batch %f before, %f after",
				&before, &after); err != nil {
				t.Fatalf("%q: %v", seam, err)
			}
			if same := before == after; same != preserving {
				t.Errorf("%s, function_preserving = %t: loss %g before growth, %g after", method, preserving, before, after)
			}
		}
	}
}

// TestRecomputeKeepsTheBits compares a run that computes activations again with one that keeps them.
func TestRecomputeKeepsTheBits(t *testing.T) {
	d := cpuDevice(t, 2)
	weights := map[string][]byte{}
	peak := map[string]int64{}
	for _, r := range []string{"none", "block"} {
		dir := pipeline(t)
		p := planOf(t, dir, "recompute="+r, "tied=false", "bias=true")
		for _, a := range p.Actions {
			if s := stageOf(a); s != nil {
				peak[r] = s.Figures.Peak
				if again := s.Figures.RecomputeFLOPs > 0; again != (r == "block") {
					t.Errorf("%s: %d FLOPs are computed again", r, s.Figures.RecomputeFLOPs)
				}
			}
		}
		must(t, applyOn(t, d, p))
		b, err := os.ReadFile(filepath.Join(checkpoint.StepDir(filepath.Join(dir, ".stepflow", "blocks", "stage.two"), 6),
			checkpoint.ModelFile))
		must(t, err)
		weights[r] = b
	}
	if !bytes.Equal(weights["none"], weights["block"]) {
		t.Error("recomputing changes the weights")
	}
	if peak["block"] >= peak["none"] {
		t.Errorf("the peak is %d with recomputing, %d without", peak["block"], peak["none"])
	}
}

// TestBF16 runs the whole pipeline in bf16, on the float64 device and on the CPU, and compares losses.
func TestBF16(t *testing.T) {
	loss := func(d gpu.Device, precision string) float64 {
		dir := pipeline(t)
		must(t, applyOn(t, d, planOf(t, dir, "precision="+precision, "steps=3")))
		st, err := state.Read(filepath.Join(dir, ".stepflow"))
		must(t, err)
		return st.State.Outputs["loss"].Value.(float64)
	}
	exact := loss(&ref.Device{}, "fp32")
	half := loss(&ref.Device{}, "bf16")
	if d := half/exact - 1; d > 0.01 || d < -0.01 || d == 0 {
		t.Errorf("on the reference the validation loss is %g in fp32, %g in bf16", exact, half)
	}
	for _, threads := range []int{1, 3} {
		if got := loss(cpuDevice(t, threads), "bf16"); math.Abs(got/half-1) > 0.01 {
			t.Errorf("with %d threads the validation loss is %g in bf16, on the reference %g", threads, got, half)
		}
	}
}

// TestBF16StochasticRound trains without fp32 masters, with growth and merging: 4 bytes a trained parameter
// less, a loss near that with masters, and the same bits after an interruption.
func TestBF16StochasticRound(t *testing.T) {
	d := cpuDevice(t, 2)
	states := map[string]int64{}
	loss := map[string]float64{}
	var want map[string]string
	for _, round := range []string{"false", "true"} {
		vars := []string{"precision=bf16", "stochastic=" + round}
		dir := pipeline(t)
		p := planOf(t, dir, vars...)
		for _, a := range p.Actions {
			if s := stageOf(a); s != nil && a.Addr.Name == "one" {
				n := s.Figures.Trainable
				states[round] = s.Figures.ByKind["weights"] + s.Figures.ByKind["gradients"] + s.Figures.ByKind["optimizer"]
				if per := map[string]int64{"false": 16, "true": 12}[round]; states[round] < per*n || states[round] > per*n*11/10 {
					t.Errorf("bf16_stochastic_round = %s: %d trained parameters take %d bytes", round, n, states[round])
				}
			}
		}
		must(t, applyOn(t, d, p))
		st, err := state.Read(filepath.Join(dir, ".stepflow"))
		must(t, err)
		loss[round], want = st.State.Outputs["loss"].Value.(float64), contents(t, dir)
	}
	if r := loss["true"]/loss["false"] - 1; math.Abs(r) > 0.02 || r == 0 {
		t.Errorf("the validation loss is %g with masters, %g with stochastic rounding", loss["false"], loss["true"])
	}
	dir := pipeline(t)
	stopAt(t, d, dir, "one", 3, "precision=bf16", "stochastic=true")
	stopAt(t, d, dir, "two", 4, "precision=bf16", "stochastic=true")
	must(t, applyOn(t, d, planOf(t, dir, "precision=bf16", "stochastic=true")))
	sameContents(t, "interrupted", contents(t, dir), want)
}

// TestCopiesAreToldOnce says how many documents deduplicate leaves out once: in the plan, or where that did not know
// it in the run, whatever number of stages read the data.
func TestCopiesAreToldOnce(t *testing.T) {
	dir := pipeline(t)
	edit(t, dir, "validation_fraction = 0.3", "validation_fraction = 0.3\n  deduplicate = true")
	b, err := os.ReadFile(filepath.Join(dir, "d.jsonl"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "d.jsonl"), append(b,
		bytes.ReplaceAll(b, []byte(`"id":"`), []byte(`"id":"9`))...), 0o644))
	for _, known := range []bool{true, false} {
		must(t, os.RemoveAll(filepath.Join(dir, ".stepflow")))
		must(t, os.RemoveAll(filepath.Join(dir, "out")))
		p := planOf(t, dir)
		for _, a := range p.Actions {
			n, ok := a.Block.(*data.Data)
			if ok && n.Copies != 14 {
				t.Errorf("the plan counts %d copies", n.Copies)
			}
			if ok && !known {
				n.Copies = -1
			}
		}
		var told []string
		must(t, applyWith(context.Background(), p, apply.Options{Device: cpuDevice(t, 2), Emit: func(e observe.Event) {
			if strings.Contains(e.Message, "deduplicate") {
				told = append(told, fmt.Sprintf("%s %s", e.Kind, e.Message))
			}
		}}))
		if want := map[bool]string{false: "[" + string(observe.Notice) + " 14 documents of data.jsonl.d are copies of " +
			"others and left out (deduplicate)]", true: "[]"}[known]; fmt.Sprint(told) != want {
			t.Errorf("%v, want %s", told, want)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
