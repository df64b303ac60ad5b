package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/chat"
	"stepflow/runtime/blocks/all"
)

// change is an edit of a pipeline that was applied, and the blocks that a plan runs after it.
type change struct {
	attr  string   // the kind and the attribute, of those that a recipe does not hold as they are written
	edit  []string // pairs of texts: each first one is replaced by the second
	works string
}

const (
	twoRuns   = "stage.two evaluate.perplexity.p export.huggingface.e"
	oneRuns   = "stage.one " + twoRuns
	lastSteps = "steps           = 4\n  }\n}\n\nevaluate"
	onSlurm   = "executor \"slurm\" \"x\" { mem = \"1 GiB\" }\n"
	measured  = "evaluate \"v\" {\n every_steps = 2\n data = data.jsonl.d.validation\n}\n"
)

// changes holds the section on identity of the language page to what plans do.
var changes = []change{
	// What counts: attributes of a stage, and of the blocks that it is made from.
	{"", []string{"sequence_length = 12\n    batch_size      = 2\n    steps           = 4",
		"sequence_length = 8\n    batch_size      = 2\n    steps           = 4"}, twoRuns},
	{"", []string{"freeze  = [\"inherited\"]", "freeze  = [\"inherited\", \"embeddings\"]"}, twoRuns},
	{"", []string{`learning_rate = var.lr`, `learning_rate = 2 * var.lr`}, oneRuns},
	{"", []string{`lora_alpha     = 4`, `lora_alpha     = 8`}, twoRuns},
	{"", []string{`hidden_size             = 16`, `hidden_size             = 32`}, oneRuns},
	{"", []string{`vocab_size = 270`, `vocab_size = 271`}, "tokenizer.bpe.t " + oneRuns},
	{"", []string{`validation_fraction = 0.3`, `validation_fraction = 0.4`}, "tokenizer.bpe.t " + oneRuns},
	{"", []string{"data  = data.jsonl.d.validation", "data  = data.jsonl.d.validation\n  max_tokens = 20"}, "evaluate.perplexity.p"},
	{"", []string{`path  = "out"`, "path  = \"out\"\n  max_shard_size = \"1 MB\""}, "export.huggingface.e"},
	{"", []string{`variable "steps" { default = 4 }`, `variable "steps" { default = 6 }`}, oneRuns}, // stage.one goes on from its end

	// What does not: names, places, spellings, defaults, and what stands around a block.
	{"", []string{`stage.one`, `stage.first`, `stage "one"`, `stage "first"`}, ""},
	{"", []string{`"adamw" "o"`, `"adamw" "other"`, `adamw.o`, `adamw.other`}, ""},
	{"", []string{"stage \"two\" {\n", "stage \"two\" {\n  count = 1\n", "stage.two", "stage.two[0]"}, ""},
	{"", []string{`learning_rate = var.lr`, `learning_rate = local.rate`}, ""},
	{"", []string{`hidden_size             = 16`, `hidden_size             = 4 * 4`}, ""},
	{"", []string{"stage \"two\" {\n", "stage \"two\" {\n  seed = 0\n"}, ""},
	{"", []string{"stage \"two\" {\n",
		"stage \"two\" { # a comment\n  lifecycle { prevent_destroy = true }\n  depends_on = [tokenizer.bpe.t]\n"}, ""},
	{"", []string{"evaluate \"perplexity\" \"p\" {\n  model = stage.two\n  data  = data.jsonl.d.validation",
		"module \"score\" {\n  source = \"./score\"\n  model = stage.two\n  data  = data.jsonl.d.validation",
		"evaluate.perplexity.p", "module.score"}, ""},
	{"stage executor", []string{"stage \"two\" {\n", onSlurm + "stage \"two\" {\n  executor = executor.slurm.x\n"}, ""},
	{"evaluate executor", []string{"evaluate \"perplexity\" \"p\" {\n", onSlurm + "evaluate \"perplexity\" \"p\" {\n  executor = executor.slurm.x\n"}, ""},
	{"tokenizer executor", []string{"  vocab_size = 270\n", "  vocab_size = 270\n  executor = executor.slurm.x\n", "model \"llama\"", onSlurm + "model \"llama\""}, ""},
	{"export executor", []string{"  path  = \"out\"", "  executor = executor.slurm.x\n  path  = \"out\"", "model \"llama\"", onSlurm + "model \"llama\""}, ""},
	{"", []string{"description = \"validation loss\"", "description = \"loss\""}, ""},
	{"", []string{"output \"layers\"",
		"telemetry { step_every = 7 }\ncheck \"c\" {\n assert {\n condition = true\n error_message = \"x\"\n}\n}\noutput \"layers\""}, ""},

	// What a recipe leaves out, and what it holds in another form.
	{"data cache", []string{`source              = "d.jsonl"`, "source = \"d.jsonl\"\n cache = \"tokens\""}, ""},
	{"data source", []string{`source              = "d.jsonl"`, `source              = "copy/d.jsonl"`}, ""},
	{"", []string{`source              = "d.jsonl"`, `source              = "renamed.jsonl"`}, "tokenizer.bpe.t " + oneRuns},
	{"stage train.checkpoint", []string{"checkpoint { every_steps = 2 }", ""}, ""},
	{"stage train.checkpoint.every_steps", []string{"every_steps = 2", "every_steps = 3"}, ""},
	{"stage train.checkpoint.keep", []string{"checkpoint { every_steps = 2 }", "checkpoint {\n every_steps = 2\n keep = 3\n}"}, ""},
	{"stage train.activation_checkpointing", []string{lastSteps, "activation_checkpointing = \"block\"\n" + lastSteps}, ""},
	{"stage train.accumulate_dtype", []string{lastSteps, "accumulate_dtype = \"fp32\"\n" + lastSteps}, ""},
	{"stage train.micro_batch_size", []string{lastSteps, "micro_batch_size = 2\n" + lastSteps}, ""},
	{"stage train.schedule", []string{lastSteps, "schedule \"constant\" {}\n" + lastSteps}, ""},
	{"stage train.steps", []string{lastSteps, "tokens = 4 * 2 * 12\n  }\n}\n\nevaluate"}, ""},
	{"stage train.tokens", []string{lastSteps, "tokens = 4 * 2 * 12 - 1\n  }\n}\n\nevaluate"}, ""},
	{"stage train.flops", []string{lastSteps, "flops = FLOPS\n  }\n}\n\nevaluate"}, ""},
	{"stage train.stop_at", []string{lastSteps, "stop_at = 0.5\nsteps = 8\n  }\n}\n\nevaluate"}, ""},
	{"stage train.evaluate", []string{lastSteps, measured + lastSteps}, ""},
	{"stage train.stop_when", []string{lastSteps, measured + "stop_when {\n value = \"v.loss\"\n patience = 1\n}\n" + lastSteps}, twoRuns},
	{"stage train.parallel", []string{lastSteps, "parallel {}\n" + lastSteps}, twoRuns}, // gradients are made from zero
	{"stage train.parallel.shard", []string{lastSteps, "parallel { shard = \"optimizer\" }\n" + lastSteps}, twoRuns},
	{"stage train.keep_best", []string{lastSteps, measured + "keep_best = \"v.loss\"\n" + lastSteps}, twoRuns},
	{"stage train.update", []string{lastSteps, "update = \"fused\"\n" + lastSteps}, twoRuns}, // it clips gradients one by one
	{"stage frozen_dtype", []string{"freeze  = [\"inherited\"]", "freeze  = [\"inherited\"]\n  frozen_dtype = \"int8\""}, twoRuns},
	{"stage merge", []string{"freeze  = [\"inherited\"]", "freeze  = [\"inherited\"]\n  merge = true"}, ""},
	{"export merge", []string{`path  = "out"`, "path  = \"out\"\n  merge = true"}, ""},
	{"evaluate batch_size", []string{"data  = data.jsonl.d.validation", "data  = data.jsonl.d.validation\n  batch_size = 2"}, ""},
	{"export path", []string{`path  = "out"`, `path  = "moved"`}, "export.huggingface.e"}, // that folder does not have it
}

// tuning is a pipeline that tunes a model on conversations, and measures it on a task.
const tuning = `data "jsonl" "d" { source = "d.jsonl" }
data "conversations" "c" { source = "c.jsonl" }
tokenizer "bpe" "t" {
  train_on       = data.jsonl.d
  vocab_size     = 280
  special_tokens = ["<|im_start|>", "<|im_end|>"]
  chat_template  = "chatml"
}
model "llama" "m" {
  vocab_size              = tokenizer.bpe.t.vocab_size
  hidden_size             = 16
  intermediate_size       = 24
  num_hidden_layers       = 1
  num_attention_heads     = 2
  max_position_embeddings = 256
}
optimizer "adamw" "o" { learning_rate = 1e-3 }
stage "pre" {
  model = model.llama.m
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 32
    batch_size      = 1
    steps           = 2
  }
}
stage "tuned" {
  from = stage.pre
  train {
    objective       = "sft"
    data            = data.conversations.c
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 96
    batch_size      = 1
    epochs          = 2
  }
}
task "own" { file = "own.yaml" }
evaluate "tasks" "x" {
  model = stage.tuned
  tasks = [task.own]
}
`

const tunedRuns = "stage.tuned evaluate.tasks.x"

// tunings are changes of that pipeline.
var tunings = []change{
	{"tokenizer chat_template", []string{`"chatml"`, `"mine.jinja"`}, tunedRuns},
	{"tokenizer chat_template", []string{`"chatml"`, `"chatml.jinja"`}, ""}, // a copy of the built-in one
	{"task file", []string{`"own.yaml"`, `"renamed.yaml"`}, ""},
	{"stage train.objective", []string{"    steps           = 2", "    steps = 2\n objective = \"pretrain\""}, ""},
	{"stage train.loss_on", []string{"    epochs", "    loss_on = \"assistant\"\n epochs"}, ""},
	{"stage train.loss_on", []string{"    epochs", "    loss_on = \"all\"\n epochs"}, tunedRuns},
	{"stage train.packing", []string{"    epochs", "    packing = \"bfd\"\n epochs"}, ""},
	{"stage train.packing", []string{"    epochs", "    packing = \"none\"\n epochs"}, tunedRuns},
	{"stage train.truncation_mode", []string{"    epochs", "    truncation_mode = \"keep_start\"\n epochs"}, ""},
	{"stage train.truncation_mode", []string{"    epochs", "    truncation_mode = \"drop\"\n epochs"}, tunedRuns},
	{"stage train.epochs", []string{"epochs          = 2", "steps = 4"}, ""}, // a pass is two sequences
	{"stage train.epochs", []string{"epochs          = 2", "epochs = 3"}, tunedRuns},
}

// TestWhatTrainsAgain applies a pipeline, and plans it again after each change.
func TestWhatTrainsAgain(t *testing.T) {
	dir := t.TempDir()
	tiny, err := os.ReadFile("testdata/tiny.hcl")
	if err != nil {
		t.Fatal(err)
	}
	text := string(tiny) + "\nlocals { rate = 0.01 }\n"
	documents := tinyDocuments(20)
	write := func(name, text string) { put(t, filepath.Join(dir, name), text) }
	write("d.jsonl", documents)
	write("copy/d.jsonl", documents)
	write("renamed.jsonl", documents)
	write("score/main.hcl", "variable \"model\" {}\nvariable \"data\" {}\n"+
		"evaluate \"perplexity\" \"p\" {\n  model = var.model\n  data  = var.data\n}\n"+
		"output \"loss\" { value = evaluate.perplexity.p.loss }\n")
	write("main.hcl", text)
	stepflow(t, "apply", "-auto-approve", dir)
	flops := strings.TrimSpace(stepflow(t, "console", "-eval", "stage.two.flops", dir))
	for _, c := range changes {
		for i := 0; i < len(c.edit); i += 2 {
			if !strings.Contains(text, c.edit[i]) {
				t.Errorf("the pipeline has no %q to change", c.edit[i])
			}
		}
		write("main.hcl", strings.ReplaceAll(strings.NewReplacer(c.edit...).Replace(text), "FLOPS", flops))
		checkWorks(t, dir, c)
	}
	write("main.hcl", text)
	write("d.jsonl", documents+"{\"id\": \"new\", \"text\": \"one more document\"}\n")
	checkWorks(t, dir, change{"", []string{"d.jsonl", "d.jsonl with other bytes"}, "tokenizer.bpe.t " + oneRuns})
	write("d.jsonl", documents)
	write("second.hcl", "output \"second\" { value = 1 }\n")
	checkWorks(t, dir, change{"", []string{"main.hcl", "main.hcl and second.hcl"}, ""})
	checkWorks(t, dir, change{"", []string{"the CPU", "a card"}, "tokenizer.bpe.t " + oneRuns}, "-device", "cuda", "-device-memory", "1GiB")
	t.Run("folders", func(t *testing.T) { testFolders(t, dir) })
	t.Run("tuning", testTuning)
}

// testTuning applies the pipeline that tunes, and plans it again after each change.
func testTuning(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) { put(t, filepath.Join(dir, name), text) }
	write("d.jsonl", `{"text": "what is masked? what the user says. one two three four five six seven eight, be short. user assistant system"}
{"text": "assistant system user, what is it? short text for a short tokenizer."}
`)
	write("c.jsonl", `{"messages": [{"role": "user", "content": "what is masked?"}, {"role": "assistant", "content": "what the user says"}]}
{"messages": [{"role": "system", "content": "be short"}, {"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]}
{"messages": [{"role": "user", "content": "three"}, {"role": "assistant", "content": "four"}, {"role": "user", "content": "five"}, {"role": "assistant", "content": "six"}]}
{"messages": [{"role": "user", "content": "seven"}, {"role": "assistant", "content": "eight"}]}
`)
	write("chatml.jinja", chat.ChatML)
	write("mine.jinja", "{%- for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}"+
		"{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}")
	write("own.jsonl", `{"question": "one and one is", "right": "two", "wrong": "six"}
{"question": "four and four is", "right": "eight", "wrong": "one"}
`)
	own := `task: own
dataset_path: json
dataset_kwargs:
  data_files: {test: own.jsonl}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: ["{{right}}", "{{wrong}}"]
doc_to_target: 0
metric_list: [{metric: acc}]
`
	write("own.yaml", own)
	write("renamed.yaml", own)
	write("main.hcl", tuning)
	stepflow(t, "apply", "-auto-approve", "-target", "tokenizer.bpe.t", dir) // epochs are counted in its tokens
	stepflow(t, "apply", "-auto-approve", dir)
	for _, c := range tunings {
		edited := strings.NewReplacer(c.edit...).Replace(tuning)
		if edited == tuning {
			t.Errorf("the pipeline has no %q to change", c.edit[0])
		}
		write("main.hcl", edited)
		checkWorks(t, dir, c)
	}
}

// testFolders moves a pipeline with its data and its state, and reads what it exported under another name.
func testFolders(t *testing.T, dir string) {
	moved := filepath.Join(t.TempDir(), "onSlurm")
	if err := os.CopyFS(moved, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	checkWorks(t, moved, change{"", []string{"the folder", "another"}, ""})
	state := filepath.Join(moved, "state")
	if err := os.Rename(filepath.Join(moved, ".stepflow"), state); err != nil {
		t.Fatal(err)
	}
	checkWorks(t, moved, change{"", []string{"the folder of the state", "another"}, ""}, "-state-dir", state)
	text := `tokenizer "huggingface" "t" { file = "a/tokenizer.json" }
model "auto" "m" { from = "a" }
data "jsonl" "d" { source = "d.jsonl" }
evaluate "perplexity" "p" {
  model     = model.auto.m
  tokenizer = tokenizer.huggingface.t
  data      = data.jsonl.d.all
}
`
	reader := t.TempDir()
	for _, to := range []string{"a", "b"} {
		if err := os.CopyFS(filepath.Join(reader, to), os.DirFS(filepath.Join(dir, "out"))); err != nil {
			t.Fatal(err)
		}
	}
	for name, s := range map[string]string{"main.hcl": text, "d.jsonl": tinyDocuments(20)} {
		if err := os.WriteFile(filepath.Join(reader, name), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stepflow(t, "apply", reader)
	for _, c := range []change{
		{"tokenizer file", []string{`"a/tokenizer.json"`, `"b/tokenizer.json"`}, ""},
		{"model from", []string{`from = "a"`, `from = "b"`}, ""},
	} {
		if err := os.WriteFile(filepath.Join(reader, "main.hcl"), []byte(strings.NewReplacer(c.edit...).Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
		checkWorks(t, reader, c)
	}
}

// TestWhatTrainsAgainIsWhole wants a change of every attribute that the page of the language says is not held as it is
// written.
func TestWhatTrainsAgainIsWhole(t *testing.T) {
	tested := map[string]bool{"tokenizer file": true, "model from": true} // by testFolders
	for _, c := range slices.Concat(changes, tunings) {
		tested[c.attr] = true
	}
	for kind, x := range all.Identities() {
		for attr := range x.Idle {
			if !tested[kind+" "+attr] {
				t.Errorf("no test changes %s of a %s block", attr, kind)
			}
		}
		for _, attr := range x.Resolved {
			if !tested[kind+" "+attr] {
				t.Errorf("no test writes %s of a %s block in another way", attr, kind)
			}
		}
	}
}

// checkWorks plans a pipeline after a change, and wants the blocks to run that it names.
func checkWorks(t *testing.T, dir string, c change, flags ...string) {
	t.Helper()
	var p struct {
		Actions []struct{ Address, Action, Reason string }
	}
	for line := range strings.Lines(stepflow(t, append([]string{"plan", "-json", dir}, flags...)...)) { // warnings come first
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
	}
	var works, why []string
	for _, a := range p.Actions {
		if !slices.Contains([]string{"ready", "up_to_date"}, a.Action) {
			works = append(works, a.Address)
			why = append(why, fmt.Sprintf("%s %s: %s", a.Action, a.Address, a.Reason))
		}
	}
	if got := strings.Join(works, " "); got != c.works {
		t.Errorf("%q: %q are to run, and the test says %q (%s)", c.edit, got, c.works, strings.Join(why, "; "))
	}
}

// stepflow runs a command that must succeed, and returns what it printed.
func stepflow(t *testing.T, args ...string) string {
	t.Helper()
	c := exec.Command("stepflow", args...)
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %v: %s%s", args, err, out, &errs)
	}
	return string(out)
}
