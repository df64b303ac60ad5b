package plan_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/dsl"
	"stepflow/gpu/cpu"
	"stepflow/runtime/plan"
	"stepflow/runtime/state"
)

// sweep is a pipeline of a seed stage, and of one that goes on from it, for each of n rates, seeds and lengths.
const sweep = `
variable "n" { type = number }
locals {
  runs = { for p in setproduct(range(var.n / 4), range(2), [8, 16]) :
    join("-", p) => { learning_rate = 1e-4 * (1 + p[0]), seed = p[1], steps = p[2] } }
}
data "jsonl" "d" { source = "d.jsonl" }
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 258
}
model "llama" "m" {
  for_each            = local.runs
  vocab_size          = 258
  hidden_size         = 16
  intermediate_size   = 24
  num_hidden_layers   = 2
  num_attention_heads = 2
  seed                = each.value.seed
}
optimizer "adamw" "seed" { learning_rate = 1e-3 }
optimizer "adamw" "o" {
  for_each      = local.runs
  learning_rate = each.value.learning_rate
}
stage "seed" {
  for_each = local.runs
  model    = model.llama.m[each.key]
  layers   = 1
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.seed
    sequence_length = 16
    batch_size      = 2
    steps           = 4
  }
}
stage "grown" {
  for_each = local.runs
  from     = stage.seed[each.key]
  grow "stack" { layers = 1 }
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o[each.key]
    sequence_length = 16
    batch_size      = 2
    steps           = each.value.steps
  }
}
`

// planSweep plans the sweep of n runs.
func planSweep(tb testing.TB, dir string, n int) *plan.Plan {
	o := plan.Options{Path: dir, Caps: cpu.PlanCaps(""),
		Inputs: dsl.Inputs{Flags: dsl.Vars(fmt.Sprintf("n=%d", n))}}
	p, diags := plan.New(context.Background(), o)
	if diags.HasErrors() {
		tb.Fatal(diags)
	}
	return p
}

func sweepFolder(tb testing.TB) string {
	dir := tb.TempDir()
	doc := `{"text": "the quick brown fox jumps over the lazy dog and runs through the old wood, again and again"}` + "\n"
	for name, text := range map[string]string{"d.jsonl": strings.Repeat(doc, 20), "main.hcl": sweep} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// TestShared: of a sweep, each seed of the first stage is trained once, and the longer runs go on from the shorter ones.
func TestShared(t *testing.T) {
	p := planSweep(t, sweepFolder(t), 40)
	s := p.Shared()
	if s.Stages != 80 || s.Same != 38 || s.Extended != 20 || s.Tokens != (38*4+20*8)*32 {
		t.Errorf("%+v", s)
	}
	for _, a := range p.Actions {
		if a.Verb == plan.Extend && p.Action(a.After).Verb != plan.Run {
			t.Errorf("%s goes on from %s, which is to %s", a.Addr, a.After, p.Action(a.After).Verb)
		}
	}
}

// TestLengthensInOrder: a stage goes on from a shorter one that stands behind it, but not from one that waits for it.
func TestLengthensInOrder(t *testing.T) {
	two := func(depends string) (verbs []plan.Verb) {
		dir := sweepFolder(t)
		text, _, _ := strings.Cut(sweep, "stage \"seed\"")
		text = strings.ReplaceAll(text, "for_each            = local.runs\n  ", "")
		text = strings.ReplaceAll(text, "for_each      = local.runs\n  ", "")
		text = strings.NewReplacer("each.value.seed", "1", "each.value.learning_rate", "0.1").Replace(text)
		for _, s := range []struct{ name, steps, depends string }{{"long", "8", ""}, {"short", "4", depends}} {
			text += fmt.Sprintf(`
stage %q {
  model = model.llama.m
  %s
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 16
    batch_size      = 2
    steps           = %s
  }
}
`, s.name, s.depends, s.steps)
		}
		if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, a := range planSweep(t, dir, 4).Actions {
			if a.Addr.Kind == "stage" {
				verbs = append(verbs, a.Verb)
			}
		}
		return verbs
	}
	if got := two(""); !slices.Equal(got, []plan.Verb{plan.Extend, plan.Run}) {
		t.Errorf("long before short: %v", got)
	}
	if got := two("depends_on = [stage.long]"); !slices.Equal(got, []plan.Verb{plan.Run, plan.Run}) {
		t.Errorf("where the short one waits for the long one: %v", got)
	}
}

// BenchmarkSweep plans sweeps whose time should grow as their runs do, before anything has run and after.
func BenchmarkSweep(b *testing.B) {
	for _, n := range []int{100, 200, 400} {
		dir := sweepFolder(b)
		for _, what := range []string{"new", "known"} {
			b.Run(fmt.Sprintf("%s-%d", what, n), func(b *testing.B) {
				for b.Loop() {
					planSweep(b, dir, n)
				}
			})
			st := &state.State{Blocks: map[string]*state.Block{}}
			for _, a := range planSweep(b, dir, n).Actions { // all of it failed
				st.Blocks[a.Addr.String()] = &state.Block{Status: state.Failed, Recipe: a.Recipe, Attrs: a.Attrs, Inputs: a.Inputs}
			}
			writeState(b, filepath.Join(dir, ".stepflow"), st)
		}
	}
}

func writeState(tb testing.TB, dir string, st *state.State) {
	d, err := state.Open(dir)
	if err != nil {
		tb.Fatal(err)
	}
	d.State.Blocks = st.Blocks
	if err := d.Save(); err != nil {
		tb.Fatal(err)
	}
	if err := d.Close(); err != nil {
		tb.Fatal(err)
	}
}
