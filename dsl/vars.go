package dsl

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Variable is an input with its value.
type Variable struct {
	Name        string
	Description string
	Type        cty.Type
	Sensitive   bool
	Value       cty.Value // marked when sensitive; unknown if there was an error
	Source      string    // "default", "environment", a file or "-var"
	Range       hcl.Range
	hasDefault  bool
	fallback    cty.Value // the default
	notNull     bool      // nullable = false: null stands for the default
	literal     bool      // text for it is taken as it is, not as an expression
	optional    *typeexpr.Defaults
	validations []*hclsyntax.Block
	uses        []reference // of its validations, once they are read
	read        bool
	secrets     *Secrets // collects its values if it is sensitive
}

// addVariable reads the declaration of a variable.
func (m *module) addVariable(b *hclsyntax.Block) (diags hcl.Diagnostics) {
	c := m.config
	if len(b.Labels) != 1 {
		return hcl.Diagnostics{failure(b.DefRange(), "Wrong number of labels", `Write variable "NAME" { … }.`)}
	}
	v := &Variable{Name: b.Labels[0], Type: cty.DynamicPseudoType, Range: b.DefRange(), Value: cty.DynamicVal,
		secrets: c.Secrets, literal: true}
	if taken := attrNames(moduleKind.Attrs, ""); m.path != "" && slices.Contains(taken, v.Name) {
		return hcl.Diagnostics{failure(b.LabelRanges[0], "Invalid name", "A variable of a module cannot be called %s, which "+
			"means something else where the module is called. Give it another name.", v.Name)}
	}
	if old := m.variables[v.Name]; old != nil {
		return hcl.Diagnostics{duplicate("var."+v.Name, v.Range, old.Range)}
	}
	m.variables[v.Name] = v
	diags = checkBody(b.Body, Meta[0].Attrs, Meta[0].Blocks, "", "variable "+v.Name, rules{})
	for _, sub := range b.Body.Blocks {
		if sub.Type == "validation" {
			v.validations = append(v.validations, sub)
		}
	}
	body := b.Body
	if a := body.Attributes["type"]; a != nil {
		t, optional, d := typeexpr.TypeConstraintWithDefaults(a.Expr)
		diags = append(diags, d...)
		if !d.HasErrors() {
			v.Type, v.optional, v.literal = t, optional, t.IsPrimitiveType()
		}
	}
	if a := body.Attributes["description"]; a != nil {
		x, d := a.Expr.Value(&hcl.EvalContext{Functions: c.functions})
		diags = append(diags, d...)
		if x.Type() == cty.String && x.IsKnown() && !x.IsNull() {
			v.Description = x.AsString()
		}
	}
	sensitive, d := c.flag(body, "sensitive", false)
	diags = append(diags, d...)
	nullable, d := c.flag(body, "nullable", true)
	diags = append(diags, d...)
	v.Sensitive, v.notNull = sensitive, !nullable
	if a := body.Attributes["default"]; a != nil {
		diags = append(diags, c.setDefault(v, a.Expr)...)
	}
	return diags
}

// flag reads an attribute of a variable that is true or false.
func (c *Config) flag(b *hclsyntax.Body, name string, otherwise bool) (bool, hcl.Diagnostics) {
	a := b.Attributes[name]
	if a == nil {
		return otherwise, nil
	}
	x, diags := a.Expr.Value(&hcl.EvalContext{Functions: c.functions})
	if diags.HasErrors() {
		return otherwise, diags
	}
	x, _ = x.Unmark()
	y, err := convert.Convert(x, cty.Bool)
	if err != nil || !y.IsKnown() || y.IsNull() {
		return otherwise, append(diags, failure(a.Expr.Range(), "Wrong type", "%s must be true or false.", name))
	}
	return y.True(), diags
}

// setDefault evaluates the default of a variable.
func (c *Config) setDefault(v *Variable, e hclsyntax.Expression) hcl.Diagnostics {
	x, diags := e.Value(&hcl.EvalContext{Functions: c.functions})
	v.hasDefault = true
	c.conceal(v, e.Range())
	switch {
	case diags.HasErrors():
	case v.notNull && x.IsNull():
		diags = append(diags, failure(e.Range(), "Null default",
			"var.%s has nullable = false, so its default cannot be null.", v.Name))
	default:
		diags = append(diags, v.set(c.meter, x, "default", e.Range().Ptr())...)
		v.fallback = v.Value
	}
	return diags
}

// set gives the variable a value.
func (v *Variable) set(m *meter, x cty.Value, source string, subject *hcl.Range) (diags hcl.Diagnostics) {
	v.Source = source
	v.Value, diags = v.convert(m, x, source, subject)
	return diags
}

// convert converts a value to the variable's type.
func (v *Variable) convert(m *meter, x cty.Value, source string, subject *hcl.Range) (cty.Value, hcl.Diagnostics) {
	if v.Sensitive {
		v.secrets.AddAll(x)
	}
	fail := func(why string) (cty.Value, hcl.Diagnostics) {
		if v.Sensitive || x.ContainsMarked() {
			why = "a sensitive value, which is not shown, is not one"
		}
		return cty.DynamicVal, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong type", Subject: subject,
			Detail: fmt.Sprintf("var.%s takes %s; the value from %s cannot be one: %s.",
				v.Name, v.wanted(), source, why)}}
	}
	if x.IsNull() && v.notNull {
		if !v.hasDefault {
			return fail("it is null, and nullable is false")
		}
		return v.fallback, nil
	}
	if v.optional != nil && !x.IsNull() {
		x = v.optional.Apply(x)
	}
	y, err := m.convertTo(x, v.Type)
	if err != nil {
		return fail(problemAt(err))
	}
	if _, err := weigh(y); err != nil {
		return fail(err.Error())
	}
	if v.Sensitive {
		y = y.Mark(Sensitive)
	}
	return y, nil
}

// problemAt writes a conversion's error with the place inside the value.
func problemAt(err error) string {
	var p cty.PathError
	if !errors.As(err, &p) || len(p.Path) == 0 {
		return err.Error()
	}
	var at strings.Builder
	for _, step := range p.Path {
		switch s := step.(type) {
		case cty.GetAttrStep:
			at.WriteString("." + s.Name)
		case cty.IndexStep:
			at.WriteString("[" + Show(s.Key) + "]")
		}
	}
	return strings.TrimPrefix(at.String(), ".") + ": " + err.Error()
}

// unknown is a value of the variable that is not known.
func (v *Variable) unknown() cty.Value {
	x := cty.UnknownVal(v.Type.WithoutOptionalAttributesDeep())
	if v.Sensitive {
		x = x.Mark(Sensitive)
	}
	return x
}

// secretive reports whether any variable is sensitive. Then messages quote no given value, since a slip may have put a
// sensitive one in the wrong place.
func (c *Config) secretive() bool {
	for _, v := range c.Variables {
		if v.Sensitive {
			return true
		}
	}
	return false
}

// conceal keeps the source of a sensitive value out of snippets.
func (c *Config) conceal(v *Variable, r hcl.Range) {
	if v.Sensitive {
		c.concealed[r.Filename] = append(c.concealed[r.Filename], r)
	}
}
