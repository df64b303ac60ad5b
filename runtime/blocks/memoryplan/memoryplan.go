// Package memoryplan is the memory_plan block: a model's layers split into stages so that the largest fits a budget.
package memoryplan

import (
	"context"
	"fmt"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/ops"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/blocks/optimizer"
	adapter "stepflow/runtime/blocks/peft"
	"stepflow/runtime/program"
)

// Kind is the memory_plan block.
var Kind = blocks.Kind{Alone: blocks.TheDevice, Sound: sound, Plan: plan}

// bounded is the operator that the stages of a plan grow by, unless their growth has no bound.
const bounded = "interpolation"

// Split is a planned memory_plan block: the layers that each stage adds, and the bytes of its model states.
type Split struct {
	Layers        []int   `json:"layers"`
	Peak          int64   `json:"peak_bytes"`
	Vanilla       int64   `json:"vanilla_bytes"`
	Saving        float64 `json:"saving"`
	LayersPeak    int64   `json:"layers_peak_bytes"`
	LayersVanilla int64   `json:"layers_vanilla_bytes"`
	LayersSaving  float64 `json:"layers_saving"`
	Stages        []int64 `json:"stage_bytes"`      // model states of each stage
	Device        *Device `json:"device,omitempty"` // of a plan for the whole memory of a device
	Assumed       Assumed `json:"-"`
}

// Identity writes nothing: its attributes and the blocks it names say all.
func (*Split) Identity(io.Writer) {}

// Summary says what the split saves.
func (m *Split) Summary() string {
	if x := m.Device; x != nil {
		var most int64
		for _, s := range x.Stages {
			most = max(most, s.Fit.Bytes)
		}
		return fmt.Sprintf("layers %v: at most %s of device memory, of %s", m.Layers, dsl.FormatBytes(most), dsl.FormatBytes(x.Limit))
	}
	return fmt.Sprintf("layers %v: model states %s at most, vanilla %s (%.2f %% less; layers alone %.2f %%)", m.Layers,
		dsl.FormatBytes(m.Peak), dsl.FormatBytes(m.Vanilla), 100*m.Saving, 100*m.LayersSaving)
}

// Numbers returns the figures of the split.
func (m *Split) Numbers() map[string]any { return map[string]any{"memory_plan": m} }

// parts counts the model states of the parts of a model, with the optimizer and the adapters that the block names.
func parts(p *blocks.Planned, d *dsl.Decoded, m *model.Model) (b growth.Bytes, diags hcl.Diagnostics) {
	dtype, rule := program.Precisions[d.Str("precision")], optimizer.Usual
	if ref, _, ok := d.Ref("optimizer"); ok {
		rule = p.Use(ref).(*optimizer.Optimizer).Rule
	}
	all := m.Declare([]string{"x"})
	if err := optim.Fits(rule, all); err != nil {
		return b, blocks.Problem(d, "optimizer", "Impossible optimizer", err)
	}
	for _, x := range all {
		if n := optim.TrainBytes(rule, x, dtype); ops.InLayers(x) {
			b.Layer += n
		} else {
			b.Rest += n
		}
	}
	s := program.Stage{DType: dtype, FrozenDType: program.FrozenDTypes[d.Str("frozen_dtype")], Frozen: map[string]bool{}}
	for _, x := range all {
		if s.Frozen[x.ID] = true; ops.InLayers(x) {
			b.Frozen += s.StoredBytes(x)
		}
	}
	ref, _, ok := d.Ref("peft")
	if !ok {
		return b, nil
	}
	spec := p.Use(ref).(*adapter.Adapter).Spec
	as, err := spec.Match(all, ops.InLayers)
	if err != nil {
		return b, blocks.Problem(d, "peft", "Impossible adapter", err)
	}
	for _, x := range peft.Params(as) {
		b.Adapter += optim.TrainBytes(rule, x, dtype)
	}
	for _, x := range as {
		if spec.KeepsRemainders(dtype) {
			b.Frozen += x.Target.Elems() * dtype.Size()
		}
	}
	return b, nil
}

func plan(ctx context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	ref, _, _ := d.Ref("model")
	target := p.Use(ref).(*model.Model)
	layers := target.NumHiddenLayers
	b, diags := parts(p, d, target)
	if diags.HasErrors() {
		return nil, diags
	}
	cost := b.Cost()
	b.Rest = 0
	layersOnly := b.Cost()
	if d.Bool("layers_only") {
		cost = layersOnly
	}
	room := roomOf(d)
	if diags := checkStages(d, layers, d.Int("stages")); diags.HasErrors() {
		return nil, diags
	}
	m := &Split{Vanilla: cost(layers, 0), LayersVanilla: layersOnly(layers, 0)}
	var err error
	switch {
	case d.Has("device_memory"):
		if m.Layers, diags = m.device(ctx, p, d, target); diags.HasErrors() {
			return nil, diags
		}
		n := 0
		for _, fresh := range m.Layers {
			m.Peak = max(m.Peak, cost(fresh, n))
			n += fresh
		}
	case d.Has("stages"):
		if m.Layers, m.Peak, err = growth.Partition(layers, d.Int("stages"), cost, room); err != nil {
			return nil, blocks.Problem(d, "stages", "Impossible split", err)
		}
	default:
		budget, err := dsl.ParseBytes(d.Str("budget"))
		if err != nil {
			return nil, blocks.Problem(d, "budget", "Invalid value", err)
		}
		var ok bool
		if m.Layers, m.Peak, ok = growth.Fewest(layers, budget, cost, room); !ok {
			return nil, hcl.Diagnostics{d.Error("budget", "Budget too small", fmt.Sprintf("No split of %d layers has model "+
				"states within %s (%d bytes). The least is %s (%d bytes), in %d stages of %v layers. Raise the budget, or "+
				"shrink the model or the adapters.", layers, dsl.FormatBytes(budget), budget, dsl.FormatBytes(m.Peak), m.Peak,
				len(m.Layers), m.Layers))}
		}
	}
	n := 0
	for _, fresh := range m.Layers {
		m.Stages = append(m.Stages, cost(fresh, n))
		m.LayersPeak = max(m.LayersPeak, layersOnly(fresh, n))
		n += fresh
	}
	m.Saving = 1 - float64(m.Peak)/float64(m.Vanilla)
	m.LayersSaving = 1 - float64(m.LayersPeak)/float64(m.LayersVanilla)
	p.Block = m
	var list []cty.Value
	for _, x := range m.Layers {
		list = append(list, blocks.Number(x))
	}
	known := map[string]cty.Value{
		"layers":               cty.ListVal(list),
		"stages":               blocks.Number(len(list)),
		"peak_bytes":           blocks.Number(m.Peak),
		"vanilla_bytes":        blocks.Number(m.Vanilla),
		"saving":               blocks.Number(m.Saving),
		"layers_peak_bytes":    blocks.Number(m.LayersPeak),
		"layers_vanilla_bytes": blocks.Number(m.LayersVanilla),
		"layers_saving":        blocks.Number(m.LayersSaving),
	}
	m.Device.exports(len(m.Layers), known)
	m.assume(p, d)
	m.Assumed.exports(m.Device, known)
	return known, nil
}
