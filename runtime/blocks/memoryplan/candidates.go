package memoryplan

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/gpu"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/blocks/optimizer"
	adapter "stepflow/runtime/blocks/peft"
	"stepflow/runtime/compatibility"
	"stepflow/runtime/program"
)

// candidate is an optimizer that a plan may choose, with a type of its moments, and the search with it.
type candidate struct {
	optimizer  int    // 0 for that of optimizer, then the alternatives
	stateDType string // "" for its own
	name       string
	*search
}

// searches are those with each optimizer that the block allows, the preferred one first.
func searches(p *blocks.Planned, d *dsl.Decoded, target *model.Model) (list []candidate, diags hcl.Diagnostics) {
	base := search{programs: p.World.Programs.On(0), model: target.Model, dtype: program.Precisions[d.Str("precision")],
		seq: d.Int("sequence_length"), batch: d.Int("batch_size"), method: bounded, position: cmp.Or(d.Str("position"), "upper"),
		room: growth.Gaps, spent: new(int)}
	if d.Str("growth") == "any" {
		base.method, base.room = "stack", growth.Unbounded
	}
	if ref, _, ok := d.Ref("peft"); ok {
		spec := p.Use(ref).(*adapter.Adapter).Spec
		base.spec = &spec
	}
	rules, diags := rulesOf(p, d, target)
	if diags.HasErrors() {
		return nil, diags
	}
	for _, r := range rules {
		q := base
		q.rule = r.rule
		if q.options, diags = optionsOf(&q, d); diags.HasErrors() {
			return nil, diags
		}
		q.begin()
		r.search = &q
		list = append(list, r.candidate)
	}
	return list, nil
}

// rule is a candidate with its rule.
type rule struct {
	candidate
	rule optim.Optimizer
}

// rulesOf are the optimizers that the block allows, each with each type of its moments.
func rulesOf(p *blocks.Planned, d *dsl.Decoded, target *model.Model) (list []rule, diags hcl.Diagnostics) {
	all := target.Declare([]string{"x"})
	add := func(i int, at *dsl.Decoded, name string, o *optimizer.Optimizer) {
		own := optim.Optimizer(optimizer.Usual)
		if o != nil {
			own = o.Rule
		}
		if err := optim.Fits(own, all); err != nil {
			diags = append(diags, blocks.Problem(at, "optimizer", "Impossible optimizer", err)...)
			return
		}
		types := d.Strs("state_dtypes")
		if len(types) == 0 {
			list = append(list, rule{candidate{optimizer: i, name: name}, own})
			return
		}
		for n, word := range types {
			x, keeps := optim.Optimizer(optim.AdamW{StateDType: word}), true
			if o != nil {
				x, keeps = o.Keeping(word)
			}
			if !keeps && n > 0 { // it has only one
				continue
			}
			list = append(list, rule{candidate{optimizer: i, stateDType: word, name: fmt.Sprintf("%s with moments in %s", name, word)}, x})
		}
	}
	if ref, _, ok := d.Ref("optimizer"); ok {
		add(0, d, ref.String(), p.Use(ref).(*optimizer.Optimizer))
	} else {
		add(0, d, "an adamw", nil)
	}
	for i, x := range d.List("alternative") {
		ref, _, _ := x.Ref("optimizer")
		add(i+1, x, ref.String(), p.Use(ref).(*optimizer.Optimizer))
	}
	return list, diags
}

// optionsOf are the ways in which a stage may freeze, store and update weights, the preferred one first, without those that
// stages cannot have.
func optionsOf(q *search, d *dsl.Decoded) (list []option, diags hcl.Diagnostics) {
	stored := d.Strs("frozen_dtypes")
	if len(stored) == 0 {
		stored = []string{cmp.Or(d.Str("frozen_dtype"), "none")}
	}
	ways := d.Strs("updates")
	if len(ways) == 0 {
		ways = updates[:1]
	}
	for _, freeze := range freezesOf(d) {
		for _, word := range stored {
			for _, way := range ways {
				o := option{freeze: freeze, frozen: word, fused: way == "fused"}
				if word == "none" {
					o.frozen = ""
				}
				if q.impossible(o) == nil {
					list = append(list, o)
				}
			}
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	return nil, blocks.Problem(d, attrOf(d), "Impossible stages", q.impossible(option{freezesOf(d)[0], stored[0], ways[0] == "fused"}))
}

// attrOf is the attribute to blame for stages that cannot be.
func attrOf(d *dsl.Decoded) string {
	for _, name := range []string{"freezes", "frozen_dtypes", "frozen_dtype", "updates"} {
		if d.Given(name) {
			return name
		}
	}
	return "device_memory"
}

// refused returns why the adapters do not go with frozen weights in a type; "" if they do.
func (q *search) refused(frozen string) string {
	if q.spec == nil {
		return ""
	}
	for _, x := range (compatibility.Setup{"adapter": {q.spec.Method}, "frozen_dtype": {frozen}}).Refused() {
		return x.Text
	}
	return ""
}

// impossible returns why no stage can be made in a way; nil if some can.
func (q *search) impossible(o option) error {
	t := program.FrozenDTypes[o.frozen]
	narrow := t != gpu.InvalidDType && t != q.dtype
	if text := q.refused(o.frozen); narrow && text != "" {
		return errors.New(text)
	}
	first, err := q.stage(nil, 2, o)
	if err != nil || q.model.NumHiddenLayers < 3 {
		return err
	}
	s, err := q.stage(first, 1, o)
	if err != nil {
		return err
	}
	for _, word := range o.freeze {
		if !s.Freeze(word) {
			return fmt.Errorf("freeze = [%q] would freeze nothing of this model: its head is its embedding table, or it has none", word)
		}
	}
	switch {
	case narrow && !slices.ContainsFunc(s.Params, s.FrozenProjection):
		return fmt.Errorf("no projection would be frozen that %s could store", o.frozen)
	case q.spec != nil && len(s.Adapters) == 0:
		return fmt.Errorf("no projection would be frozen that an adapter could sit on")
	}
	return nil
}
