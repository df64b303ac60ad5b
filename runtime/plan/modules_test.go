package plan_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"stepflow/dsl"
	"stepflow/gpu/cpu"
	"stepflow/runtime/blocks/all"
	"stepflow/runtime/plan"
)

// modulePipeline writes a pipeline of so many runs, each a module of nine blocks with a module of optimizers in it, and
// returns its folder.
func modulePipeline(tb testing.TB, runs int) string {
	dir := tb.TempDir()
	for name, text := range map[string]string{
		"d.txt": "the cat sat on the mat\n\nand the dog did not\n\nthe end of it\n\n",
		"main.hcl": fmt.Sprintf(`
data "text" "d" {
  source    = "d.txt"
  separator = "\n\n"
}
tokenizer "bpe" "t" {
  train_on   = data.text.d
  vocab_size = 260
}
locals { runs = { for i in range(%d) : "run${i}" => 1e-3 * (i + 1) / 1000 } }
module "run" {
  source    = "./run"
  for_each  = local.runs
  data      = data.text.d
  tokenizer = tokenizer.bpe.t
  rate      = each.value
}
output "losses" { value = { for k, m in module.run : k => m.loss } }
`, runs),
		"run/main.hcl": `
variable "data" {}
variable "tokenizer" {}
variable "rate" { type = number }
module "rates" {
  source = "../rates"
  rate   = var.rate
}
model "llama" "m" {
  vocab_size          = var.tokenizer.vocab_size
  hidden_size         = 16
  intermediate_size   = 24
  num_hidden_layers   = 2
  num_attention_heads = 2
}
stage "seed" {
  model  = model.llama.m
  layers = 1
  train {
    data            = var.data
    tokenizer       = var.tokenizer
    optimizer       = module.rates.fast
    sequence_length = 12
    batch_size      = 2
    steps           = 1
  }
}
stage "grown" {
  count = 4
  from  = stage.seed
  grow "stack" { layers = 1 }
  train {
    data            = var.data
    tokenizer       = var.tokenizer
    optimizer       = module.rates.slow
    sequence_length = 12
    batch_size      = 2
    steps           = count.index + 1
  }
}
export "huggingface" "e" {
  model = stage.seed
  path  = "out${var.rate}"
}
output "loss" { value = stage.grown[0].loss }
`,
		"rates/main.hcl": `
variable "rate" { type = number }
optimizer "adamw" "fast" { learning_rate = var.rate }
optimizer "adamw" "slow" { learning_rate = var.rate / 2 }
output "fast" { value = optimizer.adamw.fast }
output "slow" { value = optimizer.adamw.slow }
`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// BenchmarkModules loads, validates and plans a pipeline of 1,010 blocks in 224 modules.
func BenchmarkModules(b *testing.B) {
	dir := modulePipeline(b, 112)
	b.Run("validate", func(b *testing.B) {
		for b.Loop() {
			cfg, diags := dsl.Load(dir, dsl.Inputs{})
			if diags = append(diags, cfg.Validate(diags, all.Sound)...); diags.HasErrors() {
				b.Fatal(diags)
			}
		}
	})
	b.Run("plan", func(b *testing.B) {
		for b.Loop() {
			p, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: cpu.PlanCaps("")})
			if diags.HasErrors() || len(p.Actions) < 1000 {
				b.Fatal(len(p.Actions), diags)
			}
		}
	})
}
