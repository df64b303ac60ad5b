package dsl

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// Sources lists the blocks of a kind that has no types, or their instances, whose values an attribute uses, directly or through local
// values and inputs and outputs of modules. Where the condition of a conditional is known, only the side that is taken counts.
// Instances whose keys a loop gives are left out.
func (d *Decoded) Sources(attr, kind string) []addr.Addr {
	e, ok := d.exprs[attr].(hclsyntax.Expression)
	if !ok || d.in == nil || d.scope == nil {
		return nil
	}
	x := sourceFinder{scope: d.scope, kind: kind, seen: map[*named]bool{}}
	x.follow(e, d.in, d.ctx)
	return x.found
}

// sourceFinder follows expressions to the blocks of a kind.
type sourceFinder struct {
	scope *Scope
	kind  string
	seen  map[*named]bool
	found []addr.Addr
}

// follow looks for blocks in an expression of a module.
func (x *sourceFinder) follow(e hclsyntax.Expression, m *module, ctx *hcl.EvalContext) {
	switch e := e.(type) {
	case *hclsyntax.ConditionalExpr:
		v, diags := e.Condition.Value(ctx)
		v, _ = v.Unmark()
		known := !diags.HasErrors() && v.Type() == cty.Bool && v.IsKnown() && !v.IsNull()
		if !known || v.True() {
			x.follow(e.TrueResult, m, ctx)
		}
		if !known || v.False() {
			x.follow(e.FalseResult, m, ctx)
		}
	case *hclsyntax.ParenthesesExpr:
		x.follow(e.Expression, m, ctx)
	case *hclsyntax.RelativeTraversalExpr:
		x.follow(e.Source, m, ctx)
	case *hclsyntax.BinaryOpExpr:
		x.follow(e.LHS, m, ctx)
		x.follow(e.RHS, m, ctx)
	case *hclsyntax.FunctionCallExpr:
		for _, a := range e.Args {
			x.follow(a, m, ctx)
		}
	case *hclsyntax.IndexExpr:
		if t, ok := e.Collection.(*hclsyntax.ScopeTraversalExpr); ok && t.Traversal.RootName() == x.kind && len(t.Traversal) == 2 {
			x.add(e.Value(ctx))
			return
		}
		x.follow(e.Collection, m, ctx)
	default:
		for _, t := range e.Variables() {
			x.name(t, m, ctx)
		}
	}
}

// name follows a name to the expression that it stands for.
func (x *sourceFinder) name(t hcl.Traversal, m *module, ctx *hcl.EvalContext) {
	switch t.RootName() {
	case x.kind:
		n := min(2, len(t))
		if len(t) > 2 {
			if _, keyed := t[2].(hcl.TraverseIndex); keyed {
				n = 3
			}
		}
		x.add(t[:n].TraverseAbs(ctx))
	case "local", "var", "module":
		refs, _ := m.refOf(t, true)
		for _, r := range refs {
			n := x.scope.config.named[r.addr]
			if n == nil || n.expr == nil || x.seen[n] {
				continue
			}
			x.seen[n] = true
			x.follow(n.expr, n.in, x.scope.context(n.in, n.resolve(), n.each))
		}
	}
}

// add notes a block by its value.
func (x *sourceFinder) add(v cty.Value, diags hcl.Diagnostics) {
	v, _ = v.Unmark()
	if diags.HasErrors() || !v.IsKnown() || v.IsNull() || !v.Type().IsObjectType() || !v.Type().HasAttribute("address") {
		return
	}
	a, _ := v.GetAttr("address").Unmark()
	if a.Type() != cty.String || !a.IsKnown() || a.IsNull() {
		return
	}
	if at, err := addr.Parse(a.AsString()); err == nil && !slices.Contains(x.found, at) {
		x.found = append(x.found, at)
	}
}
