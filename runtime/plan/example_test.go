package plan_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"stepflow/gpu/cpu"
	"stepflow/runtime/plan"
)

// A plan says what apply will do with each block, and why. It needs the data, and no device.
func ExampleNew() {
	dir, err := os.MkdirTemp("", "pipeline")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{
		"d.jsonl": `{"text": "the quick brown fox jumps over the lazy dog and runs through the old wood, again and again"}` + "\n",
		"main.hcl": `
data "jsonl" "d" { source = "d.jsonl" }
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 258
}
model "llama" "m" {
  vocab_size          = tokenizer.bpe.t.vocab_size
  hidden_size         = 16
  intermediate_size   = 24
  num_hidden_layers   = 2
  num_attention_heads = 2
}
optimizer "adamw" "o" { learning_rate = 1e-3 }
stage "all" {
  model = model.llama.m
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 16
    batch_size      = 2
    steps           = 1
  }
}
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			fmt.Println(err)
			return
		}
	}
	p, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: cpu.PlanCaps("")})
	if diags.HasErrors() {
		fmt.Println(diags)
		return
	}
	for _, a := range p.Actions {
		fmt.Printf("%s: %s\n", a.Addr, a.Verb)
	}
	// Output:
	// data.jsonl.d: ready
	// tokenizer.bpe.t: run
	// model.llama.m: ready
	// optimizer.adamw.o: ready
	// stage.all: run
}
