package dsl

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Inputs say where variables get their values, in the order of Terraform: later ones win. First comes the environment, then the files
// named *.auto.vars.hcl by name, then the command line.
type Inputs struct {
	Env   []string // KEY=value; STEPFLOW_VAR_name counts
	Flags []Flag
	Open  bool // a variable without a value is unknown, of its type, and no error
}

// Flag is one -var or -var-file, in the order of the command line.
type Flag struct {
	Var  string `json:"var,omitempty"`  // name=value
	File string `json:"file,omitempty"` // path
}

// Vars makes flags of -var.
func Vars(list ...string) (flags []Flag) {
	for _, s := range list {
		flags = append(flags, Flag{Var: s})
	}
	return flags
}

// EnvPrefix starts environment variables that set variables.
const EnvPrefix = "STEPFLOW_VAR_"

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
	literal     bool      // text given for it is taken as it is, not as an expression
	optional    *typeexpr.Defaults
	validations []*hclsyntax.Block
	uses        []reference // of its validations
	secrets     *Secrets    // takes the values of a sensitive one
}

func (c *Config) addVariable(b *hclsyntax.Block) (diags hcl.Diagnostics) {
	if len(b.Labels) != 1 {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong number of labels", Subject: b.DefRange().Ptr(), Detail: `Write variable "NAME" { … }.`}}
	}
	v := &Variable{Name: b.Labels[0], Type: cty.DynamicPseudoType, Range: b.DefRange(), Value: cty.DynamicVal, secrets: c.Secrets}
	if old := c.Variables[v.Name]; old != nil {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Duplicate name", Subject: v.Range.Ptr(),
			Detail: fmt.Sprintf("var.%s is already declared at %s. Give one of the two another name.", v.Name, place(old.Range))}}
	}
	c.Variables[v.Name] = v
	meta := Meta[0]
	for _, sub := range b.Body.Blocks {
		if sub.Type == "validation" {
			v.validations = append(v.validations, sub)
			diags = append(diags, checkBody(sub.Body, meta.Blocks[0].Attrs, nil, "", "the validation of var."+v.Name, nil)...)
		} else {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown block", Subject: sub.TypeRange.Ptr(),
				Detail: fmt.Sprintf("A variable has no block %q.%s", sub.Type, Suggest(sub.Type, []string{"validation"}))})
		}
	}
	diags = append(diags, checkBody(&hclsyntax.Body{Attributes: b.Body.Attributes, SrcRange: b.Body.SrcRange, EndRange: b.Body.EndRange}, meta.Attrs, nil, "", "variable "+v.Name, nil)...)
	ctx := &hcl.EvalContext{Functions: c.functions}
	v.literal = true
	if a := b.Body.Attributes["type"]; a != nil {
		t, optional, d := typeexpr.TypeConstraintWithDefaults(a.Expr)
		diags = append(diags, d...)
		if !d.HasErrors() {
			v.Type, v.optional, v.literal = t, optional, t.IsPrimitiveType()
		}
	}
	if a := b.Body.Attributes["description"]; a != nil {
		x, d := a.Expr.Value(ctx)
		diags = append(diags, d...)
		if x.Type() == cty.String && x.IsKnown() && !x.IsNull() {
			v.Description = x.AsString()
		}
	}
	flag := func(name string, otherwise bool) bool {
		a := b.Body.Attributes[name]
		if a == nil {
			return otherwise
		}
		x, d := a.Expr.Value(ctx)
		diags = append(diags, d...)
		if d.HasErrors() {
			return otherwise
		}
		x, _ = x.Unmark()
		y, err := convert.Convert(x, cty.Bool)
		if err != nil || !y.IsKnown() || y.IsNull() {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Wrong type", Subject: a.Expr.Range().Ptr(), Detail: name + " must be true or false."})
			return otherwise
		}
		return y.True()
	}
	v.Sensitive, v.notNull = flag("sensitive", false), !flag("nullable", true)
	if a := b.Body.Attributes["default"]; a != nil {
		x, d := a.Expr.Value(ctx)
		diags = append(diags, d...)
		v.hasDefault = true
		c.conceal(v, a.Expr.Range())
		switch {
		case d.HasErrors():
		case v.notNull && x.IsNull():
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Null default", Subject: a.Expr.Range().Ptr(),
				Detail: fmt.Sprintf("var.%s has nullable = false, so its default cannot be null.", v.Name)})
		default:
			diags = append(diags, v.set(c.meter, x, "default", a.Expr.Range().Ptr())...)
			v.fallback = v.Value
		}
	}
	return diags
}

// set converts a value to the variable's type.
func (v *Variable) set(m *meter, x cty.Value, source string, subject *hcl.Range) hcl.Diagnostics {
	v.Source = source
	if v.Sensitive {
		v.secrets.AddAll(x)
	}
	fail := func(why string) hcl.Diagnostics {
		v.Value = cty.DynamicVal
		if v.Sensitive {
			why = "a sensitive value, which is not shown, is not one"
		}
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong type", Subject: subject,
			Detail: fmt.Sprintf("var.%s takes %s; the value from %s cannot be one: %s.", v.Name, typeexpr.TypeString(v.Type), source, why)}}
	}
	if x.IsNull() && v.notNull {
		if !v.hasDefault {
			return fail("it is null, and nullable is false")
		}
		v.Value = v.fallback
		return nil
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
	v.Value = y
	return nil
}

// problemAt is a conversion's error with the place inside the value.
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

// setText sets a value given as text. As in Terraform it stands for itself where the type is string, number, bool or not said;
// other types are given as expressions.
func (c *Config) setText(v *Variable, text, source string) hcl.Diagnostics {
	fail := func(why string) hcl.Diagnostics {
		v.Value, v.Source = cty.DynamicVal, source
		shown := fmt.Sprintf("%.60q", text)
		if v.Sensitive {
			shown, why = "a sensitive value", ""
		}
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong type", Detail: fmt.Sprintf("var.%s takes %s; %s from %s is not one.%s", v.Name, typeexpr.TypeString(v.Type), shown, source, why)}}
	}
	if v.Sensitive {
		v.secrets.AddAll(cty.StringVal(text))
	}
	if v.literal {
		if _, err := convert.Convert(cty.StringVal(text), v.Type); err != nil || !utf8.ValidString(text) {
			return fail("")
		}
		return v.set(c.meter, cty.StringVal(text), source, nil)
	}
	const hint = " Lists are written [\"a\", \"b\"], maps { a = \"b\" }."
	if d := checkNesting([]byte(text), source); len(text) > maxSource || d.HasErrors() {
		return fail(" It is too long, or nests too far.")
	}
	expr, d := hclsyntax.ParseExpression([]byte(text), source, hcl.InitialPos)
	if d.HasErrors() {
		return fail(hint)
	}
	expr, d = c.meter.guardExpr(expr)
	if d.HasErrors() {
		return fail(" " + d[0].Detail)
	}
	x, d := expr.Value(nil)
	if d.HasErrors() {
		return fail(hint)
	}
	return v.set(c.meter, x, source, nil)
}

func (c *Config) setVariables(in Inputs) (diags hcl.Diagnostics) {
	for _, kv := range in.Env {
		k, val, _ := strings.Cut(kv, "=")
		if name, ok := strings.CutPrefix(k, EnvPrefix); ok {
			if v := c.Variables[name]; v != nil { // others may be meant for another pipeline
				diags = append(diags, c.setText(v, val, "the environment variable "+k)...)
			}
		}
	}
	files, err := Sources(c.Dir)
	if err != nil {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unreadable folder", Detail: upperFirst(err.Error()) + "."})
	}
	for _, f := range files {
		if strings.HasSuffix(f, AutoVarSuffix) {
			diags = append(diags, c.varFile(f)...)
		}
	}
	for _, f := range in.Flags {
		if f.File != "" {
			diags = append(diags, c.varFile(f.File)...)
			continue
		}
		k, val, ok := strings.Cut(f.Var, "=")
		v := c.Variables[k]
		switch {
		case !ok:
			given := ""
			if !c.secretive() {
				given = fmt.Sprintf(" %.60q", f.Var)
			}
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Wrong -var", Detail: fmt.Sprintf("-var%s has no \"=\": write -var name=value.", given)})
		case v == nil:
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown variable", Detail: fmt.Sprintf("-var sets %q, which the pipeline does not declare.%s", k, Suggest(k, slices.Sorted(maps.Keys(c.Variables))))})
		default:
			diags = append(diags, c.setText(v, val, "-var")...)
		}
	}
	names := slices.Sorted(maps.Keys(c.Variables))
	for _, n := range names {
		v := c.Variables[n]
		switch unset := v.Source == "" && !v.hasDefault; {
		case unset && in.Open:
			v.forget()
		case unset:
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Missing variable", Subject: v.Range.Ptr(),
				Detail: fmt.Sprintf("var.%s has no default and was not set. Set it with -var %s=…, %s%s or a file given by -var-file.", n, n, EnvPrefix, n)})
		}
	}
	var refused []*Variable
	for _, n := range names {
		for _, b := range c.Variables[n].validations {
			d := c.validate(c.Variables[n], b)
			if diags = append(diags, d...); d.HasErrors() {
				refused = append(refused, c.Variables[n])
			}
		}
	}
	for _, v := range refused { // after all validations, which may name each other's variables: what follows from the values is not said
		v.forget()
	}
	return diags
}

// forget makes the value unknown.
func (v *Variable) forget() {
	v.Value = cty.UnknownVal(v.Type.WithoutOptionalAttributesDeep())
	if v.Sensitive {
		v.Value = v.Value.Mark(Sensitive)
	}
}

// secretive reports whether any variable is sensitive: then what was given for variables is not quoted, since a slip may
// have put it in the wrong place.
func (c *Config) secretive() bool {
	for _, v := range c.Variables {
		if v.Sensitive {
			return true
		}
	}
	return false
}

// validate evaluates one validation of a variable, in which variables have their values.
func (c *Config) validate(v *Variable, b *hclsyntax.Block) (diags hcl.Diagnostics) {
	cond, msg := b.Body.Attributes["condition"], b.Body.Attributes["error_message"]
	if cond == nil || msg == nil {
		return nil // reported already
	}
	vars := map[string]cty.Value{}
	for _, e := range []hclsyntax.Expression{cond.Expr, msg.Expr} {
		refs, d := c.refsOfExpr(e, false)
		diags = append(diags, d...)
		v.uses = append(v.uses, refs...)
		for _, r := range refs {
			if r.addr.Kind != "var" {
				diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Not a variable", Subject: r.rng.Ptr(),
					Detail: fmt.Sprintf("A validation is checked before anything else is known, so it can refer to variables only, not to %s.", r.addr)})
				continue
			}
			vars[r.addr.Name] = c.Variables[r.addr.Name].Value
		}
	}
	if diags.HasErrors() {
		return diags
	}
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(vars)}, Functions: c.functions}
	ok, d := cond.Expr.Value(ctx)
	diags = append(diags, d...)
	text, d := msg.Expr.Value(ctx)
	diags = append(diags, d...)
	if diags.HasErrors() {
		return diags
	}
	if bare, _ := text.Unmark(); bare.IsNull() {
		return append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Missing attribute", Subject: msg.Expr.Range().Ptr(),
			Detail: "error_message is null: say what is wrong when the condition is false."})
	}
	ok, _ = ok.Unmark()
	if ok.Type() != cty.Bool || !ok.IsKnown() || ok.IsNull() {
		if ok.IsKnown() {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Wrong type", Subject: cond.Expr.Range().Ptr(), Detail: "condition must be true or false."})
		}
		return diags
	}
	if ok.False() {
		m := "the condition is false"
		if text.Type() == cty.String && text.IsKnown() && !text.IsNull() && !text.IsMarked() {
			m = text.AsString()
		}
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid variable", Subject: cond.Expr.Range().Ptr(), Expression: cond.Expr, EvalContext: ctx,
			Detail: fmt.Sprintf("var.%s: %s", v.Name, m)})
	}
	return diags
}

// conceal keeps the source of a sensitive value out of excerpts.
func (c *Config) conceal(v *Variable, r hcl.Range) {
	if v.Sensitive {
		c.concealed[r.Filename] = append(c.concealed[r.Filename], r)
	}
}

// varFile reads a file of values. Where a variable is sensitive no line of it is kept to be shown.
func (c *Config) varFile(path string) (diags hcl.Diagnostics) {
	parser := hclparse.NewParser()
	body, diags := c.parse(parser, path)
	if body == nil || diags.HasErrors() {
		if c.secretive() {
			for _, d := range diags {
				if d.Subject != nil {
					d.Detail = "The file of variables does not parse here. What stands there is not shown, since it may be a sensitive value."
				}
			}
		}
		return diags
	}
	if !c.secretive() {
		maps.Copy(c.Files, parser.Files())
	}
	for _, b := range body.Blocks {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unexpected block", Subject: b.TypeRange.Ptr(), Detail: "A file of variables holds lines such as name = value, no blocks."})
	}
	for _, a := range sortedAttrs(body) {
		v := c.Variables[a.Name]
		if v == nil {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown variable", Subject: a.NameRange.Ptr(),
				Detail: fmt.Sprintf("The pipeline declares no variable %q.%s", a.Name, Suggest(a.Name, slices.Sorted(maps.Keys(c.Variables))))})
			continue
		}
		x, d := a.Expr.Value(nil)
		if d.HasErrors() {
			v.Value, v.Source = cty.DynamicVal, filepath.Base(path)
			diags = append(diags, d...)
			continue
		}
		diags = append(diags, v.set(c.meter, x, filepath.Base(path), a.Expr.Range().Ptr())...)
	}
	return diags
}
