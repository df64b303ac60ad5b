package dsl

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Lifecycle is what a block says of its own life: what must be true before and after it. None of it is part of what it
// makes.
type Lifecycle struct {
	Before []*Condition
	After  []*Condition
}

// lifecycleBlock is the row of the schema for a block that runs.
var lifecycleBlock = Nested{Name: "lifecycle",
	Doc: "What must be true before and after the block. Nothing here changes what the block makes, so a change of it " +
		"never trains anything again. See [lifecycle.md](lifecycle.md).",
	Blocks: []Nested{
		{Name: "precondition", Repeat: true,
			Doc: "Must be true before the block runs. It is tested in the plan as soon as its values are known, else " +
				"before the block runs.",
			Attrs: conditionAttrs("An expression of variables, locals and other blocks.")},
		{Name: "postcondition", Repeat: true,
			Doc:   "Must be true of what the block made, or nothing that refers to the block runs. The result is kept.",
			Attrs: conditionAttrs("As in a precondition; `self` is the block itself, as in `self.loss`.")},
	}}

// lifecycleOf returns the row of the schema for blocks of a kind.
func lifecycleOf(*Kind) Nested { return lifecycleBlock }

// writeLifecycle writes the section of what every block may have.
func writeLifecycle(b *strings.Builder) {
	writeNested(b, []Nested{lifecycleBlock}, "## ")
}

// readLifecycle takes depends_on and the lifecycle block out of a body; checkBody reports what is wrong with its form.
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
	body.Blocks = slices.DeleteFunc(slices.Clone(b.Blocks), func(x *hclsyntax.Block) bool { return x.Type == "lifecycle" })
	for _, sub := range b.Blocks {
		if sub.Type == "lifecycle" {
			block.conditions(sub.Body)
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
			if x := newCondition(sub, "Precondition failed"); x != nil {
				l.Before = append(l.Before, x)
			}
		case "postcondition":
			if x := newCondition(sub, "Postcondition failed"); x != nil {
				l.After = append(l.After, x)
			}
		}
	}
}

// lifecycleRefs resolves what a block names outside its attributes.
func (c *Config) lifecycleRefs(b *Block) (refs []reference, diags hcl.Diagnostics) {
	for _, e := range b.after {
		a, problem := addressIn("depends_on", e)
		if problem == nil && c.byAddr[a.Block()] == nil {
			problem = c.noBlock(a.Block(), e.Range())
		}
		if problem != nil {
			diags = append(diags, problem)
			continue
		}
		refs = append(refs, reference{a.Block(), e.Range()})
	}
	repeated := b.exampleKey() != ""
	for _, x := range b.Lifecycle.Before {
		r, d := x.refs(c, repeated, nil)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	for _, x := range b.Lifecycle.After {
		r, d := x.refs(c, repeated, b)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	return refs, diags
}
