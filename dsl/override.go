package dsl

import (
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// override is an override block of a test.
type override struct {
	target addr.Addr
	values *hclsyntax.Attribute
	rng    hcl.Range
}

// newOverride reads an override block; nil if it is not valid.
func newOverride(b *hclsyntax.Block) (*override, hcl.Diagnostics) {
	target, values := b.Body.Attributes["target"], b.Body.Attributes["values"]
	if target == nil || values == nil {
		return nil, nil // reported already
	}
	x, problem := readAddress(target, false)
	switch {
	case problem != nil:
		return nil, hcl.Diagnostics{problem}
	case x.Key != "":
		return nil, hcl.Diagnostics{failure(target.Expr.Range(), "Not a block", "An override changes all instances of a "+
			"block: write target = %s.", x.Block())}
	}
	if _, d := hcl.ExprMap(values.Expr); d.HasErrors() {
		return nil, hcl.Diagnostics{notAttributes(values.Expr, "values")}
	}
	return &override{x, values, b.DefRange()}, nil
}

// notAttributes is the error of a value that is not an object of attributes.
func notAttributes(e hcl.Expression, name string) *hcl.Diagnostic {
	return failure(e.Range(), "Not attributes", "%s takes attributes, written out as an object: { layers = 1 }.", name)
}

// overridden returns the body of a block as the test changes it.
func (c *Config) overridden(b *Block, body *hclsyntax.Body) (*hclsyntax.Body, hcl.Diagnostics) {
	if c.test == nil {
		return body, nil
	}
	body, diags := c.test.mocked(b.Addr, body)
	for _, o := range c.test.overrides {
		if o.target.Covers(b.Addr) {
			var d hcl.Diagnostics
			body, d = c.edited(b, o, body)
			diags = append(diags, d...)
		}
	}
	return body, diags
}

// edited returns the body of a block with the attributes of an override.
func (c *Config) edited(b *Block, o *override, body *hclsyntax.Body) (*hclsyntax.Body, hcl.Diagnostics) {
	nested := slices.DeleteFunc(slices.Clone(b.Kind.Blocks), func(n Nested) bool { return !only(n.Only, b.Addr.Type) })
	e := &editor{meter: c.meter}
	return e.edit(body, o.values.Expr, nested), e.diags
}

// editor changes the source of blocks.
type editor struct {
	meter *meter
	diags hcl.Diagnostics
}

// edit returns a body with other attributes, also in the blocks in it.
func (e *editor) edit(b *hclsyntax.Body, values hcl.Expression, nested []Nested) *hclsyntax.Body {
	body := *b
	body.Attributes, body.Blocks = maps.Clone(b.Attributes), slices.Clone(b.Blocks)
	if body.Attributes == nil {
		body.Attributes = hclsyntax.Attributes{}
	}
	pairs, _ := hcl.ExprMap(values)
	for _, p := range pairs {
		k, d := p.Key.Value(nil)
		x, ok := p.Value.(hclsyntax.Expression)
		if d.HasErrors() || k.Type() != cty.String || !k.IsKnown() || k.IsNull() || !ok {
			e.diags = append(e.diags, failure(p.Key.Range(), "Not a name", "Write the names of attributes as they are."))
			continue
		}
		name := k.AsString()
		if i := slices.IndexFunc(nested, func(n Nested) bool { return n.Name == name }); i >= 0 {
			e.within(&body, &nested[i], p.Key.Range(), x)
			continue
		}
		body.Attributes[name] = &hclsyntax.Attribute{Name: name, Expr: e.meter.guard(x, guard{whole: true}),
			SrcRange: hcl.RangeBetween(p.Key.Range(), x.Range()), NameRange: p.Key.Range()}
	}
	return &body
}

// within changes the blocks of a name in a body.
func (e *editor) within(body *hclsyntax.Body, n *Nested, at hcl.Range, values hclsyntax.Expression) {
	if v, d := values.Value(nil); !d.HasErrors() && v.IsNull() {
		body.Blocks = slices.DeleteFunc(body.Blocks, func(b *hclsyntax.Block) bool { return b.Type == n.Name })
		return
	}
	if _, d := hcl.ExprMap(values); d.HasErrors() {
		e.diags = append(e.diags, notAttributes(values, n.Name))
		return
	}
	found := false
	for i, b := range body.Blocks {
		if b.Type == n.Name {
			changed := *b
			changed.Body, found = e.edit(b.Body, values, n.Blocks), true
			body.Blocks[i] = &changed
		}
	}
	switch {
	case found:
	case n.Label != nil:
		e.diags = append(e.diags, failure(at, "No such block", "The block has no %s block whose attributes could be changed.",
			n.Name))
	default:
		empty := &hclsyntax.Body{SrcRange: at, EndRange: at}
		body.Blocks = append(body.Blocks, &hclsyntax.Block{Type: n.Name, Body: e.edit(empty, values, n.Blocks),
			TypeRange: at, OpenBraceRange: at, CloseBraceRange: at})
	}
}

// mocked returns the body of a block of data with generated documents, if the test has some for its type.
func (t *loadedTest) mocked(a addr.Addr, b *hclsyntax.Body) (*hclsyntax.Body, hcl.Diagnostics) {
	if a.Kind != "data" || t.in.Mock == nil {
		return b, nil
	}
	i := slices.IndexFunc(t.mocks, func(m *Mock) bool { return m.Type == a.Type })
	if i < 0 {
		return b, nil
	}
	m := t.mocks[i]
	values, err := t.in.Mock(a, m)
	if err != nil {
		return b, hcl.Diagnostics{failure(m.Range, "No documents", "The documents of %s could not be made: %v.", a, err)}
	}
	body := *b
	body.Attributes = maps.Clone(b.Attributes)
	for name, v := range values {
		if v == cty.NilVal {
			delete(body.Attributes, name)
			continue
		}
		body.Attributes[name] = &hclsyntax.Attribute{Name: name, SrcRange: m.Range, NameRange: m.Range,
			Expr: &hclsyntax.LiteralValueExpr{Val: v, SrcRange: m.Range}}
	}
	return &body, nil
}
