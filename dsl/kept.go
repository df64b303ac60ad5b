package dsl

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// DecodeKept is Decode with other values in place of what some attributes are configured to, by dotted name; cty.NilVal
// for one that counts as not given. The value of a block inside is its label.
func (s *Scope) DecodeKept(b *Block, each *Each, kept map[string]cty.Value) (*Decoded, hcl.Diagnostics) {
	var e *Each
	if each != nil && each.Key != "" {
		e = each
	}
	x := &decoder{block: b, scope: s, ctx: s.context(b.in, b.uses, e), secrets: s.config.Secrets, meter: s.config.meter, kept: kept}
	d := x.body(b.body, b.Kind.Attrs, b.Kind.Blocks, b.Addr.Type, "", b.DeclRange)
	return d, s.config.Secrets.Diagnostics(x.diags)
}

// keep sets an attribute to a value that it is not configured to.
func (x *decoder) keep(d *Decoded, a *Attr, v cty.Value, want cty.Type) {
	d.ranges[a.Name], d.exprs[a.Name] = d.Range, hcl.StaticExpr(v, d.Range)
	x.set(d, a, v, want)
}

// inside returns the blocks of a row in a body, at most one if the row does not repeat. name is the row's dotted name.
func (x *decoder) inside(b *hclsyntax.Body, n *Nested, name string, header hcl.Range) []made {
	list := x.made(b, n)
	label, keep := x.kept[name]
	switch {
	case !keep:
		return list
	case label == cty.NilVal:
		return nil
	}
	ctx := x.ctx
	kept := hclsyntax.Block{Type: n.Name, TypeRange: header, OpenBraceRange: header,
		Body: &hclsyntax.Body{SrcRange: header, EndRange: header}}
	if len(list) > 0 {
		kept, ctx = *list[0].Block, list[0].ctx
	}
	kept.Labels, kept.LabelRanges = nil, nil
	if n.Label != nil {
		kept.Labels = []string{label.AsString()}
	}
	return []made{{&kept, ctx, false}}
}
