package runtime_test

import (
	"context"
	"testing"

	"stepflow/dsl/addr"
	"stepflow/gpu/cpu"
	"stepflow/runtime/plan"
)

// TestWhatMemoryDecidesIsInTheRecipe: the device's memory chooses the micro-batch of "auto" and the rows of logits at a time,
// in whose order sums are made. Of the micro-batch the number counts, not whether it was given or chosen.
func TestWhatMemoryDecidesIsInTheRecipe(t *testing.T) {
	var planner *planner
	plan := func(train string, memory int64) *Action {
		caps := cpu.PlanCaps("")
		caps.Memory = memory
		p, diags := plan.New(context.Background(), Options{Path: layered(t, 2, train), Caps: caps})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		planner = p.planner
		return p.Action(addr.Addr{Kind: "stage", Name: "a"})
	}
	const auto = `micro_batch_size = "auto"`
	all, one := plan("micro_batch_size = 4", 0), plan("micro_batch_size = 1", 0)
	for what, change := range map[string]func(*Stage){"micro-batch": func(s *Stage) { s.Micro = 2 }, "rows of logits": func(s *Stage) { s.Chunk = 16 }} {
		a, s := *one, *one.Stage
		change(&s)
		if a.Stage = &s; planner.recipe(&a) == one.Recipe {
			t.Errorf("the recipe leaves out the %s", what)
		}
	}
	roomy := plan(auto, all.Stage.Program.ArenaBytes)
	if roomy.Stage.Micro != 4 || roomy.Recipe != all.Recipe {
		t.Errorf("with room for all, \"auto\" has micro-batches of %d and the recipe %.8s, that of 4 is %.8s", roomy.Stage.Micro, roomy.Recipe, all.Recipe)
	}
	tight := plan(auto, one.Stage.Program.ArenaBytes)
	if same := plan("micro_batch_size = 1", one.Stage.Program.ArenaBytes); tight.Stage.Micro != 1 || tight.Recipe != same.Recipe {
		t.Errorf("with room for one, \"auto\" has micro-batches of %d and the recipe %.8s, that of 1 is %.8s", tight.Stage.Micro, tight.Recipe, same.Recipe)
	}
	if tight.Recipe == roomy.Recipe {
		t.Error("\"auto\" has one recipe with 4 sequences and with 1")
	}
	fewer := plan("micro_batch_size = 4", all.Stage.Program.ArenaBytes-1)
	if s := fewer.Stage; s.Micro != 4 || s.Chunk >= all.Stage.Chunk || s.Program.ArenaBytes >= all.Stage.Program.ArenaBytes {
		t.Fatalf("with a byte too little: micro-batches of %d and %d rows of logits at a time, before %d", s.Micro, s.Chunk, all.Stage.Chunk)
	}
	if fewer.Recipe == all.Recipe {
		t.Error("fewer rows of logits at a time have the recipe of all")
	}
}
