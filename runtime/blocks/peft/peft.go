// Package peft is the peft block: an adapter's configuration.
package peft

import (
	"context"
	"fmt"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/ops/peft"
	"stepflow/runtime/blocks"
)

// Kind is the peft block.
var Kind = blocks.Kind{Sound: sound, Plan: plan}

// Adapter is a planned peft block.
type Adapter struct{ Spec peft.Spec }

// Identity writes nothing: its attributes say all.
func (*Adapter) Identity(io.Writer) {}

// Summary is empty.
func (*Adapter) Summary() string { return "" }

func sound(_ addr.Addr, d *dsl.Decoded) (diags hcl.Diagnostics) {
	if every, warmup := d.Int("reset_every"), d.Int("restart_warmup_steps"); every > 0 && warmup >= every {
		diags = append(diags, d.Error("restart_warmup_steps", "Warm-up too long",
			fmt.Sprintf("restart_warmup_steps is %d and "+
				"reset_every %d: the learning rate would not be up again before the next restart. Lower it.", warmup, every)))
	}
	if d.Float("lora_dropout") != 0 {
		diags = append(diags, d.Error("lora_dropout", "No dropout",
			"Adapters train without dropout, so that every token counts and a run that is resumed gives the same bits. Leave "+
				"lora_dropout out, or set it to 0."))
	}
	if d.Known("init_lora_weights") {
		if err := peft.CheckInit(d.Str("init_lora_weights")); err != nil {
			diags = append(diags, blocks.Problem(d, "init_lora_weights", "Unknown first values", err)...)
		}
	}
	if d.Has("optimizer_magnitude_pruning") && d.Has("optimizer_random_pruning") {
		diags = append(diags, d.Error("optimizer_random_pruning", "Two prunings",
			"A restart prunes moments by magnitude or at random. Give optimizer_magnitude_pruning or optimizer_random_pruning, not both."))
	}
	return diags
}

func plan(_ context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	s := peft.Spec{Method: p.Addr.Type, R: d.Int("r"), Alpha: d.Float("lora_alpha"), UseRSLora: d.Bool("use_rslora"),
		Init: d.Str("init_lora_weights"), LRRatio: d.Float("loraplus_lr_ratio"),
		TargetModules: d.Strs("target_modules"), ResetEvery: d.Int("reset_every"),
		RestartWarmup:    d.Int("restart_warmup_steps"),
		MergeRounding:    d.Str("merge_rounding"),
		Sparsity:         d.Float("sparsity"),
		MagnitudePruning: d.Float("optimizer_magnitude_pruning"), RandomPruning: d.Float("optimizer_random_pruning")}
	p.Block = &Adapter{s}
	return map[string]cty.Value{"r": blocks.Number(s.R)}, nil
}
