package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"stepflow/dsl/addr"
)

// layered makes a folder with one stage of a tiny model of so many layers.
func layered(t testing.TB, layers int, train string, more ...string) string {
	t.Helper()
	dir := pipeline(t)
	text := fmt.Sprintf(`
data "jsonl" "d" {
  source              = "d.jsonl"
  validation_fraction = 0.3
}
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 270
}
model "llama" "m" {
  vocab_size          = 512
  hidden_size         = 32
  intermediate_size   = 64
  num_hidden_layers   = %d
  num_attention_heads = 2
}
optimizer "adamw" "o" { learning_rate = 1e-3 }
stage "a" {
  model = model.llama.m
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 32
    batch_size      = 4
    steps           = 6
    %s
  }
}
evaluate "perplexity" "p" {
  model = stage.a
  data  = data.jsonl.d.validation
}
`, layers, train)
	for _, m := range more {
		text += m
	}
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
	return dir
}

// TestManyLayersArePlanned would take minutes if some pass compared every launch with every other.
func TestManyLayersArePlanned(t *testing.T) {
	dir := layered(t, 1000, "")
	start := time.Now()
	s := planOf(t, dir).Action(addr.Addr{Kind: "stage", Name: "a"}).Stage
	if took := time.Since(start); took > time.Minute {
		t.Errorf("planning took %v", took)
	}
	if len(s.Layers) != 1000 || len(s.Program.Launches) < 50_000 {
		t.Errorf("planned %d layers, %d launches", len(s.Layers), len(s.Program.Launches))
	}
}

// TestEqualProgramsAreCompiledOnce: stages that differ in what the host sets share a program, and a stage
// that is the full model is its own yardstick; what changes the program parts them.
func TestEqualProgramsAreCompiledOnce(t *testing.T) {
	p := planOf(t, layered(t, 2, "", `
optimizer "adamw" "fast" { learning_rate = 1e-2 }
optimizer "adamw" "heavy" {
  learning_rate = 1e-2
  weight_decay  = 0.2
}
stage "sweep" {
  for_each = { slow = optimizer.adamw.o, fast = optimizer.adamw.fast, heavy = optimizer.adamw.heavy }
  model    = model.llama.m
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = each.value
    sequence_length = 32
    batch_size      = 4
    steps           = 6
  }
}
evaluate "perplexity" "sweep" {
  for_each = { slow = optimizer.adamw.o, fast = optimizer.adamw.fast, heavy = optimizer.adamw.heavy }
  model    = stage.sweep[each.key]
  data     = data.jsonl.d.validation
}
`))
	stages, evaluations := map[any]string{}, map[any]string{}
	for _, a := range p.Actions {
		if a.Stage != nil {
			stages[a.Stage.Program] += a.Addr.String() + " "
		}
		if a.Evaluate != nil {
			evaluations[a.Evaluate.Program] += a.Addr.String() + " "
		}
	}
	if len(stages) != 2 {
		t.Errorf("stages with two optimizers were compiled to %d programs: %v", len(stages), stages)
	}
	if len(evaluations) != 1 {
		t.Errorf("equal evaluations were compiled to %d programs: %v", len(evaluations), evaluations)
	}
	if n := len(p.planner.compiled); n != 2 {
		t.Errorf("%d programs were compiled for 2: the full model was compiled once more", n)
	}
}

func BenchmarkPlanLayers(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			dir := layered(b, n, "")
			for b.Loop() {
				planOf(b, dir)
			}
		})
	}
}
