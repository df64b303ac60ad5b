package dsl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// checkInputs reports inputs that a module does not declare, and those that are missing.
func (x *call) checkInputs(m *module) (diags hcl.Diagnostics) {
	given := map[string]bool{}
	names := slices.Sorted(maps.Keys(m.variables))
	for _, a := range x.inputs {
		given[a.Name] = true
		if m.variables[a.Name] != nil || x.source == nil {
			continue
		}
		hint := insteadOr(a.Name, append(attrNames(moduleKind.Attrs, ""), names...))
		if len(names) > 0 && hint == "" {
			hint = " It declares " + strings.Join(names, ", ") + "."
		}
		diags = append(diags, failure(a.NameRange, "Unknown input", "The module %s declares no variable %q.%s",
			x, a.Name, hint))
	}
	for _, name := range names {
		if v := m.variables[name]; !given[name] && !v.hasDefault {
			diags = append(diags, failure(x.rng, "Missing input", "%s needs %s: the variable at %s has no default. Write %s = "+
				"… here.", x, name, place(v.Range), name))
		}
	}
	return diags
}

// bind gives a module the inputs of its call.
func (m *module) bind(x *call, each *Each) {
	if !x.repeated() {
		each = nil
	}
	given := map[string]*hclsyntax.Attribute{}
	for _, a := range x.inputs {
		given[a.Name] = a
	}
	for _, name := range slices.Sorted(maps.Keys(m.variables)) {
		v := m.variables[name]
		n := m.name("var", name, v.Range)
		n.variable, n.in, n.each, n.of, m.inputOf[name] = v, x.in, each, x, n
		switch a := given[name]; {
		case a != nil:
			n.expr = a.Expr
			m.config.conceal(v, a.Expr.Range())
		case v.hasDefault:
			n.expr = &hclsyntax.LiteralValueExpr{Val: v.fallback, SrcRange: v.Range}
		default:
			n.expr, n.variable = nothing(x.rng), nil
		}
	}
}

// input converts the value of an input to the type of the variable, and checks it.
func (s *Scope) input(n *named, v *namedValue) {
	at := n.expr.Range()
	v.value, v.diags = n.variable.convert(s.config.meter, v.value, "the caller", &at)
	if v.diags.HasErrors() {
		v.value = cty.DynamicVal
		return
	}
	m := s.config.moduleOf(n.addr.Module)
	m.readValidations(n.variable)
	values := map[string]cty.Value{}
	for _, r := range n.variable.uses {
		x, ok := s.value(r.addr)
		if !ok {
			x = cty.DynamicVal
		}
		values[r.addr.Name] = x
	}
	for _, b := range n.variable.validations {
		v.diags = append(v.diags, s.config.validate(n.variable, b, values)...)
	}
	for _, d := range v.diags {
		d.Detail = adds(d, fmt.Sprintf(" The value is passed at %s.", place(at)))
	}
	if v.diags.HasErrors() {
		v.value = n.variable.unknown()
	}
}

// lazy notes that each.value is known later than the keys are.
func (x *call) lazy() {
	x.each = &named{addr: addr.Addr{Module: x.path(), Kind: "for_each"}, rng: x.rng, expr: x.forEach, in: x.in}
	x.in.names = append(x.in.names, x.each)
	x.in.config.named[x.each.addr] = x.each
}

// of returns the instance with each.value taken from the value of for_each.
func (e *Each) of(all cty.Value) *Each {
	now := *e
	now.Value = cty.DynamicVal
	all, marks := all.Unmark()
	switch key := e.Name; {
	case !all.IsKnown() || all.IsNull():
	case all.Type().IsObjectType() && all.Type().HasAttribute(key.AsString()):
		now.Value = all.GetAttr(key.AsString())
	case all.Type().IsMapType() && all.HasIndex(key).True():
		now.Value = all.Index(key)
	}
	now.Value = now.Value.WithMarks(marks)
	return &now
}
