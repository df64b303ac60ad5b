package dsl

import (
	"encoding/json"
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

// Inputs says where variables get their values. As in Terraform, later ones win: first the environment, then
// stepflow.vars.hcl and stepflow.vars.json, then the files named *.auto.vars.hcl and *.auto.vars.json in the order of
// their names, then the command line, then a test.
type Inputs struct {
	Env   []string // KEY=value; STEPFLOW_VAR_name counts
	Flags []Flag
	Open  bool // a variable without a value is unknown, instead of an error

	Unsaved Texts      // of files of the pipeline that are not read from disk
	Test    *TestInput // nil but where a run of a test file loads the pipeline
}

// Flag is one -var or -var-file, in the order of the command line.
type Flag struct {
	Var  string `json:"var,omitempty"`  // name=value
	File string `json:"file,omitempty"` // path
}

// Vars returns a flag -var for each text.
func Vars(list ...string) (flags []Flag) {
	for _, s := range list {
		flags = append(flags, Flag{Var: s})
	}
	return flags
}

// EnvPrefix starts environment variables that set variables.
const EnvPrefix = "STEPFLOW_VAR_"

// wanted names the variable's type, for messages: "a number".
func (v *Variable) wanted() string {
	if v.Type == cty.DynamicPseudoType {
		return "any value"
	}
	return withArticle(typeexpr.TypeString(v.Type))
}

// setText sets a value given as text. As in Terraform the text is taken as it is if the type is string, number, bool or
// not given; for other types it is an expression.
func (c *Config) setText(v *Variable, text, source string) hcl.Diagnostics {
	fail := func(why string) hcl.Diagnostics {
		v.Value, v.Source = cty.DynamicVal, source
		shown := fmt.Sprintf("%.60q", text)
		if v.Sensitive {
			shown, why = "a sensitive value", ""
		}
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong type", Detail: fmt.Sprintf(
			"var.%s takes %s; %s from %s is not one.%s", v.Name, v.wanted(), shown, source, why)}}
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
	if d := checkNesting([]byte(text), source); len(text) > MaxSource || d.HasErrors() {
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

// setVariables gives the variables their values, and checks them.
func (c *Config) setVariables(in Inputs) (diags hcl.Diagnostics) {
	for _, kv := range in.Env {
		k, val, _ := strings.Cut(kv, "=")
		if name, ok := strings.CutPrefix(k, EnvPrefix); ok {
			if v := c.Variables[name]; v != nil { // others may be meant for another pipeline
				diags = append(diags, c.setText(v, val, "the environment variable "+k)...)
			}
		}
	}
	files, err := c.texts.autoVarFiles(c.Dir)
	if err != nil {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unreadable folder",
			Detail: upperFirst(err.Error()) + "."})
	}
	for _, f := range files {
		diags = append(diags, c.varFile(f)...)
	}
	for _, f := range in.Flags {
		diags = append(diags, c.setFlag(f)...)
	}
	diags = append(diags, c.testVariables()...)
	diags = append(diags, c.checkSet(in.Open)...)
	return append(diags, c.validateAll()...)
}

// setFlag sets what one -var or -var-file gives.
func (c *Config) setFlag(f Flag) hcl.Diagnostics {
	if f.File != "" {
		return c.varFile(f.File)
	}
	name, val, ok := strings.Cut(f.Var, "=")
	if !ok {
		given := ""
		if !c.secretive() {
			given = fmt.Sprintf(" %.60q", f.Var)
		}
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong -var",
			Detail: fmt.Sprintf("-var%s has no \"=\": write -var name=value.", given)}}
	}
	v := c.Variables[name]
	if v == nil {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unknown variable",
			Detail: fmt.Sprintf("-var sets %q, which the pipeline does not declare.%s",
				name, Suggest(name, c.variableNames()))}}
	}
	return c.setText(v, val, "-var")
}

// variableNames lists the names of the variables.
func (c *Config) variableNames() []string { return slices.Sorted(maps.Keys(c.Variables)) }

// checkSet reports variables without a value. If open, they are unknown and no error.
func (c *Config) checkSet(open bool) (diags hcl.Diagnostics) {
	for _, n := range c.variableNames() {
		v := c.Variables[n]
		switch unset := v.Source == "" && !v.hasDefault; {
		case unset && open:
			v.Value = v.unknown()
		case unset:
			diags = append(diags, failure(v.Range, "Missing variable", "var.%s has no default and was not set. "+
				"Set it with -var %s=…, %s%s or a file given by -var-file.", n, n, EnvPrefix, n))
		}
	}
	return diags
}

// validateAll evaluates the validations of the pipeline's variables. A value that one refuses becomes unknown, so that
// no errors follow from it; but only after all validations, which may name each other's variables.
func (c *Config) validateAll() (diags hcl.Diagnostics) {
	var refused []*Variable
	for _, n := range c.variableNames() {
		v := c.Variables[n]
		d := c.root().readValidations(v)
		values := map[string]cty.Value{}
		for _, r := range v.uses {
			values[r.addr.Name] = c.Variables[r.addr.Name].Value
		}
		for _, b := range v.validations {
			d = append(d, c.validate(v, b, values)...)
		}
		if diags = append(diags, d...); d.HasErrors() {
			refused = append(refused, v)
		}
	}
	for _, v := range refused {
		v.Value = v.unknown()
	}
	return diags
}

// readValidations finds what the validations of a variable name, and leaves out those that name something else than
// variables.
func (m *module) readValidations(v *Variable) (diags hcl.Diagnostics) {
	if v.read {
		return nil
	}
	v.read = true
	v.validations = slices.DeleteFunc(v.validations, func(b *hclsyntax.Block) bool {
		cond, msg := b.Body.Attributes["condition"], b.Body.Attributes["error_message"]
		if cond == nil || msg == nil {
			return true // reported already
		}
		var d hcl.Diagnostics
		for _, e := range []hclsyntax.Expression{cond.Expr, msg.Expr} {
			refs, dd := m.refsOfExpr(e, false)
			d = append(d, dd...)
			for _, r := range refs {
				if r.addr.Kind != "var" {
					d = append(d, failure(r.rng, "Not a variable",
						"A validation is checked before anything else is known, so it refers to variables only, not to %s.",
						r.addr))
					continue
				}
				v.uses = append(v.uses, r)
			}
		}
		diags = append(diags, d...)
		return d.HasErrors()
	})
	return diags
}

// validate evaluates one validation of a variable, which sees the values of variables alone.
func (c *Config) validate(v *Variable, b *hclsyntax.Block, values map[string]cty.Value) (diags hcl.Diagnostics) {
	cond, msg := b.Body.Attributes["condition"], b.Body.Attributes["error_message"]
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(values)}, Functions: c.functions}
	ok, d := cond.Expr.Value(ctx)
	diags = append(diags, d...)
	text, d := msg.Expr.Value(ctx)
	diags = append(diags, d...)
	if diags.HasErrors() {
		return diags
	}
	if bare, _ := text.Unmark(); bare.IsNull() {
		return append(diags, failure(msg.Expr.Range(), "Missing attribute",
			"error_message is null: say what is wrong when the condition is false."))
	}
	ok, _ = ok.Unmark()
	switch {
	case !ok.IsKnown():
	case ok.Type() != cty.Bool || ok.IsNull():
		diags = append(diags, failure(cond.Expr.Range(), "Wrong type", "condition must be true or false."))
	case ok.False():
		m := "the condition is false"
		if text.Type() == cty.String && text.IsKnown() && !text.IsMarked() {
			m = text.AsString()
		}
		d := failure(cond.Expr.Range(), "Invalid variable", "var.%s: %s", v.Name, m)
		d.Expression, d.EvalContext, d.Extra = cond.Expr, ctx, Failed("var."+v.Name)
		diags = append(diags, d)
	}
	return diags
}

// varFile reads a file of values. If any variable is sensitive, no line of the file is kept for snippets.
func (c *Config) varFile(path string) (diags hcl.Diagnostics) {
	parser := hclparse.NewParser()
	attrs, diags := c.varLines(parser, path)
	if attrs == nil || diags.HasErrors() {
		if c.secretive() {
			for _, d := range diags {
				if d.Subject != nil {
					d.Detail = "The file of variables does not parse here. The line is not shown, since it may hold " +
						"a sensitive value."
				}
			}
		}
		return diags
	}
	if !c.secretive() {
		maps.Copy(c.Files, parser.Files())
	}
	for _, a := range attrs {
		v := c.Variables[a.Name]
		if v == nil {
			diags = append(diags, failure(a.NameRange, "Unknown variable", "The pipeline declares no variable %q.%s",
				a.Name, Suggest(a.Name, c.variableNames())))
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

// varLines returns the values in a file of variables, in their order. The file holds JSON if its name ends with
// JSONSuffix, and lines of the language otherwise.
func (c *Config) varLines(parser *hclparse.Parser, path string) (list []*hcl.Attribute, diags hcl.Diagnostics) {
	if strings.HasSuffix(path, JSONSuffix) {
		return c.jsonLines(parser, path)
	}
	body, diags := c.parse(parser, path)
	if body == nil {
		return nil, diags
	}
	for _, b := range body.Blocks {
		diags = append(diags, failure(b.TypeRange, "Unexpected block",
			"A file of variables holds lines such as name = value, no blocks."))
	}
	for _, a := range sortedAttrs(body) {
		list = append(list, a.AsHCLAttribute())
	}
	return list, diags
}

// jsonLines returns the members of the object in a file of JSON, in their order. A text in it is a value and no
// template.
func (c *Config) jsonLines(parser *hclparse.Parser, path string) (list []*hcl.Attribute, diags hcl.Diagnostics) {
	src, diags := c.texts.readText(path)
	if diags.HasErrors() {
		return nil, diags
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(src, &members); err != nil || members == nil { // it bounds how far the text nests
		why := "it is null"
		if err != nil {
			why = err.Error()
		}
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong file of variables", Detail: fmt.Sprintf(
			"%s must hold one JSON object with the values of variables, such as {\"name\": \"value\"}: %s.", path, why)}}
	}
	file, diags := parser.ParseJSON(src, path)
	if diags.HasErrors() {
		return nil, diags
	}
	attrs, diags := file.Body.JustAttributes()
	return slices.SortedFunc(maps.Values(attrs), func(a, b *hcl.Attribute) int {
		return a.Range.Start.Byte - b.Range.Start.Byte
	}), diags
}
