package runtime_test

import (
	"context"
	"strings"
	"testing"

	"stepflow/dsl/addr"
	"stepflow/gpu/cpu"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/plan"
)

// TestWhatMemoryDecidesIsInTheRecipe: the device's memory chooses the micro-batch of "auto" and the rows of logits at
// a time, in whose order sums are made. Of the micro-batch the number counts, not whether it was given or chosen.
func TestWhatMemoryDecidesIsInTheRecipe(t *testing.T) {
	planned := func(train string, memory int64) *plan.Action {
		caps := cpu.PlanCaps("")
		caps.Memory = memory
		p, diags := plan.New(context.Background(), plan.Options{Path: layered(t, 2, train), Caps: caps})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		return p.Action(addr.Addr{Kind: "stage", Name: "a"})
	}
	identity := func(s *stage.Stage) string {
		var b strings.Builder
		s.Identity(&b)
		return b.String()
	}
	const auto = `micro_batch_size = "auto"`
	all, one := planned("micro_batch_size = 4", 0), planned("micro_batch_size = 1", 0)
	for what, change := range map[string]func(*stage.Stage){"micro-batch": func(s *stage.Stage) { s.Micro = 2 },
		"rows of logits": func(s *stage.Stage) { s.Chunk = 16 }} {
		s := *stageOf(one)
		if change(&s); identity(&s) == identity(stageOf(one)) {
			t.Errorf("the recipe leaves out the %s", what)
		}
	}
	roomy := planned(auto, stageOf(all).Program.ArenaBytes)
	if stageOf(roomy).Micro != 4 || roomy.Recipe != all.Recipe {
		t.Errorf("with room for all, \"auto\" has micro-batches of %d and the recipe %.8s, that of 4 is %.8s",
			stageOf(roomy).Micro, roomy.Recipe, all.Recipe)
	}
	tight := planned(auto, stageOf(one).Program.ArenaBytes)
	if same := planned("micro_batch_size = 1", stageOf(one).Program.ArenaBytes); stageOf(tight).Micro != 1 || tight.Recipe != same.Recipe {
		t.Errorf("with room for one, \"auto\" has micro-batches of %d and the recipe %.8s, that of 1 is %.8s",
			stageOf(tight).Micro, tight.Recipe, same.Recipe)
	}
	if tight.Recipe == roomy.Recipe {
		t.Error("\"auto\" has one recipe with 4 sequences and with 1")
	}
	fewer := planned("micro_batch_size = 4", stageOf(all).Program.ArenaBytes-1)
	if s := stageOf(fewer); s.Micro != 4 || s.Chunk >= stageOf(all).Chunk || s.Program.ArenaBytes >= stageOf(all).Program.ArenaBytes {
		t.Fatalf("with a byte too little: micro-batches of %d and %d rows of logits at a time, before %d", s.Micro, s.Chunk,
			stageOf(all).Chunk)
	}
	if fewer.Recipe == all.Recipe {
		t.Error("fewer rows of logits at a time have the recipe of all")
	}
}
