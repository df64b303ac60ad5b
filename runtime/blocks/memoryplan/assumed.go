package memoryplan

import (
	"cmp"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/gpu"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/optimizer"
	adapter "stepflow/runtime/blocks/peft"
	"stepflow/runtime/program"
)

// Assumed is what a plan takes all its stages to have.
type Assumed struct {
	Addr       addr.Addr
	Range      hcl.Range // of the block
	Budget     bool      // it is for model states alone
	LayersOnly bool      // it is the paper's formula, and no promise
	DType      gpu.DType
	Rule       optim.Optimizer
	Optimizer  addr.Addr // of Rule; zero for the usual one
	StateDType string    // that the plan chose for it; "" for its own
	Peft       addr.Addr // of Spec
	Spec       *peft.Spec

	Seq, Batch int    // of a plan for a device
	Growth     string // the operator by which stages grow
	Position   string // of its new layers
	frozen     string // of a plan that is not for a device
}

// assume notes what the plan takes all its stages to have.
func (m *Split) assume(p *blocks.Planned, d *dsl.Decoded) {
	a := &m.Assumed
	*a = Assumed{Addr: p.Addr, Range: p.Range, Budget: m.Device == nil, LayersOnly: d.Bool("layers_only"),
		DType: program.Precisions[d.Str("precision")], Rule: optimizer.Usual, Seq: d.Int("sequence_length"), Batch: d.Int("batch_size"),
		Growth: bounded, Position: cmp.Or(d.Str("position"), "upper"), frozen: d.Str("frozen_dtype")}
	by := d
	if x := m.Device; x != nil {
		chosen := x.chosen()
		a.Rule, a.StateDType = chosen.rule, chosen.stateDType
		if chosen.optimizer > 0 {
			by = d.List("alternative")[chosen.optimizer-1]
		}
	}
	if ref, _, ok := by.Ref("optimizer"); ok {
		a.Optimizer = ref
		if m.Device == nil {
			a.Rule = p.Use(ref).(*optimizer.Optimizer).Rule
		}
	}
	if ref, _, ok := d.Ref("peft"); ok {
		a.Peft, a.Spec = ref, &p.Use(ref).(*adapter.Adapter).Spec
	}
}

// Number returns the index of the stage that has so many layers, with so many fresh ones among them; -1 if there is none.
func (m *Split) Number(layers, fresh int) int {
	for i, n := range m.Layers {
		if layers -= n; layers == 0 && n == fresh {
			return i
		}
	}
	return -1
}

// Bytes is what a stage takes by the plan: in all, or its model states if the plan is for them alone.
func (m *Split) Bytes(i int) int64 {
	if m.Device != nil {
		return m.Device.Stages[i].Fit.Bytes
	}
	return m.Stages[i]
}

// Freeze are the words of freeze that the plan takes a stage to have.
func (m *Split) Freeze(i int) []string {
	switch {
	case m.Device != nil:
		return m.Device.Stages[i].Freeze
	case i > 0:
		return []string{"inherited"}
	}
	return nil
}

// FrozenDType is the word of frozen_dtype that the plan takes a stage to have; "" for precision's.
func (m *Split) FrozenDType(i int) string {
	switch {
	case i == 0:
		return ""
	case m.Device != nil:
		return m.Device.Stages[i].FrozenDType
	}
	return m.Assumed.frozen
}
