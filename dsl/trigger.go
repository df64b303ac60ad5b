package dsl

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// Trigger is a block, or a value that a block exports, whose change makes another block run again.
type Trigger struct {
	Name  string    // as written
	Block addr.Addr // the block, or an instance of it; the zero Addr where the trigger is a value
	in    *module
	expr  hcl.Expression
	uses  []reference
}

// readTriggers reads replace_triggered_by. What it names is resolved later.
func (block *Block) readTriggers(a *hclsyntax.Attribute) (diags hcl.Diagnostics) {
	list, d := hcl.ExprList(a.Expr)
	if d.HasErrors() {
		return hcl.Diagnostics{notTrigger(a.Expr.Range())}
	}
	for _, e := range list {
		t, d := hcl.AbsTraversalForExpr(e)
		name := TraversalText(t)
		if d.HasErrors() || name == "" || KindOf(t.RootName()) == nil && t.RootName() != "module" {
			diags = append(diags, notTrigger(e.Range()))
			continue
		}
		x := &Trigger{Name: name, in: block.in, expr: e}
		if at, err := addr.Parse(name); err == nil {
			x.Block = at.In(block.in.path)
		}
		block.Lifecycle.Triggers = append(block.Lifecycle.Triggers, x)
	}
	return diags
}

func notTrigger(at hcl.Range) *hcl.Diagnostic {
	return failure(at, "Not a trigger", "replace_triggered_by takes a list of blocks and of values that they offer, such as "+
		"[tokenizer.bpe.small, evaluate.perplexity.p.loss]. Changes of variables and locals are those of the attributes that "+
		"use them.")
}

// triggerRefs resolves what triggers name.
func (b *Block) triggerRefs() (refs []reference, diags hcl.Diagnostics) {
	for _, x := range b.Lifecycle.Triggers {
		t, _ := hcl.AbsTraversalForExpr(x.expr)
		r, d := b.in.refOf(t, false)
		if diags = append(diags, d...); !d.HasErrors() {
			x.uses = r
			refs = append(refs, r...)
		}
	}
	return refs, diags
}

// Trigger evaluates a trigger that is a value.
func (s *Scope) Trigger(x *Trigger) (cty.Value, hcl.Diagnostics) {
	v, diags := x.expr.Value(s.context(x.in, x.uses, nil))
	return v, s.config.Secrets.Diagnostics(diags)
}
