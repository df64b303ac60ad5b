package runtime_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/dsl/addr"
	"stepflow/runtime/apply"
	"stepflow/runtime/observe"
	"stepflow/runtime/state"
)

// manyBlocks are tokenizers, stages and exports that do not need each other, two of them of the same recipe.
const manyBlocks = `
locals {
  sizes = { a = 262, b = 264, c = 264, d = 266 }
}
data "jsonl" "d" { source = "d.jsonl" }
tokenizer "bpe" "t" {
  for_each   = local.sizes
  train_on   = data.jsonl.d
  vocab_size = each.value
}
model "llama" "m" {
  for_each            = local.sizes
  vocab_size          = tokenizer.bpe.t[each.key].vocab_size
  hidden_size         = 8
  intermediate_size   = 16
  num_hidden_layers   = 2
  num_attention_heads = 2
}
optimizer "adamw" "o" { learning_rate = 1e-3 }
stage "s" {
  for_each = local.sizes
  model    = model.llama.m[each.key]
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t[each.key]
    optimizer       = optimizer.adamw.o
    sequence_length = 8
    batch_size      = 2
    steps           = 3
  }
}
stage "after" {
  from = stage.s["a"]
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t["a"]
    optimizer       = optimizer.adamw.o
    sequence_length = 8
    batch_size      = 2
    steps           = 20
  }
}
export "huggingface" "e" {
  for_each = local.sizes
  model    = stage.s[each.key]
  path     = "out/${each.key}"
}
evaluate "generation" "g" {
  model          = stage.after
  prompts        = ["the quick"]
  max_new_tokens = 4
}
output "losses" { value = [for k, s in stage.s : s.loss] }
`

// manyOn applies manyBlocks, so many at once, and returns the content ids of all results and the events' order.
func manyOn(t *testing.T, most int) (made map[string]string, peak int, events []observe.Event) {
	t.Helper()
	dir := pipeline(t)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(manyBlocks), 0o644))
	running, device := map[addr.Addr]bool{}, 0
	emit := func(e observe.Event) {
		events = append(events, e)
		on := map[string]int{"stage": 1, "evaluate": 1}[e.Addr.Kind]
		switch e.Kind {
		case observe.BlockStart:
			running[e.Addr] = true
			device += on
		case observe.BlockDone:
			delete(running, e.Addr)
			device -= on
		}
		if peak = max(peak, len(running)); device > 1 {
			t.Errorf("%d blocks are on the device", device)
		}
	}
	must(t, applyWith(context.Background(), planOf(t, dir), apply.Options{Device: cpuDevice(t, 1), Emit: emit,
		Parallelism: most}))
	st, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	made = map[string]string{}
	for _, n := range st.State.Names() {
		if made[n] = st.State.Blocks[n].Content; made[n] == "" {
			t.Errorf("%s: %+v", n, st.State.Blocks[n])
		}
	}
	if p := planOf(t, dir); p.Changes() {
		t.Error("after the run something is left to run")
	}
	return made, peak, events
}

// TestParallelBlocks: results do not depend on how many blocks run at once, the device runs one of them, and with one
// at a time they run in the plan's order.
func TestParallelBlocks(t *testing.T) {
	want, most, one := manyOn(t, 1)
	if most != 1 || len(want) != 14 {
		t.Errorf("one after the other: %d at once, %d results", most, len(want))
	}
	again, _, two := manyOn(t, 1)
	order := func(events []observe.Event) (list []string) {
		for _, e := range events {
			if e.Kind == observe.BlockStart {
				list = append(list, e.Addr.String())
			}
		}
		return list
	}
	if !slices.Equal(order(one), order(two)) {
		t.Errorf("blocks ran as %v, then as %v", order(one), order(two))
	}
	got, most, _ := manyOn(t, 4)
	if most < 2 || most > 4 {
		t.Errorf("%d blocks ran at once, want 2 to 4", most)
	}
	for n, c := range want {
		if got[n] != c || again[n] != c {
			t.Errorf("%s: %s one after the other, %s again, %s at once", n, c, again[n], got[n])
		}
	}
}

// TestParallelFailure: where a block fails, what needs it is not run, all else is, and the error says what was not run.
func TestParallelFailure(t *testing.T) {
	dir := pipeline(t)
	src := strings.Replace(manyBlocks, "d = 266", "d = 60000", 1)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(src), 0o644))
	err := applyWith(context.Background(), planOf(t, dir), apply.Options{Device: cpuDevice(t, 1), Parallelism: 4})
	var left *apply.LeftOutError
	if !errors.As(err, &left) || !strings.Contains(err.Error(), `tokenizer.bpe.t["d"]: the data give`) ||
		!slices.Contains(left.Blocks, "stage.after") || slices.Contains(left.Blocks, `tokenizer.bpe.t["a"]`) {
		t.Fatalf("%v", err)
	}
	if st, err := state.Read(filepath.Join(dir, ".stepflow")); err != nil || st.State.Blocks[`tokenizer.bpe.t["c"]`] == nil {
		t.Errorf("%v: a tokenizer that does not need the one that failed was not made", err)
	}
	st, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	for n, b := range st.State.Blocks {
		if b.Status == state.Running {
			t.Errorf("%s is still recorded as running", n)
		}
	}
}
