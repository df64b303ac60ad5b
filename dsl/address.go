package dsl

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// readAddress reads an attribute that names a block or an instance, such as stage.a or stage.grid["x"]. module says that
// it may name a module.
func readAddress(at *hclsyntax.Attribute, module bool) (a addr.Addr, problem *hcl.Diagnostic) {
	return addressIn(at.Name, at.Expr, module)
}

// addressIn reads an expression, of an attribute of this name, that names a block or an instance, or if module says so a
// module.
func addressIn(attr string, e hcl.Expression, module bool) (a addr.Addr, problem *hcl.Diagnostic) {
	bad := func(why string) (addr.Addr, *hcl.Diagnostic) {
		return a, failure(e.Range(), "Not an address", "%s takes the address of a block or an instance, written "+
			"without quotes, such as stage.seed, tokenizer.bpe.small or stage.grid[\"a\"]%s.", attr, why)
	}
	t, diags := hcl.AbsTraversalForExpr(e)
	if diags.HasErrors() {
		return bad("")
	}
	text := TraversalText(t)
	a, err := addr.ParseAny(text)
	if err == nil && a.IsModule() && module {
		return a, nil
	}
	if k := KindOf(a.Kind); err != nil || k == nil || !k.Repeat {
		if text != "" {
			text = ", not " + text
		}
		return bad(text)
	}
	return a, nil
}

// TraversalText writes a traversal as the language does; "" for one with other steps than names and keys.
func TraversalText(t hcl.Traversal) string {
	var b strings.Builder
	for _, step := range t {
		switch x := step.(type) {
		case hcl.TraverseRoot:
			b.WriteString(x.Name)
		case hcl.TraverseAttr:
			b.WriteString("." + x.Name)
		case hcl.TraverseIndex:
			switch {
			case x.Key.Type() == cty.String:
				b.WriteString("[" + addr.StringKey(x.Key.AsString()) + "]")
			case x.Key.Type() == cty.Number:
				b.WriteString("[" + Show(x.Key) + "]")
			default:
				return ""
			}
		default:
			return ""
		}
	}
	return b.String()
}
