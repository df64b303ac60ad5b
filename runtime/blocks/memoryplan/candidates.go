package memoryplan

import (
	"cmp"
	"context"
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/blocks/optimizer"
	adapter "stepflow/runtime/blocks/peft"
	"stepflow/runtime/blocks/task"
	"stepflow/runtime/program"
)

// candidate is an optimizer that a plan may choose, with a type of its moments, and the search with it.
type candidate struct {
	optimizer  int    // 0 for the one that optimizer names, then the alternatives
	stateDType string // "" for its own
	name       string
	*search
}

// searches prepares a search with each optimizer that the block allows, the preferred one first.
func searches(ctx context.Context, p *blocks.Planned, d *dsl.Decoded, target *model.Model) (list []candidate, diags hcl.Diagnostics) {
	base := search{programs: p.World.Programs.On(0), model: target.Model, dtype: program.Precisions[d.Str("precision")],
		seq: d.Int("sequence_length"), batch: d.Int("batch_size"), method: bounded, position: cmp.Or(d.Str("position"), "upper"),
		room: growth.Gaps, common: newCommon()}
	if d.Str("growth") == "any" {
		base.method, base.room = "stack", growth.Unbounded
	}
	if ref, _, ok := d.Ref("peft"); ok {
		spec := p.Use(ref).(*adapter.Adapter).Spec
		base.spec = &spec
	}
	if base.inference, diags = between(ctx, p, d, target); diags.HasErrors() {
		return nil, diags
	}
	if list, diags = candidates(p, d, target); diags.HasErrors() {
		return nil, diags
	}
	if base.options, diags = optionsOf(&base, d); diags.HasErrors() {
		return nil, diags
	}
	for i, c := range list {
		q := base
		q.rule = c.rule
		q.begin()
		list[i].search = &q
	}
	return list, nil
}

// between returns what the tasks between steps need of a program, whatever the tokenizer; nil if there are none.
func between(ctx context.Context, p *blocks.Planned, d *dsl.Decoded, target *model.Model) (x *program.Inference, diags hcl.Diagnostics) {
	for _, e := range d.List("evaluate") {
		suite, diags := task.NewSuite(ctx, p.World, e, p.See)
		if diags.HasErrors() {
			return nil, diags
		}
		asked, err := suite.Ask(ctx, nil, target.MaxPositionEmbeddings)
		if err != nil {
			return nil, blocks.Problem(e, "tasks", "Unusable task", err)
		}
		if x == nil {
			x = &program.Inference{}
		}
		x.Widen(asked.Inference())
	}
	return x, nil
}

// candidates lists the optimizers that the block allows, each with each type of its moments. Their searches have only a rule.
func candidates(p *blocks.Planned, d *dsl.Decoded, target *model.Model) (list []candidate, diags hcl.Diagnostics) {
	all := target.Declare([]string{"x"})
	add := func(i int, at *dsl.Decoded, name string, o *optimizer.Optimizer) {
		own := optimizer.Usual
		if o != nil {
			own = o.Rule
		}
		if err := optim.Fits(own, all); err != nil {
			diags = append(diags, blocks.Problem(at, "optimizer", "Impossible optimizer", err)...)
			return
		}
		with := func(stateDType, name string, rule optim.Optimizer) {
			list = append(list, candidate{i, stateDType, name, &search{rule: rule}})
		}
		types := d.Strs("state_dtypes")
		if len(types) == 0 {
			with("", name, own)
			return
		}
		for _, word := range types {
			x, keeps := optim.Optimizer(optim.AdamW{StateDType: word}), true
			if o != nil {
				x, keeps = o.Keeping(word)
			}
			if !keeps {
				with("", name, own)
				break
			}
			with(word, fmt.Sprintf("%s with moments in %s", name, word), x)
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
