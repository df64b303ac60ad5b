package dsl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// indexing lists the summaries of HCL's errors about an element that a value does not have. They do not name the value.
var indexing = []string{"Attempt to index null value", "Attempt to get attribute from null value", "Invalid index"}

// explainIndex names the value in such errors, and says why it may be null, or how many elements it has.
func explainIndex(e hcl.Expression, ctx *hcl.EvalContext, diags hcl.Diagnostics) {
	node, ok := e.(hclsyntax.Node)
	if !ok {
		return
	}
	for _, d := range diags {
		if d.Subject == nil || !slices.Contains(indexing, d.Summary) {
			continue
		}
		in := ctx
		if d.EvalContext != nil {
			in = d.EvalContext // of a loop
		}
		at, v := stepped(node, in, *d.Subject)
		if at == nil || v.IsMarked() {
			continue
		}
		name := TraversalText(at)
		switch t := v.Type(); {
		case v.IsNull():
			d.Detail = fmt.Sprintf("%s is null, so it has no elements.%s", name, meaning(at))
		case v.IsKnown() && (t.IsListType() || t.IsTupleType()):
			d.Detail = fmt.Sprintf("%s has %s.", name, indices(v.LengthInt()))
		}
	}
}

// indices says how many elements a list has, and their indices.
func indices(n int) string {
	switch n {
	case 0:
		return "no elements"
	case 1:
		return "one element, [0]"
	}
	return fmt.Sprintf("%d elements, [0] to [%d]", n, n-1)
}

// stepped finds the reference that is indexed at a place, and its value; nil if there is none.
func stepped(node hclsyntax.Node, ctx *hcl.EvalContext, place hcl.Range) (at hcl.Traversal, v cty.Value) {
	_ = hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
		switch x := n.(type) {
		case *hclsyntax.ScopeTraversalExpr:
			for i, step := range x.Traversal {
				if i > 0 && step.SourceRange() == place {
					at = x.Traversal[:i]
				}
			}
		case *hclsyntax.IndexExpr:
			if x.BracketRange == place {
				at, _ = hcl.AbsTraversalForExpr(x.Collection)
			}
		}
		return nil
	})
	if at == nil {
		return nil, cty.NilVal
	}
	v, diags := at.TraverseAbs(ctx)
	if diags.HasErrors() {
		return nil, cty.NilVal
	}
	return at, v
}

// meaning returns the description of a value that a block offers, as a sentence; "" for other values.
func meaning(t hcl.Traversal) string {
	k := KindOf(t.RootName())
	last, ok := t[len(t)-1].(hcl.TraverseAttr)
	if k == nil || !ok {
		return ""
	}
	for _, e := range k.Exports {
		if e.Name == last.Name {
			return " It is: " + strings.ReplaceAll(e.Doc, "`", "")
		}
	}
	return ""
}
