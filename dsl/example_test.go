package dsl_test

import (
	"fmt"
	"os"
	"path/filepath"

	"stepflow/dsl"
)

// A folder of HCL files becomes a Config: its blocks have addresses, and stand in an order in which each comes after
// those it refers to, whatever file they are in.
func ExampleLoad() {
	dir, err := os.MkdirTemp("", "pipeline")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{
		"a.hcl": `
			tokenizer "bpe" "words" {
			  train_on   = data.jsonl.docs
			  vocab_size = var.vocab_size
			}
			output "size" { value = tokenizer.bpe.words.vocab_size }`,
		"b.hcl": `
			variable "vocab_size" { default = 512 }
			data "jsonl" "docs" { source = "docs.jsonl" }`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			panic(err)
		}
	}

	config, diags := dsl.Load(dir, dsl.Inputs{Flags: dsl.Vars("vocab_size=1024")})
	if diags.HasErrors() {
		fmt.Println(diags)
		return
	}
	for _, block := range config.Blocks {
		fmt.Println(block.Addr, "needs", block.Refs)
	}
	// Output:
	// data.jsonl.docs needs []
	// tokenizer.bpe.words needs [data.jsonl.docs]
	// output.size needs [tokenizer.bpe.words]
}

// Every problem of every file is reported at once, each with its place; the last of these is a warning.
func ExampleLoad_mistakes() {
	dir, err := os.MkdirTemp("", "pipeline")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	text := `
		locals { rate = 1e-3 }
		stgae "one" {}
		output "rate" { value = local.rat }`
	if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644); err != nil {
		panic(err)
	}

	_, diags := dsl.Load(dir, dsl.Inputs{})
	for _, d := range diags {
		fmt.Printf("line %d: %s\n", d.Subject.Start.Line, d.Summary)
	}
	// Output:
	// line 3: Unknown block
	// line 4: Unknown local value
	// line 2: Unused local
}
