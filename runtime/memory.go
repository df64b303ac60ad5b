package runtime

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/ops"
	"stepflow/ops/growth"
	"stepflow/ops/llama"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/train"
)

// MemoryPlan is a solved split.
type MemoryPlan struct {
	Layers        []int   `json:"layers"`
	Peak          int64   `json:"peak_bytes"`
	Vanilla       int64   `json:"vanilla_bytes"`
	Saving        float64 `json:"saving"`
	LayersPeak    int64   `json:"layers_peak_bytes"`
	LayersVanilla int64   `json:"layers_vanilla_bytes"`
	LayersSaving  float64 `json:"layers_saving"`
	Stages        []int64 `json:"stage_bytes"` // model states of each stage
}

func (p *planner) memoryPlan(a *Action, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	ref, _, _ := d.Ref("model")
	c := p.use(a, ref).model.Config
	layer := llama.LayerParams(c)
	all := llama.Declare(c, []string{"x"})
	rest := ops.Count(all, func(x ops.Param) bool { return !ops.InLayers(x) })
	dtype := train.Precisions[d.Str("precision")]
	var adapter, kept int64
	if ref, _, ok := d.Ref("peft"); ok {
		spec := p.use(a, ref).peft.spec
		as, err := spec.Match(all, ops.InLayers)
		if err != nil {
			return nil, problem(d, "peft", "Impossible adapter", err)
		}
		adapter = ops.Count(peft.Params(as), nil)
		for _, x := range as {
			if spec.KeepsRemainders(dtype) {
				kept += x.Target.Elems() * dtype.Size()
			}
		}
	}
	var adamw optim.AdamW
	if ref, _, ok := d.Ref("optimizer"); ok {
		adamw = p.use(a, ref).optim.adamw
	}
	b := growth.Bytes{Trainable: adamw.TrainBytes(dtype), Frozen: dtype.Size(), Kept: kept}
	layersOnly := b.States(layer, adapter, 0, 0)
	cost := b.States(layer, adapter, rest, 0)
	if d.Bool("layers_only") {
		cost = layersOnly
	}
	room := growth.Room(growth.Unbounded)
	if d.Str("growth") == "interpolation" {
		room = growth.Gaps
	}
	m := &MemoryPlan{Vanilla: cost(c.NumHiddenLayers, 0), LayersVanilla: layersOnly(c.NumHiddenLayers, 0)}
	var err error
	if d.Has("stages") {
		if m.Layers, m.Peak, err = growth.Partition(c.NumHiddenLayers, d.Int("stages"), cost, room); err != nil {
			return nil, problem(d, "stages", "Impossible split", err)
		}
	} else {
		budget, err := dsl.ParseBytes(d.Str("budget"))
		if err != nil {
			return nil, problem(d, "budget", "Invalid value", err)
		}
		var ok bool
		if m.Layers, m.Peak, ok = growth.Fewest(c.NumHiddenLayers, budget, cost, room); !ok {
			return nil, hcl.Diagnostics{d.Error("budget", "Budget too small", fmt.Sprintf("No split of %d layers has model states within %s (%d bytes). The least is %s (%d bytes), in %d stages of %v layers. Raise the budget, or shrink the model or the adapters.",
				c.NumHiddenLayers, dsl.FormatBytes(budget), budget, dsl.FormatBytes(m.Peak), m.Peak, len(m.Layers), m.Layers))}
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
	a.Memory = m
	var list []cty.Value
	for _, x := range m.Layers {
		list = append(list, number(float64(x)))
	}
	return map[string]cty.Value{"layers": cty.ListVal(list), "stages": number(float64(len(list))), "peak_bytes": number(float64(m.Peak)),
		"vanilla_bytes": number(float64(m.Vanilla)), "saving": number(m.Saving), "layers_peak_bytes": number(float64(m.LayersPeak)),
		"layers_vanilla_bytes": number(float64(m.LayersVanilla)), "layers_saving": number(m.LayersSaving)}, nil
}
