package runtime_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"stepflow/dsl/addr"
	"stepflow/ops"
	"stepflow/runtime/blocks/memoryplan"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/results"
)

// TestCheckpointBytesArePlanned compares what a plan says of a checkpoint, and of the states of the layers, with the tensors that a
// checkpoint holds and the buffers of the program, for each form of the optimizer's state.
func TestCheckpointBytesArePlanned(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, c := range []struct {
		vars    []string
		trained int64 // bytes a trained parameter
	}{
		{[]string{"precision=fp32"}, 16},
		{[]string{"precision=bf16"}, 16},
		{[]string{"precision=bf16", "stochastic=true"}, 12},
		{[]string{"precision=bf16", "rounding=remainder", "accumulate=fp32"}, 16}, // as the paper counts
		{[]string{"precision=fp32", "stochastic=true"}, 16},                       // which is about bf16 alone
	} {
		dir := pipeline(t)
		stopAt(t, d, dir, "two", 4, c.vars...)
		p := planOf(t, dir, c.vars...)
		a := p.Action(addr.Addr{Kind: "stage", Name: "two"})
		if a == nil || stageOf(a) == nil || a.FromStep == 0 {
			t.Fatalf("%v: stage two has no checkpoint", c.vars)
		}
		s := stageOf(a)
		step := checkpoint.StepDir(filepath.Join(dir, ".stepflow", results.Folder(a.Addr)), a.FromStep)
		var stored int64
		for _, name := range []string{checkpoint.ModelFile, checkpoint.OptimizerFile, checkpoint.AdapterFile} {
			f, err := checkpoint.Open(filepath.Join(step, name))
			must(t, err)
			for _, n := range f.Names() {
				b, _, err := f.Raw(n)
				must(t, err)
				stored += int64(len(b))
			}
			must(t, f.Close())
		}
		if stored != s.Figures.CheckpointSize {
			t.Errorf("%v: the checkpoint's tensors have %d bytes, planned were %d", c.vars, stored, s.Figures.CheckpointSize)
		}
		var layers int64
		for _, x := range s.All() {
			switch {
			case !ops.InLayers(x):
			case s.Frozen[x.ID] && !x.Kind.IsAdapter():
				layers += x.Elems() * s.DType.Size()
			default:
				layers += x.Elems() * c.trained
			}
		}
		if layers != s.Figures.LayerStates {
			t.Errorf("%v: the states of the layers are planned with %d bytes, %d a trained parameter makes %d", c.vars, s.Figures.LayerStates, c.trained, layers)
		}
	}
}

// TestMemoryPlanCountsTheOptimizer splits with optimizers that keep no masters, or less of projections than of the rest.
func TestMemoryPlanCountsTheOptimizer(t *testing.T) {
	const src = `
model "llama" "m" {
  vocab_size          = 64
  hidden_size         = 16
  intermediate_size   = 24
  num_hidden_layers   = 3
  num_attention_heads = 2
}
optimizer "adamw" "o" {
  learning_rate         = 1e-3
  bf16_stochastic_round = true
}
optimizer "muon" "o" {
  learning_rate         = 1e-2
  bf16_stochastic_round = true
  others                = optimizer.adamw.o
}
memory_plan "p" {
  model     = model.llama.m
  stages    = 1
  precision = "%s"
  %s
}
output "x" { value = memory_plan.p.peak_bytes }
`
	for _, c := range []struct {
		precision, more  string
		projection, rest int64 // bytes a parameter
	}{
		{"bf16", "", 16, 16},
		{"bf16", "optimizer = optimizer.adamw.o", 12, 12},
		{"bf16", "optimizer = optimizer.muon.o", 8, 12},
		{"fp32", "", 16, 16},
		{"fp32", "optimizer = optimizer.adamw.o", 16, 16},
		{"fp32", "optimizer = optimizer.muon.o", 12, 16},
	} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), fmt.Appendf(nil, src, c.precision, c.more), 0o644))
		p := planOf(t, dir)
		const projections, rest = 3 * (4*16*16 + 3*16*24), 2*64*16 + 16 + 3*2*16
		want := c.projection*projections + c.rest*rest
		if m := p.Action(addr.Addr{Kind: "memory_plan", Name: "p"}).Block.(*memoryplan.Split); m.Peak != want {
			t.Errorf("%s, %q: %d bytes, want %d", c.precision, c.more, m.Peak, want)
		}
	}
}

// TestMemoryPlanCountsRemainders: of the layer that freezes, q_proj has an adapter of 2 x (16 + 16) parameters and a remainder.
func TestMemoryPlanCountsRemainders(t *testing.T) {
	const layer, adapter, q = 4*16*16 + 3*16*24 + 2*16, 64, 16 * 16
	for _, c := range []struct {
		rounding  string
		remainder int64
	}{{"remainder", 2 * q}, {"stochastic", 0}} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), fmt.Appendf(nil, `
peft "relora" "a" {
  r              = 2
  lora_alpha     = 2
  target_modules = ["q_proj"]
  reset_every    = 5
  merge_rounding = %q
}
model "llama" "m" {
  vocab_size          = 64
  hidden_size         = 16
  intermediate_size   = 24
  num_hidden_layers   = 2
  num_attention_heads = 2
}
memory_plan "p" {
  model       = model.llama.m
  peft        = peft.relora.a
  stages      = 2
  growth      = "any"
  layers_only = true
}
output "x" { value = memory_plan.p.peak_bytes }
`, c.rounding), 0o644))
		m := planOf(t, dir).Action(addr.Addr{Kind: "memory_plan", Name: "p"}).Block.(*memoryplan.Split)
		if want := 16*int64(layer) + 2*layer + 16*adapter + c.remainder; m.Stages[1] != want {
			t.Errorf("%s: stage 2 takes %d bytes, want %d", c.rounding, m.Stages[1], want)
		}
	}
}
