package dsl

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Lifecycle is what a block says of its own life: what must be true before and after it, and what may become of its
// result. None of it is part of what it makes.
type Lifecycle struct {
	Before []*Condition
	After  []*Condition

	PreventDestroy bool        // nothing throws its result and its trained steps away
	Ignore         []Ignorable // whose changes do not make it run again
	Triggers       []*Trigger
}

// lifecycleBlock is the row of the schema for a block that runs.
var lifecycleBlock = Nested{Name: "lifecycle",
	Doc: "What must be true before and after the block, and what may become of its result.",
	Attrs: []Attr{
		{Name: "prevent_destroy", Type: cty.Bool, Default: cty.False,
			Doc: "Refuses what would throw away the block's result or trained steps. `true` or `false`, no expression."},
		{Name: "ignore_changes", Type: strings_,
			Doc: "Attributes and nested blocks such as `[seed, train.steps, train.schedule]`, or `all`: as long as there " +
				"is a result or a checkpoint that was made with others, those are kept. Of an attribute that names a " +
				"block, such as `train.data`, a result is kept, and no checkpoint."},
		{Name: "replace_triggered_by", Type: strings_,
			Doc: "Blocks, or values that they offer, such as `[evaluate.perplexity.p.loss]`, whose change makes " +
				"this block run again from its start."},
	},
	Blocks: []Nested{
		{Name: "precondition", Repeat: true,
			Doc: "Must be true before the block runs. It is tested in the plan as soon as its values are known, " +
				"else before the block runs.",
			Attrs: conditionAttrs("An expression of variables, locals and other blocks.")},
		{Name: "postcondition", Repeat: true,
			Doc:   "Must be true of what the block made, or nothing that refers to the block runs. The result is kept.",
			Attrs: conditionAttrs("As in a precondition; `self` is the block itself, as in `self.loss`.")},
	}}

// dependsOn is the row of the schema for an attribute that orders blocks.
var dependsOn = Attr{Name: "depends_on", Type: strings_,
	Doc: "List of blocks that must have run before, though nothing here names them."}

// lifecycleOf returns the row of the schema for blocks of a kind: of those that make nothing, only conditions.
func lifecycleOf(k *Kind) Nested {
	n := lifecycleBlock
	if !k.Runs {
		n.Attrs = nil
	}
	return n
}

// readLifecycle takes depends_on and the conditions out of a body, which are in its lifecycle block, or in an output
// itself; checkBody reports what is wrong with their form.
func (block *Block) readLifecycle(b *hclsyntax.Body) (diags hcl.Diagnostics) {
	body := *b
	block.body = &body
	body.Attributes = maps.Clone(b.Attributes)
	if a := b.Attributes["depends_on"]; a != nil {
		delete(body.Attributes, a.Name)
		var problem hcl.Diagnostics
		if block.after, problem = hcl.ExprList(a.Expr); problem.HasErrors() {
			diags = append(diags, failure(a.Expr.Range(), "Wrong type",
				"depends_on takes a list of blocks, such as [stage.seed]."))
		}
	}
	body.Blocks = slices.DeleteFunc(slices.Clone(b.Blocks), func(x *hclsyntax.Block) bool {
		return x.Type == lifecycleBlock.Name || x.Type == "precondition"
	})
	if !block.Kind.Repeat {
		block.conditions(b)
		return diags
	}
	for _, sub := range b.Blocks {
		if sub.Type == "lifecycle" {
			block.conditions(sub.Body)
			diags = append(diags, block.fate(sub.Body)...)
			break
		}
	}
	return diags
}

// conditions reads the conditions in a lifecycle block.
func (block *Block) conditions(b *hclsyntax.Body) {
	for _, sub := range b.Blocks {
		switch l := &block.Lifecycle; sub.Type {
		case "precondition":
			if x := newCondition(sub, block.Addr.String(), "Precondition failed"); x != nil {
				l.Before = append(l.Before, x)
			}
		case "postcondition":
			if x := newCondition(sub, block.Addr.String(), "Postcondition failed"); x != nil {
				l.After = append(l.After, x)
			}
		}
	}
}

// fate reads what may become of a block's result.
func (block *Block) fate(b *hclsyntax.Body) (diags hcl.Diagnostics) {
	if a := b.Attributes["prevent_destroy"]; a != nil && block.Kind.Runs {
		v, d := a.Expr.Value(nil)
		switch {
		case d.HasErrors():
			diags = append(diags, failure(a.Expr.Range(), "Not a constant",
				"prevent_destroy is true or false: what it protects may not depend on a variable."))
		case v.Type() != cty.Bool || v.IsNull():
			diags = append(diags, failure(a.Expr.Range(), "Wrong type", "prevent_destroy is true or false."))
		default:
			block.Lifecycle.PreventDestroy = v.True()
		}
	}
	if a := b.Attributes["ignore_changes"]; a != nil && block.Kind.Runs {
		diags = append(diags, block.ignore(a)...)
	}
	if a := b.Attributes["replace_triggered_by"]; a != nil && block.Kind.Runs {
		diags = append(diags, block.readTriggers(a)...)
	}
	return diags
}

// lifecycleRefs resolves what a block names outside its attributes.
func (b *Block) lifecycleRefs() (refs []reference, diags hcl.Diagnostics) {
	refs, diags = b.in.afterRefs(b.after)
	r, d := b.triggerRefs()
	refs, diags = append(refs, r...), append(diags, d...)
	repeated := b.exampleKey() != ""
	for _, x := range b.Lifecycle.Before {
		r, d := x.refs(b.in, repeated, nil)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	for _, x := range b.Lifecycle.After {
		r, d := x.refs(b.in, repeated, b)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	return refs, diags
}
