package runtime_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stepflow/dsl/addr"
	"stepflow/gpu/cpu"
	"stepflow/runtime/plan"
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
	s := stageOf(planOf(t, dir).Action(addr.Addr{Kind: "stage", Name: "a"}))
	if took := time.Since(start); took > time.Minute {
		t.Errorf("planning took %v", took)
	}
	if len(s.Layers) != 1000 || len(s.Program.Launches) < 50_000 {
		t.Errorf("planned %d layers, %d launches", len(s.Layers), len(s.Program.Launches))
	}
}

// TestEqualProgramsAreCompiledOnce: stages that differ in what the host sets share a program, what changes
// the program parts them.
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
		if s := stageOf(a); s != nil {
			stages[s.Program] += a.Addr.String() + " "
		}
		if e := perplexityOf(a); e != nil {
			evaluations[e.Program] += a.Addr.String() + " "
		}
	}
	if len(stages) != 2 {
		t.Errorf("stages with two optimizers were compiled to %d programs: %v", len(stages), stages)
	}
	if len(evaluations) != 1 {
		t.Errorf("equal evaluations were compiled to %d programs: %v", len(evaluations), evaluations)
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

// TestAbsurdSizes: sizes whose products overflow are refused at the attribute that asks for them.
func TestAbsurdSizes(t *testing.T) {
	for _, c := range []struct{ old, by, attr string }{
		{"hidden_size         = 32", "hidden_size = 1099511627776", "hidden_size"},
		{"vocab_size          = 512", "vocab_size = 1099511627776", "vocab_size"},
		{"intermediate_size   = 64", "intermediate_size = 1099511627776", "intermediate_size"},
		{"num_hidden_layers   = 2", "num_hidden_layers = 9007199254740991", "num_hidden_layers"},
		{"stage \"a\" {", "stage \"a\" {\nlayers = 9007199254740991", "layers"},
		{"batch_size      = 4", "batch_size = 1125899906842624", "batch_size"},
		{"batch_size      = 4", "batch_size = 1125899906842624\nmicro_batch_size = \"auto\"", "batch_size"},
		{"sequence_length = 32\n", "sequence_length = 1073741824\n", "sequence_length"},
		{"sequence_length = 32\n", "sequence_length = 536870911\n", "sequence_length"},          // too many operations
		{"model = stage.a", "model = stage.a\nsequence_length = 1073741824", "sequence_length"}, // of 8 sequences
		{"model = stage.a", "model = stage.a\nbatch_size = 9007199254740991", "batch_size"},
	} {
		dir := layered(t, 2, "")
		path := filepath.Join(dir, "main.hcl")
		b, err := os.ReadFile(path)
		must(t, err)
		text := strings.Replace(string(b), "num_attention_heads = 2", "num_attention_heads = 2\nmax_position_embeddings = 1073741824", 1)
		changed := strings.Replace(text, c.old, c.by, 1)
		if changed == text {
			t.Fatalf("the pipeline has no %q", c.old)
		}
		must(t, os.WriteFile(path, []byte(changed), 0o644))
		_, diags := plan.New(context.Background(), plan.Options{Path: dir, Caps: cpu.PlanCaps("")})
		if len(diags) != 1 || diags[0].Subject == nil {
			t.Errorf("%s: %v", c.by, diags)
			continue
		}
		line := strings.Split(changed, "\n")[diags[0].Subject.Start.Line-1]
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); name != c.attr {
			t.Errorf("%s: the error is at %q: %v", c.by, line, diags)
		}
	}
}
