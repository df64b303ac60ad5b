package runtime_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/runtime/apply"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/observe"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
	"stepflow/runtime/trainstate"
)

// TestBadInput changes the tiny pipeline in one place and wants an error there that says what, why
// and what to do. Each case: what to replace, by what, and the words the diagnostic must hold.
func TestBadInput(t *testing.T) {
	for _, c := range []struct {
		name, old, new string
		want           []string
	}{
		{"unknown block", `export "huggingface"`, `exports "huggingface"`, []string{"Unknown block", `Did you mean "export"?`}},
		{"unknown attribute", "hidden_size ", "hiden_size ", []string{"Unknown attribute", `Did you mean "hidden_size"?`}},
		{"unknown function", "steps            = var.steps", "steps            = maxi(1, 2)", []string{"Unknown function", `Did you mean "max"?`}},
		{"wrong type", "layers    = 3", `layers    = "three"`, []string{"Invalid value", "layers takes a whole number"}},
		{"cycle", "from      = stage.one", "from      = stage.two", []string{"Cycle", "stage.two needs stage.two"}},
		{"duplicate", `stage "two"`, `stage "one"`, []string{"Duplicate name"}},
		{"missing variable", `variable "lr" { default = 1e-2 }`, `variable "lr" {}`, []string{"Missing variable", "STEPFLOW_VAR_lr"}},
		{"unreadable data", `"d.jsonl"`, `"nothing/*.jsonl"`, []string{"Unreadable data", "nothing/*.jsonl matches no file"}},
		{"heads", "hidden_size             = 16", "hidden_size             = 17", []string{"Impossible model", "17 is not divisible by num_attention_heads 2"}},
		{"kv heads", "num_attention_heads     = 2", "num_attention_heads     = 4", []string{"Impossible model", "num_attention_heads 4 is not divisible by num_key_value_heads 3"}},
		{"fewer than no layers", "layers    = 3", "layers    = -1", []string{"layers is -1; the least is 0"}},
		{"fraction of a layer", "layers    = 3", "layers    = 2.5", []string{"whole number"}},
		{"another model", "from      = stage.one", "from      = stage.one\n  model = model.llama.other", []string{"Another model", "hidden_size of model.llama.other differs"}},
		{"both layers and from", "from      = stage.one", "from      = stage.one\n  layers = 5", []string{"add some with a grow block"}},
		{"too many layers", "layers              = 2", "layers              = 3", []string{"Impossible growth", "3 layers have 2 gaps", "at most 2"}},
		{"grow without from", "layers    = 3", "layers    = 3\n  grow \"stack\" { layers = 1 }", []string{"Nothing to grow"}},
		{"rank", "r                    = 2", "r                    = 17", []string{"Rank 17", "at most 8"}},
		{"target", `["all-linear"]`, `["q_proj", "query"]`, []string{`"query" matches no linear layer`, "down_proj, gate_proj"}},
		{"adapter without frozen", "freeze  = var.freeze", "freeze  = [\"embeddings\"]", []string{"Adapter without a place"}},
		{"freezes nothing", "freeze  = var.freeze", "freeze  = [\"inherited\", \"*.query.weight\"]", []string{"matches no parameter"}},
		{"everything frozen", "freeze  = var.freeze\n  adapter = var.adapter == \"relora\" ? peft.relora.a : peft.lora.a", "freeze  = [\"*\"]", []string{"Nothing to train"}},
		{"budget", `output "loss"`, "memory_plan \"x\" {\n model = model.llama.m\n budget = \"1 KiB\"\n}\noutput \"m\" { value = memory_plan.x.layers }\noutput \"loss\"", []string{"Budget too small", "The least is", "bytes"}},
		{"stages", `output "loss"`, "memory_plan \"x\" {\n model = model.llama.m\n stages = 9\n}\noutput \"m\" { value = memory_plan.x.layers }\noutput \"loss\"", []string{"Impossible split", "5 layers cannot be trained in 9 stages"}},
		{"vocabulary", "vocab_size              = 272", "vocab_size              = 269", []string{"Vocabulary too small", "270"}},
		{"micro", "micro_batch_size = var.micro", "micro_batch_size = \"some\"", []string{`micro_batch_size is "some": it takes a whole number of sequences of at least 1, or "auto"`}},
		{"half", "micro_batch_size = var.micro", "micro_batch_size = 2.5", []string{`micro_batch_size is "2.5": it takes a whole number`}},
		{"coarse gradients", "accumulate_dtype = var.accumulate", "accumulate_dtype = \"bf16\"", []string{"Gradients coarser than weights", "precision = \"bf16\""}},
		{"batch", "micro_batch_size = var.micro", "micro_batch_size = 3", []string{"batch_size 4 is not a multiple of micro_batch_size 3"}},
		{"sequence", "sequence_length  = var.sequence", "sequence_length  = 33", []string{"sequence_length 33 is larger than the model's max_position_embeddings 32"}},
		{"zero tokens", "steps            = var.steps", "tokens           = 0", []string{"tokens is 0"}},
		{"less than a batch", "steps            = var.steps", "tokens           = 20", []string{"Less than one batch"}},
		{"two horizons", "steps            = var.steps", "steps = 3\n tokens = 500", []string{"exactly one of tokens, steps, flops and epochs"}},
		{"stop_at", "steps            = var.steps", "steps = 3\n stop_at = 1.5", []string{"stop_at is 1.5"}},
		{"training on held-out", "data             = data.jsonl.d", "data             = data.jsonl.d.validation", []string{"Training on held-out data"}},
		{"evaluating on training data", "data  = data.jsonl.d.validation", "data  = data.jsonl.d", []string{"Training data", ".validation"}},
		{"a string for a block", "from      = stage.one", `from      = "stage.one"`, []string{"written without quotes"}},
		{"wrong kind of block", "from      = stage.one", "from      = model.llama.m", []string{"from takes a stage block, not model.llama.m"}},
		{"another precision", "from      = stage.one\n  precision = var.precision", "from      = stage.one\n  precision = \"bf16\"", []string{"Another precision"}},
		{"export into a used folder", `path  = "out"`, `path  = "."`, []string{"Folder in use"}},
		{"no such tokenizer", "train_on   = data.jsonl.d\n  vocab_size = 270", "train_on   = data.jsonl.d\n  vocab_size = 100", []string{"the least is 257"}},
		{"betas", "learning_rate         = var.lr", "learning_rate = var.lr\n betas = [0.9]", []string{"betas takes two numbers"}},
		{"remote model", "vocab_size              = 272", "from = \"hf://a/b\"\n vocab_size              = 272", []string{"Remote model", "hf download a/b"}},
		{"missing folder", "vocab_size              = 272", "from = \"nowhere\"\n vocab_size              = 272", []string{"Unreadable model", "nowhere"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := pipeline(t)
			src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
			must(t, err)
			text := string(src)
			if !strings.Contains(text, c.old) {
				t.Fatalf("the pipeline does not hold %q", c.old)
			}
			text = strings.Replace(text, c.old, c.new, 1)
			if c.name == "kv heads" {
				text = strings.Replace(text, "= var.kv", "= 3", 1)
			}
			if c.name == "another model" {
				text += "\nmodel \"llama\" \"other\" {\n vocab_size = 272\n hidden_size = 32\n intermediate_size = 24\n num_hidden_layers = 5\n num_attention_heads = 2\n}\n"
			}
			must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
			_, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{}, Caps: gpu.Caps{Kind: "cpu", Alignment: 64, DTypes: []gpu.DType{gpu.F32}}})
			if !diags.HasErrors() {
				t.Fatal("there is no error")
			}
			var all strings.Builder
			for _, d := range diags {
				all.WriteString(d.Summary + ": " + d.Detail + "\n")
				if d.Subject == nil || d.Subject.Start.Line < 1 {
					t.Errorf("%q names no place", d.Summary)
				}
			}
			for _, w := range c.want {
				if !strings.Contains(all.String(), w) {
					t.Errorf("%q is not in:\n%s", w, all.String())
				}
			}
		})
	}
}

func TestTooLargeIsRefusedBeforeAnythingRuns(t *testing.T) {
	dir := pipeline(t)
	p, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: gpu.Caps{Kind: "cpu", Alignment: 64, Memory: 1000}})
	if diags.HasErrors() {
		t.Fatal(diags.Errs())
	}
	err := applyOn(t, cpuDevice(t, 1), p)
	if err == nil || !strings.Contains(err.Error(), "more are needed") {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".stepflow")); !os.IsNotExist(err) {
		t.Error("something was written")
	}
}

func TestAutoRecomputesTheFewestLayers(t *testing.T) {
	dir := pipeline(t)
	planned := func(memory int64, mode string) *stage.Stage {
		p, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{Flags: dsl.Vars("recompute=" + mode)}, Caps: gpu.Caps{Kind: "cpu", Alignment: 64, Memory: memory}})
		if diags.HasErrors() {
			t.Fatal(diags.Errs())
		}
		for _, a := range p.Actions {
			if a.Addr.String() == "stage.two" {
				return stageOf(a)
			}
		}
		return nil
	}
	none, block := planned(0, "none"), planned(0, "block")
	last := none.Figures.Peak
	for n := 1; n <= 5; n++ {
		s := planned(last-1, "auto")
		if s.Recompute != n && s.Figures.Peak != block.Figures.Peak {
			t.Errorf("%d layers are recomputed to save a byte of %d, want %d", s.Recompute, last, n)
		}
		if s.Figures.Peak > last {
			t.Errorf("recomputing %d layers takes %d bytes, one less %d", s.Recompute, s.Figures.Peak, last)
		}
		last = s.Figures.Peak
	}
	if s := planned(none.Figures.Peak, "auto"); s.Recompute != 0 {
		t.Error("layers are recomputed where all fits")
	}
}

// What a smaller device makes the planner give up, in its order: rows of logits, then sequences.
func TestBudgetChoosesChunkAndMicroBatch(t *testing.T) {
	dir := pipeline(t)
	planned := func(memory int64, vars ...string) *stage.Stage {
		p, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{Flags: dsl.Vars(append(vars, "sequence=32")...)}, Caps: gpu.Caps{Kind: "cpu", Alignment: 64, Memory: memory}})
		if diags.HasErrors() {
			t.Fatal(diags.Errs())
		}
		return stageOf(find(p, "stage.one"))
	}
	all := planned(0, "micro=auto")
	if all.Micro != 4 || all.Chunk != 4*32 {
		t.Fatalf("without a limit a micro-batch has %d sequences and %d rows of logits, want all 4 and 128", all.Micro, all.Chunk)
	}
	if s := planned(all.Figures.Peak-1, "micro=4"); s.Chunk != 64 || s.Micro != 4 || s.Figures.Peak >= all.Figures.Peak {
		t.Errorf("a byte less leaves %d rows of logits, %d sequences, %d bytes", s.Chunk, s.Micro, s.Figures.Peak)
	}
	chunked := planned(all.Figures.Peak-1, "micro=auto")
	if chunked.Micro != 4 {
		t.Errorf("sequences were given up before rows of logits: %d", chunked.Micro)
	}
	last := chunked.Figures.Peak
	for _, want := range []int{2, 1} {
		s := planned(last-1, "micro=auto")
		if s.Micro != want || s.Figures.Peak >= last {
			t.Errorf("below %d bytes a micro-batch has %d sequences and takes %d bytes, want %d sequences", last, s.Micro, s.Figures.Peak, want)
		}
		last = s.Figures.Peak
	}
	if s := planned(last-1, "micro=auto", "recompute=auto"); s.Micro != 1 || s.Recompute != 1 {
		t.Errorf("below one sequence %d layers are computed again, with %d sequences", s.Recompute, s.Micro)
	}
	if a, b := planned(0, "micro=auto"), planned(0, "micro=4"); a.Addr != b.Addr || a.Figures.Peak != b.Figures.Peak {
		t.Error("auto plans another stage than the number it finds")
	}
}

// TestAutoMicroBatchTrains runs with "auto" on a device where only some of the batch fits.
func TestAutoMicroBatchTrains(t *testing.T) {
	d := cpuDevice(t, 2)
	content := map[string]string{}
	for _, micro := range []string{"auto", "2"} {
		dir := pipeline(t)
		caps := d.Caps()
		caps.Memory = stageOf(find(planOf(t, dir, "micro=4"), "stage.one")).Figures.Peak - 1
		p, diags := plan.New(context.Background(), plan.Options{Path: dir, Inputs: dsl.Inputs{Flags: dsl.Vars("micro=" + micro)}, Caps: caps})
		if diags.HasErrors() {
			t.Fatal(diags.Errs())
		}
		for _, name := range []string{"stage.one", "stage.two"} {
			if s := stageOf(find(p, name)); s.Micro != 2 {
				t.Fatalf("%s: a micro-batch has %d sequences, want 2", name, s.Micro)
			}
		}
		must(t, applyOn(t, d, p))
		content[micro] = contents(t, dir)["stage.one"] + contents(t, dir)["stage.two"]
	}
	if content["auto"] != content["2"] {
		t.Error("auto, where it chose 2, trains another model than 2")
	}
}

func TestDataSmallerThanABatch(t *testing.T) {
	dir := pipeline(t)
	must(t, os.WriteFile(filepath.Join(dir, "d.jsonl"), []byte("{\"id\":\"1\",\"text\":\"the cat and the hat and the bat and the rat sat\"}\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "x.auto.vars.hcl"), nil, 0o644))
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	text := strings.Replace(string(src), "vocab_size = 270", "vocab_size = 258", 1)
	text = strings.Replace(text, "batch_size       = 4", "batch_size       = 40", 1)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
	_, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: cpu.PlanCaps("")})
	if want := "data.jsonl.d holds at most 48 tokens to train on, less than one batch of 40 sequences of 12 tokens"; !strings.Contains(fmt.Sprint(diags.Errs()), want) {
		t.Errorf("%v, want %q", diags, want)
	}
}

func TestImportStartsFromAFolder(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	must(t, applyOn(t, d, planOf(t, dir)))
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	i, j := strings.Index(string(src), `model "llama" "m" {`), strings.Index(string(src), `peft "relora"`)
	text := string(src[:i]) + "model \"llama\" \"m\" { from = \"out\" }\n" + string(src[j:])
	text = strings.Replace(text, "  layers    = 3\n", "", 1)
	text = strings.Replace(text, `path  = "out"`, `path  = "out2"`, 1)
	text = strings.Replace(text, "train {", "train {\n    stop_at = 0.5", 1)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
	p := planOf(t, dir)
	p.StateDir = filepath.Join(dir, "second")
	q, diags := plan.New(context.Background(), plan.Options{Path: dir, StateDir: p.StateDir, Caps: p.Caps})
	if diags.HasErrors() {
		t.Fatal(diags.Errs())
	}
	var first float64
	must(t, applyWith(t.Context(), q, apply.Options{Device: d, Emit: func(e observe.Event) {
		if e.Kind == observe.StepDone && e.Addr.Name == "one" && e.Step.Step == 1 {
			first = e.Step.Loss
		}
	}}))
	if first == 0 || first > 5 { // random weights would start at ln 272 = 5.6
		t.Errorf("the imported model starts at a loss of %g", first)
	}
	// A tensor of another shape is found when the plan is made.
	cfg, err := os.ReadFile(filepath.Join(dir, "out", "config.json"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "out", "config.json"), []byte(strings.Replace(string(cfg), `"intermediate_size": 24`, `"intermediate_size": 32`, 1)), 0o644))
	_, diags = plan.New(context.Background(), plan.Options{Path: dir, StateDir: p.StateDir, Caps: p.Caps})
	if !diags.HasErrors() || !strings.Contains(fmt.Sprint(diags.Errs()), "Another architecture") {
		t.Errorf("%v", diags.Errs())
	}
}

func TestShardsAndTheHubsCache(t *testing.T) {
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	src, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(strings.Replace(string(src), `path  = "out"`, "path  = \"out\"\n  max_shard_size = \"20 kB\"", 1)), 0o644))
	must(t, applyOn(t, d, planOf(t, dir)))
	shards, err := filepath.Glob(filepath.Join(dir, "out", "model-*-of-*.safetensors"))
	must(t, err)
	if len(shards) < 3 {
		t.Fatalf("%d shards", len(shards))
	}
	for _, s := range shards {
		if st, err := os.Stat(s); err != nil || st.Size() > 24000 {
			t.Errorf("%s: %v", s, err)
		}
	}
	// The folder as the hub's cache holds it.
	home := t.TempDir()
	repo := filepath.Join(home, "hub", "models--me--tiny")
	must(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o777))
	must(t, os.MkdirAll(filepath.Join(repo, "snapshots"), 0o777))
	must(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte("abc\n"), 0o644))
	must(t, os.Rename(filepath.Join(dir, "out"), filepath.Join(repo, "snapshots", "abc")))
	t.Setenv("HF_HOME", home)
	t.Setenv("HF_HUB_CACHE", "")
	eval := t.TempDir()
	b, err := os.ReadFile(filepath.Join(dir, "d.jsonl"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(eval, "d.jsonl"), b, 0o644))
	must(t, os.WriteFile(filepath.Join(eval, "main.hcl"), []byte(`
data "jsonl" "d" {
  source              = "d.jsonl"
  validation_fraction = 0.3
  seed                = 3
}
model "llama" "m" { from = "hf://me/tiny" }
tokenizer "huggingface" "t" { file = "`+filepath.Join(repo, "snapshots", "abc", "tokenizer.json")+`" }
evaluate "perplexity" "p" {
  model           = model.llama.m
  tokenizer       = tokenizer.huggingface.t
  data            = data.jsonl.d.validation
  sequence_length = 12
}
output "loss" { value = evaluate.perplexity.p.loss }
`), 0o644))
	must(t, applyOn(t, d, planOf(t, eval)))
	loss := func(dir string) float64 {
		st, err := state.Read(filepath.Join(dir, ".stepflow"))
		must(t, err)
		return st.State.Outputs["loss"].Value.(float64)
	}
	if a, b := loss(dir), loss(eval); a != b {
		t.Errorf("the stage has a loss of %g, its export read back %g", a, b)
	}
}

func TestOptimizerStateAcrossGrowth(t *testing.T) {
	dir := pipeline(t)
	must(t, applyOn(t, cpuDevice(t, 2), planOf(t, dir)))
	ts, err := trainstate.Read(checkpoint.StepDir(filepath.Join(dir, ".stepflow", "blocks", "stage.two"), 6))
	must(t, err)
	for id, want := range map[string]int64{"model.embed_tokens.weight": 12, "model.norm.weight": 12, "g1.0/mlp.up_proj.weight": 6, "g0.0/mlp.up_proj.weight": 0} {
		if got := ts.OptimizerSteps[id]; got != want {
			t.Errorf("%s has had %d updates, want %d", id, got, want)
		}
	}
}
