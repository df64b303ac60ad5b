package dsl

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Inputs say where variables get their values, in the order of Terraform: later ones win.
type Inputs struct {
	Env      []string // KEY=value; STEPFLOW_VAR_name counts
	VarFiles []string
	Vars     []string // name=value
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
	validations []*hclsyntax.Block
}

// Sensitive is the mark of values that are not shown.
const Sensitive = "sensitive"

func (c *Config) addVariable(b *hclsyntax.Block) (diags hcl.Diagnostics) {
	if len(b.Labels) != 1 {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong number of labels", Subject: b.DefRange().Ptr(), Detail: `Write variable "NAME" { … }.`}}
	}
	v := &Variable{Name: b.Labels[0], Type: cty.DynamicPseudoType, Range: b.DefRange(), Value: cty.DynamicVal}
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
	ctx := &hcl.EvalContext{Functions: functions(c.Dir)}
	if a := b.Body.Attributes["type"]; a != nil {
		t, d := typeexpr.TypeConstraint(a.Expr)
		diags = append(diags, d...)
		if !d.HasErrors() {
			v.Type = t
		}
	}
	if a := b.Body.Attributes["description"]; a != nil {
		x, d := a.Expr.Value(ctx)
		diags = append(diags, d...)
		if x.Type() == cty.String && x.IsKnown() && !x.IsNull() {
			v.Description = x.AsString()
		}
	}
	if a := b.Body.Attributes["sensitive"]; a != nil {
		x, d := a.Expr.Value(ctx)
		diags = append(diags, d...)
		v.Sensitive = !d.HasErrors() && x.Type() == cty.Bool && x.IsKnown() && !x.IsNull() && x.True()
	}
	if a := b.Body.Attributes["default"]; a != nil {
		x, d := a.Expr.Value(ctx)
		diags = append(diags, d...)
		v.hasDefault = true
		if !d.HasErrors() {
			diags = append(diags, v.set(x, "default", a.Expr.Range().Ptr())...)
		}
	}
	return diags
}

func (v *Variable) set(x cty.Value, source string, subject *hcl.Range) hcl.Diagnostics {
	y, err := convert.Convert(x, v.Type)
	if err != nil {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong type", Subject: subject,
			Detail: fmt.Sprintf("var.%s takes %s; the value from %s cannot be one: %v.", v.Name, v.Type.FriendlyName(), source, err)}}
	}
	if v.Sensitive {
		y = y.Mark(Sensitive)
	}
	v.Value, v.Source = y, source
	return nil
}

// setText sets a value given as text: a string stands for itself, other types are expressions.
func (v *Variable) setText(text, source string) hcl.Diagnostics {
	if v.Type == cty.String {
		return v.set(cty.StringVal(text), source, nil)
	}
	expr, d := hclsyntax.ParseExpression([]byte(text), source, hcl.InitialPos)
	var x cty.Value
	if !d.HasErrors() {
		x, d = expr.Value(nil)
	}
	if d.HasErrors() {
		if v.Type != cty.DynamicPseudoType {
			return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong type", Detail: fmt.Sprintf("var.%s takes %s; %q from %s is not one. Lists are written [\"a\", \"b\"].", v.Name, v.Type.FriendlyName(), text, source)}}
		}
		x = cty.StringVal(text)
	}
	return v.set(x, source, nil)
}

func (c *Config) setVariables(in Inputs, parser *hclparse.Parser) (diags hcl.Diagnostics) {
	for _, kv := range in.Env {
		k, val, _ := strings.Cut(kv, "=")
		if name, ok := strings.CutPrefix(k, EnvPrefix); ok {
			if v := c.Variables[name]; v != nil { // others may be meant for another pipeline
				diags = append(diags, v.setText(val, "environment variable "+k)...)
			}
		}
	}
	auto, _ := filepath.Glob(filepath.Join(c.Dir, "*"+AutoVarSuffix))
	sort.Strings(auto)
	for _, f := range append(auto, in.VarFiles...) {
		diags = append(diags, c.varFile(f, parser)...)
	}
	for _, kv := range in.Vars {
		k, val, ok := strings.Cut(kv, "=")
		v := c.Variables[k]
		switch {
		case !ok:
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Wrong -var", Detail: fmt.Sprintf("-var %q has no \"=\": write -var name=value.", kv)})
		case v == nil:
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown variable", Detail: fmt.Sprintf("-var sets %q, which the pipeline does not declare.%s", k, Suggest(k, slices.Sorted(maps.Keys(c.Variables))))})
		default:
			diags = append(diags, v.setText(val, "-var")...)
		}
	}
	vars := map[string]cty.Value{}
	for _, n := range slices.Sorted(maps.Keys(c.Variables)) {
		v := c.Variables[n]
		if v.Source == "" && !v.hasDefault {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Missing variable", Subject: v.Range.Ptr(),
				Detail: fmt.Sprintf("var.%s has no default and was not set. Set it with -var %s=…, %s%s or a file given by -var-file.", n, n, EnvPrefix, n)})
		}
		vars[n] = v.Value
	}
	ctx := &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(vars)}, Functions: functions(c.Dir)}
	for _, n := range slices.Sorted(maps.Keys(c.Variables)) {
		for _, b := range c.Variables[n].validations {
			diags = append(diags, validate(n, b, ctx)...)
		}
	}
	return diags
}

func validate(name string, b *hclsyntax.Block, ctx *hcl.EvalContext) hcl.Diagnostics {
	cond, msg := b.Body.Attributes["condition"], b.Body.Attributes["error_message"]
	if cond == nil || msg == nil {
		return nil // reported already
	}
	ok, diags := cond.Expr.Value(ctx)
	text, d := msg.Expr.Value(ctx)
	diags = append(diags, d...)
	if diags.HasErrors() {
		return diags
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
			Detail: fmt.Sprintf("var.%s: %s", name, m)})
	}
	return diags
}

func (c *Config) varFile(path string, parser *hclparse.Parser) (diags hcl.Diagnostics) {
	src, err := os.ReadFile(path)
	if err != nil {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unreadable file", Detail: fmt.Sprintf("Reading variables: %v.", err)}}
	}
	f, diags := parser.ParseHCL(src, path)
	if diags.HasErrors() {
		return diags
	}
	attrs, d := f.Body.JustAttributes()
	diags = append(diags, d...)
	for _, n := range slices.Sorted(maps.Keys(attrs)) {
		a := attrs[n]
		v := c.Variables[n]
		if v == nil {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown variable", Subject: a.NameRange.Ptr(),
				Detail: fmt.Sprintf("The pipeline declares no variable %q.%s", n, Suggest(n, slices.Sorted(maps.Keys(c.Variables))))})
			continue
		}
		x, d := a.Expr.Value(nil)
		diags = append(diags, d...)
		if !d.HasErrors() {
			diags = append(diags, v.set(x, filepath.Base(path), a.Expr.Range().Ptr())...)
		}
	}
	return diags
}
