// Package optimizer is the optimizer block: an update rule and its settings. What each type is made of is in types.go.
package optimizer

import (
	"context"
	"io"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/ops"
	"stepflow/ops/optim"
	"stepflow/runtime/blocks"
	"stepflow/runtime/compatibility"
)

// Kind is the optimizer block.
var Kind = blocks.Kind{Sound: sound, Plan: plan}

// groups lists the attributes of every type that name the optimizer of parameters of some kinds.
var groups = []struct {
	attr  string
	kinds []ops.Kind
}{
	{"embeddings", []ops.Kind{ops.KindEmbedding}},
	{"lm_head", []ops.Kind{ops.KindHead}},
	{"norms", []ops.Kind{ops.KindNorm, ops.KindBias}},
}

// naming lists the attributes that name optimizers.
var naming = []string{"others", "embeddings", "lm_head", "norms"}

// Optimizer is a planned optimizer block.
type Optimizer struct {
	Rule optim.Optimizer
	with func(stateDType string) (rule optim.Optimizer, keeps bool)
}

// Keeping returns the rule with its moments kept in another type, those of the optimizers that it names too, where their blocks
// leave state_dtype open; keeps is false if none does.
func (o *Optimizer) Keeping(stateDType string) (rule optim.Optimizer, keeps bool) {
	return o.with(stateDType)
}

// Identity writes nothing: its attributes and the blocks it names say all.
func (*Optimizer) Identity(io.Writer) {}

// Summary is empty.
func (*Optimizer) Summary() string { return "" }

func sound(_ addr.Addr, d *dsl.Decoded) (diags hcl.Diagnostics) {
	if d.Known("betas") && len(d.Floats("betas")) != 2 {
		return hcl.Diagnostics{d.Error("betas", "Invalid value",
			"betas takes two numbers from 0 up to, not including, 1, such as [0.9, 0.95].")}
	}
	is := compatibility.Setup{"state_dtype": {d.Str("state_dtype")}}
	if hasNoMoments(d) {
		is["beta1"] = []string{compatibility.Nothing}
	}
	for _, x := range is.Refused() {
		diags = append(diags, d.Error(x.At, x.Title, x.Text))
	}
	return diags
}

// hasNoMoments reports whether a block is of a type that keeps moments only with a beta1, and has none.
func hasNoMoments(d *dsl.Decoded) bool { return d.Known("beta1") && d.Float("beta1") == 0 }

// leavesOpen reports whether a block has moments and does not say what they are kept in.
func leavesOpen(d *dsl.Decoded) bool {
	return d.Has("state_dtype") && !d.Given("state_dtype") && !hasNoMoments(d)
}

// LeavesOpen reports whether the optimizer that an attribute of a block names, or one that it names itself, has moments and does not
// say what they are kept in. known is false if that is not known before the pipeline is.
func LeavesOpen(d *dsl.Decoded, attr string) (open, known bool) {
	if !d.Has(attr) {
		return false, true
	}
	x := d.Referred(attr)
	if x == nil {
		return false, false
	}
	open, known = leavesOpen(x), true
	for _, other := range naming {
		o, k := LeavesOpen(x, other)
		open, known = open || o, known && k
	}
	return open, known
}

func plan(_ context.Context, p *blocks.Planned, d *dsl.Decoded) (map[string]cty.Value, hcl.Diagnostics) {
	rule := makeRule(p, d, func(o *Optimizer) optim.Optimizer { return o.Rule })
	p.Block = &Optimizer{rule, func(word string) (optim.Optimizer, bool) {
		keeps := leavesOpen(d)
		as := d
		if keeps {
			as = d.With("state_dtype", cty.StringVal(word))
		}
		rule := makeRule(p, as, func(o *Optimizer) optim.Optimizer {
			x, also := o.Keeping(word)
			keeps = keeps || also
			return x
		})
		return rule, keeps
	}}
	return map[string]cty.Value{}, nil
}

// makeRule makes the rule of a block, from those of the optimizers that it names.
func makeRule(p *blocks.Planned, d *dsl.Decoded, of func(*Optimizer) optim.Optimizer) optim.Optimizer {
	other := func(attr string) optim.Optimizer {
		if ref, _, ok := d.Ref(attr); ok {
			return of(p.Use(ref).(*Optimizer))
		}
		return nil
	}
	rule := types[p.Addr.Type](d, other)
	all := optim.Groups{Main: rule}
	for _, g := range groups {
		if o := other(g.attr); o != nil {
			all.List = append(all.List, optim.Group{Kinds: g.kinds, Optimizer: o})
		}
	}
	if len(all.List) == 0 {
		return rule
	}
	all.List = append(all.List, optim.Group{Optimizer: rule})
	return all
}
