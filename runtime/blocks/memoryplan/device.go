package memoryplan

import (
	"cmp"
	"context"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/program"
)

// Device is a plan for the whole memory of a device: the stages with their settings, and what they come to.
type Device struct {
	Memory     int64    `json:"memory_bytes"`          // of the device
	Limit      int64    `json:"limit_bytes"`           // of the memory, what a stage may take
	Objective  string   `json:"objective"`             // what is made best
	Optimizer  int      `json:"optimizer"`             // 0 for the one that optimizer names, then the alternatives
	StateDType string   `json:"state_dtype,omitempty"` // of state_dtypes; "" where there are none
	Stages     []Stage  `json:"stages"`                // from the first
	Forecast   Forecast `json:"forecast"`              // of the loss
	FLOPs      float64  `json:"flops"`                 // of the run
	Gap        float64  `json:"operations_gap"`        // by which share another split may have fewer operations; 0 for none
	Tokens     float64  `json:"tokens"`                // of the run
	Choices    []Choice `json:"choices"`               // what each saved
	More       string   `json:"one_more_gib"`          // what it would buy
	Tried      int      `json:"tried_programs"`        // whose size was computed
	takes      blocks.Forecast
	rules      []candidate
	rule       int // the chosen one
	timed      int // mostTimed, or less
	scores     map[int]float64
	left       []blocks.Line // what the block allows and the plan does without, and why
}

// Stage is a stage of a plan for a device.
type Stage struct {
	Layers        int         `json:"layers"` // new ones
	Update        string      `json:"update"`
	Checkpointing string      `json:"activation_checkpointing"`
	Freeze        []string    `json:"freeze"`
	FrozenDType   string      `json:"frozen_dtype,omitempty"` // "" for precision's
	Fit           program.Fit `json:"takes"`
	Trainable     int64       `json:"trainable_parameters"`
	Parameters    int64       `json:"parameters"`
}

// Choice is a setting of a stage: how much more it would take without, and what it costs.
type Choice struct {
	What  string `json:"what"`
	Stage int    `json:"stage,omitempty"` // from 1; 0 for all
	Saved int64  `json:"saved_bytes"`
	Cost  string `json:"cost"`
}

// device plans for the whole memory of a device, and returns the layers of each stage.
func (m *Split) device(ctx context.Context, p *blocks.Planned, d *dsl.Decoded, target *model.Model) ([]int, hcl.Diagnostics) {
	memory, err := dsl.ParseMemory(d.Str("device_memory"))
	if err != nil {
		return nil, blocks.Problem(d, "device_memory", "Invalid value", err)
	}
	reserve := p.World.Caps.Reserve
	if memory <= reserve {
		return nil, hcl.Diagnostics{d.Error("device_memory", "Too little memory", fmt.Sprintf("A card's context and libraries take "+
			"%s beside the run: %s leaves nothing for it.", dsl.FormatBytes(reserve), dsl.FormatBytes(memory)))}
	}
	if diags := blocks.TooManyTokens(d, d.Int("batch_size"), d.Int("sequence_length")); diags.HasErrors() {
		return nil, diags
	}
	list, diags := searches(ctx, p, d, target)
	if diags.HasErrors() {
		return nil, diags
	}
	x := &Device{Memory: memory, Limit: memory - reserve, Objective: cmp.Or(d.Str("objective"), "loss"), Tokens: d.Float("tokens"),
		rules: list, timed: mostTimed}
	if x.Tokens == 0 {
		x.Tokens = tokensPerParameter * target.Params()
	}
	found, err := x.search(d.Int("stages"))
	switch {
	case err != nil:
		return nil, blocks.Problem(d, "device_memory", "Impossible plan", err)
	case found == nil:
		text, err := x.refuse(d)
		if err != nil {
			return nil, blocks.Problem(d, "device_memory", "Impossible plan", err)
		}
		return nil, hcl.Diagnostics{d.Error("device_memory", "Too little memory", text)}
	}
	m.Device = x
	if err := x.explain(p.World, d, found); err != nil {
		return nil, blocks.Problem(d, "device_memory", "Impossible plan", err)
	}
	return found.layers(), nil
}

// chosen is the optimizer that was chosen.
func (x *Device) chosen() candidate { return x.rules[x.rule] }

// exports adds what only a plan for a device decides; null for other plans.
func (x *Device) exports(stages int, known map[string]cty.Value) {
	if x == nil {
		for name, t := range map[string]cty.Type{"micro_batch_size": cty.List(cty.Number),
			"activation_checkpointing": cty.List(cty.String), "update": cty.List(cty.String),
			"freeze": cty.List(cty.List(cty.String)), "frozen_dtype": cty.List(cty.String), "state_dtype": cty.String,
			"device_bytes": cty.List(cty.Number), "forecast_loss": cty.Number} {
			known[name] = cty.NullVal(t)
		}
		return
	}
	list := func(of func(Stage) cty.Value) cty.Value {
		values := make([]cty.Value, stages)
		for i, s := range x.Stages {
			values[i] = of(s)
		}
		return cty.ListVal(values)
	}
	known["micro_batch_size"] = list(func(s Stage) cty.Value { return blocks.Number(s.Fit.Micro) })
	known["activation_checkpointing"] = list(func(s Stage) cty.Value { return cty.StringVal(s.Checkpointing) })
	known["update"] = list(func(s Stage) cty.Value { return cty.StringVal(s.Update) })
	known["freeze"] = list(func(s Stage) cty.Value { return blocks.Strings(s.Freeze) })
	known["frozen_dtype"] = list(func(s Stage) cty.Value { return orNull(s.FrozenDType) })
	known["state_dtype"] = orNull(x.StateDType)
	known["device_bytes"] = list(func(s Stage) cty.Value { return blocks.Number(s.Fit.Bytes) })
	known["forecast_loss"] = blocks.Number(x.Forecast.Loss)
}

// exports adds what the stages share.
func (a *Assumed) exports(x *Device, known map[string]cty.Value) {
	known["precision"] = cty.StringVal(program.Precision(a.DType))
	known["optimizer"] = cty.NullVal(cty.DynamicPseudoType)
	if a.Optimizer != (addr.Addr{}) {
		known["optimizer"] = cty.ObjectVal(map[string]cty.Value{"address": cty.StringVal(a.Optimizer.String())})
	}
	for _, name := range []string{"sequence_length", "batch_size", "tokens"} {
		known[name] = cty.NullVal(cty.Number)
	}
	known["position"] = cty.NullVal(cty.String)
	if x != nil {
		known["sequence_length"], known["batch_size"] = blocks.Number(a.Seq), blocks.Number(a.Batch)
		known["tokens"], known["position"] = blocks.Number(x.Tokens), cty.StringVal(a.Position)
	}
}

// orNull is a word, or null for none.
func orNull(word string) cty.Value {
	if word == "" {
		return cty.NullVal(cty.String)
	}
	return cty.StringVal(word)
}
