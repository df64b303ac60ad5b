package runtime_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/gpu/cpu"
	"stepflow/runtime/apply"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
)

// poke sets elements of a tensor of a safetensors file in fp32.
func poke(t *testing.T, path, tensor string, x float32, elements ...int) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	n := int(binary.LittleEndian.Uint64(b))
	var header map[string]struct {
		Offsets [2]int `json:"data_offsets"`
	}
	must(t, json.Unmarshal(bytes.ReplaceAll(b[8:8+n], []byte(`"__metadata__"`), []byte(`"m"`)), &header))
	at, ok := header[tensor]
	if !ok {
		t.Fatalf("%s has no tensor %s", path, tensor)
	}
	for _, i := range elements {
		binary.LittleEndian.PutUint32(b[8+n+at.Offsets[0]+4*i:], math.Float32bits(x))
	}
	must(t, os.WriteFile(path, b, 0o644))
}

// measured makes a folder with a trained model, m, and a pipeline that measures it thrice, in blocks named a to c: b
// the model in the folder bad, which is given with its configuration.
func measured(t *testing.T) string {
	t.Helper()
	from, dir := pipeline(t), t.TempDir()
	must(t, applyOn(t, cpuDevice(t, 2), planOf(t, from)))
	must(t, os.CopyFS(filepath.Join(dir, "m"), os.DirFS(filepath.Join(from, "out"))))
	must(t, os.CopyFS(filepath.Join(dir, "bad"), os.DirFS(filepath.Join(from, "out"))))
	b, err := os.ReadFile(filepath.Join(from, "d.jsonl"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "d.jsonl"), b, 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(`
data "jsonl" "d" { source = "d.jsonl" }
tokenizer "huggingface" "t" { file = "m/tokenizer.json" }
model "llama" "m" { from = "m" }
model "llama" "bad" { from = "bad" }
evaluate "perplexity" "a" {
  model     = model.llama.m
  tokenizer = tokenizer.huggingface.t
  data      = data.jsonl.d.all
}
evaluate "perplexity" "b" {
  model     = model.llama.bad
  tokenizer = tokenizer.huggingface.t
  data      = data.jsonl.d.all
}
evaluate "generation" "b" {
  model     = model.llama.bad
  tokenizer = tokenizer.huggingface.t
  prompts   = ["the"]
}
evaluate "perplexity" "c" {
  model           = model.llama.m
  tokenizer       = tokenizer.huggingface.t
  data            = data.jsonl.d.all
  sequence_length = 8
}
output "loss" { value = evaluate.perplexity.b.loss }
output "other" { value = evaluate.perplexity.c.loss }
locals { half = evaluate.perplexity.b.loss / 2 }
output "double" { value = 2 * evaluate.perplexity.b.loss }
output "half" { value = local.half }
output "text" { value = "loss ${evaluate.perplexity.b.loss}" }
`), 0o644))
	return dir
}

// TestEvaluationOfAModelThatIsNotFinite measures models with NaN and infinity in weights, and with finite weights
// that give them: the first tensor is named, the state holds it all, the other blocks run, and nothing runs again.
func TestEvaluationOfAModelThatIsNotFinite(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := measured(t)
	good, err := os.ReadFile(filepath.Join(dir, "m", checkpoint.ModelFile))
	must(t, err)
	file := filepath.Join(dir, "bad", checkpoint.ModelFile)
	for _, x := range []struct {
		what     string
		make     func()
		word     string // of the loss
		says     string
		generate string
	}{
		{"NaN in a weight", func() { poke(t, file, "model.layers.1.mlp.up_proj.weight", float32(math.NaN()), 17) },
			"NaN", "loss is NaN; model.layers.1.mlp.up_proj.weight holds 1 non-finite value of 384, NaN at [1, 1]",
			"a logit is NaN after token"},
		{"infinities in two weights", func() {
			poke(t, file, "model.norm.weight", float32(math.Inf(-1)), 2, 3, 9)
			poke(t, file, "model.layers.0.input_layernorm.weight", float32(math.Inf(1)), 0)
		}, "NaN", "model.layers.0.input_layernorm.weight holds 1 non-finite value of 16, Infinity at [0]; so does 1 " +
			"other tensor", "prompt 0"},
		{"finite weights", func() {
			for i := range 384 {
				poke(t, file, "model.layers.2.mlp.down_proj.weight", 3e38, i)
			}
			poke(t, file, "model.layers.2.mlp.up_proj.weight", 1e30, 0, 1, 2, 3)
		}, "NaN", "all weights are finite, and of what is computed from them the first that is not: output 0 of ",
			"all weights are finite"},
	} {
		must(t, os.WriteFile(file, good, 0o644))
		x.make()
		err := applyOn(t, d, planOf(t, dir))
		var flawed *apply.FlawedError
		if !errors.As(err, &flawed) || len(flawed.Blocks) != 2 || !strings.Contains(flawed.Blocks[0],
			"evaluate.perplexity.b: ") || !strings.Contains(flawed.Blocks[0], x.says) || !strings.Contains(flawed.Blocks[1],
			x.generate) {
			t.Errorf("%s: %v", x.what, err)
		}
		contents(t, dir) // all blocks are done, and what they made is whole
		st, err := state.Read(filepath.Join(dir, ".stepflow"))
		must(t, err)
		b := st.State.Blocks["evaluate.perplexity.b"]
		words, _ := b.Values["not_finite"].(map[string]any)
		if v, is := b.Values["loss"]; v != nil || !is || words["loss"] != x.word || b.Values["tokens"].(float64) == 0 {
			t.Errorf("%s: values %v", x.what, b.Values)
		}
		for _, name := range []string{"evaluate.perplexity.a", "evaluate.perplexity.c"} {
			if v, ok := st.State.Blocks[name].Values["loss"].(float64); !ok || v < 1 || st.State.Blocks[name].Values["diagnosis"] != nil {
				t.Errorf("%s: %s gives %v", x.what, name, st.State.Blocks[name].Values)
			}
		}
		if o, ok := st.State.Outputs["loss"]; !ok || o.Value != nil || st.State.Outputs["other"].Value == nil {
			t.Errorf("%s: outputs %+v", x.what, st.State.Outputs)
		}
		told := 0
		for _, d := range flawed.Outputs {
			if strings.Contains(d.Detail, "null. evaluate.perplexity.b gave null instead of a number: loss is NaN; ") || strings.Contains(d.Detail, "string template. evaluate.perplexity.b gave null") {
				told++
			}
		}
		if _, any := st.State.Outputs["text"]; told != 3 || len(st.State.Outputs) != 2 || any {
			t.Errorf("%s: outputs %+v, %v", x.what, st.State.Outputs, flawed.Outputs)
		}
		p := planOf(t, dir)
		if p.Changes() {
			t.Errorf("%s: there is something to do again", x.what)
		}
		for _, a := range p.Actions {
			if warned := len(a.Warnings) > 0; warned != (evaluationOf(a) != nil && a.Addr.Name == "b") {
				t.Errorf("%s: %s warns of %v", x.what, a.Addr, a.Warnings)
			}
		}
		if err := applyOn(t, d, p); !errors.As(err, &flawed) {
			t.Errorf("%s: applied again: %v", x.what, err)
		}
	}
}

// TestBlockOfNothing tells which evaluation gave no number to a block that needs one.
func TestBlockOfNothing(t *testing.T) {
	dir := measured(t)
	path := filepath.Join(dir, "main.hcl")
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, append(b, `
evaluate "generation" "after" {
  model       = model.llama.m
  tokenizer   = tokenizer.huggingface.t
  prompts     = ["the"]
  temperature = evaluate.perplexity.b.loss / 10
}
`...), 0o644))
	poke(t, filepath.Join(dir, "bad", checkpoint.ModelFile), "model.norm.weight", float32(math.NaN()), 0)
	const want = "evaluate.perplexity.b gave null instead of a number: loss is NaN; model.norm.weight holds"
	if err := applyOn(t, cpuDevice(t, 2), planOf(t, dir)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("apply: %v", err)
	}
	if _, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{},
		Caps: cpu.PlanCaps("")}); !diags.HasErrors() || !strings.Contains(diags.Errs()[0].Error(), want) {
		t.Errorf("plan: %v", diags)
	}
}

// TestOutputsOfNothing tells expressions that failed because of a null result from those that failed for another
// reason.
func TestOutputsOfNothing(t *testing.T) {
	dir := measured(t)
	edit(t, dir, `output "double"`, `
variable "tag" {
  default   = "a tag"
  sensitive = true
}
variable "n" {
  type    = number
  default = null
}
output "double"`)
	poke(t, filepath.Join(dir, "bad", checkpoint.ModelFile), "model.norm.weight", float32(math.NaN()), 0)
	var flawed *apply.FlawedError
	if err := applyOn(t, cpuDevice(t, 2), planOf(t, dir)); !errors.As(err, &flawed) {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "main.hcl")
	main, err := os.ReadFile(path)
	must(t, err)
	const loss = "evaluate.perplexity.b.loss"
	for _, x := range []struct {
		value   string
		nothing bool
	}{
		{`format("%s %.2f", var.tag, ` + loss + `)`, true},
		{`"${var.tag} ${` + loss + `}"`, true},
		{`2 * local.same`, true},
		{`[for x in [` + loss + `] : 2 * x]`, true},
		{`format("%.2f", evaluate.perplexity.b["loss"])`, true},
		{`max(var.n, evaluate.perplexity.b.tokens)`, false},
		{`var.n + evaluate.perplexity.b.tokens`, false},
		{`var.n + coalesce(` + loss + `, 1)`, false},
		{`[for x in [evaluate.perplexity.b.tokens] : var.n + x]`, false},
		{`var.n + evaluate.perplexity.a.loss`, false},
		{`format("%d", var.tag, evaluate.perplexity.b.tokens)`, false},
	} {
		must(t, os.WriteFile(path, fmt.Appendf(main, "locals { same = %s }\noutput \"x\" {\n  sensitive = true\n  value "+
			"= %s\n}\noutput \"same\" { value = local.same }\n", loss, x.value), 0o644))
		_, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: cpu.PlanCaps("")})
		var says string
		for _, d := range diags {
			if d.Subject != nil && d.Subject.Start.Line > bytes.Count(main,
				[]byte("\n")) && (d.Severity == hcl.DiagError || strings.Contains(d.Detail, "gave null")) {
				says += d.Detail
			}
		}
		blamed := strings.Contains(says, "evaluate.perplexity.b gave null instead of a number: loss is NaN; ")
		if says == "" || blamed != x.nothing || diags.HasErrors() == x.nothing {
			t.Errorf("%s: errors %v, says %q", x.value, diags.HasErrors(), says)
		}
	}
}

// TestStageWhoseStepsAreAllSkipped starts from weights that are finite and give a loss that is not: the stage fails
// at its end.
func TestStageWhoseStepsAreAllSkipped(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := measured(t)
	edit(t, dir, `output "loss"`, `
optimizer "adamw" "o" { learning_rate = 1e-3 }
stage "s" {
  model  = model.llama.bad
  freeze = ["layers:0-4"]
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.huggingface.t
    optimizer       = optimizer.adamw.o
    sequence_length = 8
    batch_size      = 2
    steps           = 2
    on_nonfinite    = "skip"
  }
}
output "trained" { value = stage.s.loss }
output "loss"`)
	for i := range 384 {
		poke(t, filepath.Join(dir, "bad", checkpoint.ModelFile), "model.layers.2.mlp.down_proj.weight", 3e38, i)
	}
	poke(t, filepath.Join(dir, "bad", checkpoint.ModelFile), "model.layers.2.mlp.up_proj.weight", 1e30, 0, 1, 2, 3)
	var warnings []string
	err := applyWith(context.Background(), planOf(t, dir), apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.Warned && e.Addr.Kind == "stage" {
			warnings = append(warnings, e.Message)
		}
	}})
	if err == nil || !strings.Contains(err.Error(), "after step 2 the loss on the next micro-batch is NaN") || !strings.Contains(err.Error(), "the first tensor that is not finite: output 0 of ") || len(warnings) != 2 || !strings.Contains(warnings[0], "step 1 has loss NaN") {
		t.Errorf("%v, warnings %q", err, warnings)
	}
	if err == nil || strings.Contains(err.Error(), "Not run: evaluate.perplexity.a") {
		t.Errorf("%v", err)
	}
	edit(t, dir, `    on_nonfinite    = "skip"`, "")
	if err := applyOn(t, d, planOf(t, dir)); err == nil || !strings.Contains(err.Error(),
		"step 1: loss is NaN") || !strings.Contains(err.Error(),
		"so it is not the learning rate: look at the weights in ") || strings.Contains(err.Error(), "Lower the") {
		t.Errorf("%v", err)
	}
}

// TestWhatAnErrorLeavesOut names the blocks that were not run because one failed.
func TestWhatAnErrorLeavesOut(t *testing.T) {
	d := cpuDevice(t, 2)
	err := applyOn(t, d, planOf(t, pipeline(t), "lr=1e30"))
	if err == nil || !strings.Contains(err.Error(), "\nNot run: stage.two, evaluate.perplexity.p, "+
		"evaluate.generation.g, export.huggingface.e") {
		t.Errorf("%v", err)
	}
}

// TestInterruptedSearch interrupts the search for what is not finite: the step's error stays, with what is known.
func TestInterruptedSearch(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &cancelling{Device: cpuDevice(t, 2), left: 20, alone: true, cancel: cancel}
	err := applyWith(ctx, planOf(t, pipeline(t), "lr=1e30"), apply.Options{Device: c})
	if err == nil || errors.Is(err, observe.ErrInterrupted) || !strings.Contains(err.Error(),
		"the first tensor that is not finite: not found (interrupted); ") || c.after > 0 {
		t.Errorf("%v; %d launches run after the interrupt", err, c.after)
	}
}
