package memoryplan

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/blocks/optimizer"
	adapter "stepflow/runtime/blocks/peft"
	"stepflow/runtime/program"
)

// Device is a plan for the whole memory of a device: the stages with their settings, and what they come to.
type Device struct {
	Memory     int64      `json:"memory_bytes"`   // of the device
	Limit      int64      `json:"limit_bytes"`    // of the memory, what a stage may take
	Objective  string     `json:"objective"`      // what is made best
	Optimizer  int        `json:"optimizer"`      // 0 for that of optimizer, then the alternatives
	Stages     []Stage    `json:"stages"`         // from the first
	Loss       [2]float64 `json:"forecast_loss"`  // if all parameters count, and if only those that train
	Whole      [2]float64 `json:"whole_loss"`     // the same of the full model trained at once
	FLOPs      float64    `json:"flops"`          // of the run
	Tokens     float64    `json:"tokens"`         // of the run
	Choices    []Choice   `json:"choices"`        // what each saved
	More       string     `json:"one_more_gib"`   // what it would buy
	Tried      int        `json:"tried_programs"` // whose size was computed
	takes      blocks.Forecast
	optimizers []string // their addresses
}

// Stage is a stage of a plan for a device.
type Stage struct {
	Layers        int         `json:"layers"` // new ones
	Update        string      `json:"update"`
	Checkpointing string      `json:"activation_checkpointing"`
	Fit           program.Fit `json:"takes"`
	Trainable     int64       `json:"trainable_parameters"`
	Parameters    int64       `json:"parameters"`
}

// Choice is a setting of the largest stage: what it would take without, and what it costs.
type Choice struct {
	What  string `json:"what"`
	Saved int64  `json:"saved_bytes"`
	Cost  string `json:"cost"`
}

// soundDevice checks the attributes of a plan for a device.
func soundDevice(d *dsl.Decoded) (diags hcl.Diagnostics) {
	if !d.Has("device_memory") {
		for _, name := range onlyDevice {
			if d.Given(name) {
				diags = append(diags, d.Error(name, "Without device_memory", name+" is for a plan of the whole memory of a "+
					"device: give device_memory too, or leave it out."))
			}
		}
		if list := d.List("alternative"); len(list) > 0 {
			diags = append(diags, list[0].Error("optimizer", "Without device_memory", "An alternative is for a plan of the whole "+
				"memory of a device: give device_memory too, or leave it out."))
		}
		return diags
	}
	if !d.Has("sequence_length") || !d.Has("batch_size") {
		diags = append(diags, d.Error("device_memory", "Missing attribute", "device_memory is for activations too, so it needs "+
			"sequence_length and batch_size, as in the train blocks of the stages."))
	}
	if d.Bool("layers_only") {
		diags = append(diags, d.Error("layers_only", "Layers alone", "A device holds more than the layers. Leave layers_only or "+
			"device_memory out."))
	}
	for _, u := range d.Strs("updates") {
		if !slices.Contains(updates, u) {
			diags = append(diags, d.Error("updates", "Invalid value", fmt.Sprintf("updates takes \"separate\" and \"fused\", not %q.", u)))
		}
	}
	return diags
}

// onlyDevice are the attributes that only a plan for a device has.
var onlyDevice = []string{"sequence_length", "batch_size", "updates", "objective", "tokens", "position"}

// updates are the words of train's update.
var updates = []string{"separate", "fused"}

// device plans for the whole memory of a device, and returns the layers of each stage.
func (m *Split) device(p *blocks.Planned, d *dsl.Decoded, target *model.Model) ([]int, hcl.Diagnostics) {
	memory, err := dsl.ParseBytes(d.Str("device_memory"))
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
	q := newSearch(p, d, target)
	rules, names := optimizers(p, d)
	x := &Device{Memory: memory, Limit: memory - reserve, Objective: cmp.Or(d.Str("objective"), "loss"), Tokens: d.Float("tokens")}
	if x.Tokens == 0 {
		x.Tokens = tokensPerParameter * target.Params()
	}
	found, least, err := x.search(q, rules, d.Int("stages"))
	switch {
	case err != nil:
		return nil, blocks.Problem(d, "device_memory", "Impossible plan", err)
	case found == nil:
		return nil, hcl.Diagnostics{d.Error("device_memory", "Too little memory", x.refuse(q, d.Int("stages"), least))}
	}
	m.Device, x.optimizers = x, names
	if err := x.explain(p.World, q, rules, d.Int("stages"), found); err != nil {
		return nil, blocks.Problem(d, "device_memory", "Impossible plan", err)
	}
	return found.layers(), nil
}

// newSearch is a search for what a block asks for.
func newSearch(p *blocks.Planned, d *dsl.Decoded, target *model.Model) *search {
	q := &search{programs: p.World.Programs.On(0), model: target.Model, dtype: program.Precisions[d.Str("precision")],
		seq: d.Int("sequence_length"), batch: d.Int("batch_size"), method: bounded, position: cmp.Or(d.Str("position"), "upper"),
		room: growth.Gaps}
	if d.Str("growth") == "any" {
		q.method, q.room = "stack", growth.Unbounded
	}
	for _, u := range d.Strs("updates") {
		q.fused = append(q.fused, u == "fused")
	}
	if len(q.fused) == 0 {
		q.fused = []bool{false}
	}
	if ref, _, ok := d.Ref("peft"); ok {
		spec := p.Use(ref).(*adapter.Adapter).Spec
		q.spec = &spec
	}
	return q
}

// optimizers are the rules that a plan chooses from, the preferred one first, and their addresses.
func optimizers(p *blocks.Planned, d *dsl.Decoded) (rules []optim.Optimizer, names []string) {
	rules, names = []optim.Optimizer{optimizer.Usual}, []string{"an adamw"}
	if ref, _, ok := d.Ref("optimizer"); ok {
		rules[0], names[0] = p.Use(ref).(*optimizer.Optimizer).Rule, ref.String()
	}
	for _, x := range d.List("alternative") {
		ref, _, _ := x.Ref("optimizer")
		rules, names = append(rules, p.Use(ref).(*optimizer.Optimizer).Rule), append(names, ref.String())
	}
	return rules, names
}

// refuse says that nothing fits.
func (x *Device) refuse(q *search, stages int, least int64) string {
	what := "No split"
	if stages > 0 {
		what = fmt.Sprintf("No split into stages = %d", stages)
	}
	text := fmt.Sprintf("%s of %d layers has all stages within %s (%d bytes", what, q.model.NumHiddenLayers,
		dsl.FormatBytes(x.Memory), x.Memory)
	if reserve := x.Memory - x.Limit; reserve > 0 {
		text += fmt.Sprintf(", of which %s are for the driver", dsl.FormatBytes(reserve))
	}
	text += "), with micro-batches as small and as many layers computed again as can be."
	if least < math.MaxInt64 {
		text += fmt.Sprintf(" The first that does not fit takes %s, %s too much.", dsl.FormatBytes(least),
			dsl.FormatBytes(least-x.Limit))
	}
	return text + " Raise device_memory, lower sequence_length, shrink the model or the adapters, or allow an alternative " +
		"optimizer or updates = [\"separate\", \"fused\"]."
}

// exports adds what only a plan for a device decides; null of others.
func (x *Device) exports(stages int, known map[string]cty.Value) {
	if x == nil {
		for name, t := range map[string]cty.Type{"micro_batch_size": cty.List(cty.Number),
			"activation_checkpointing": cty.List(cty.String), "update": cty.List(cty.String),
			"device_bytes": cty.List(cty.Number), "optimizer": cty.Number, "forecast_loss": cty.Number} {
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
	known["device_bytes"] = list(func(s Stage) cty.Value { return blocks.Number(s.Fit.Bytes) })
	known["optimizer"], known["forecast_loss"] = blocks.Number(x.Optimizer), blocks.Number(x.Loss[0])
}
