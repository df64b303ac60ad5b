package dsl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"

	"stepflow/foreign"
)

// templateFile is the function that reads a template. No template may call it: templates would nest without bounds.
const templateFile = "templatefile"

// templateFunc returns a function that renders a template, read from a file, with values for its names. Templates may
// call functions.
func (m *meter) templateFunc(dir string, functions map[string]function.Function) function.Function {
	functions = maps.Clone(functions)
	return pure(cty.String, func(args []cty.Value) (cty.Value, error) {
		e, err := m.template(inDir(dir, args[0].AsString()), args[0].AsString())
		if err != nil {
			return cty.NilVal, function.NewArgError(0, err)
		}
		names, err := templateNames(args[1])
		if err != nil {
			return cty.NilVal, function.NewArgError(1, err)
		}
		for _, t := range e.Variables() {
			if _, ok := names[t.RootName()]; !ok {
				return cty.NilVal, function.NewArgErrorf(1, "%s uses %s, and no value of that name is given",
					t.SourceRange(), t.RootName())
			}
		}
		ctx := &hcl.EvalContext{Variables: names, Functions: functions}
		v, diags, err := contained(func() (cty.Value, hcl.Diagnostics) { return e.Value(ctx) })
		switch {
		case err != nil:
			return cty.NilVal, err
		case diags.HasErrors():
			return cty.NilVal, function.NewArgError(0, diags.Errs()[0])
		}
		return convert.Convert(v, cty.String)
	}, param("path", cty.String), param("values", cty.DynamicPseudoType))
}

// template reads and parses a template, which is known in messages by name.
func (m *meter) template(path, name string) (hclsyntax.Expression, error) {
	b, err := foreign.ReadFile(path, maxText)
	if err != nil {
		return nil, fmt.Errorf("reading the template: %w", err)
	}
	tokens, _ := hclsyntax.LexTemplate(b, name, hcl.InitialPos) // the parser reports invalid tokens
	if diags := checkTokens(tokens); diags.HasErrors() {
		return nil, diags.Errs()[0]
	}
	e, diags := hclsyntax.ParseTemplate(b, name, hcl.InitialPos)
	if !diags.HasErrors() {
		e, diags = m.guardExpr(e)
	}
	if diags.HasErrors() {
		return nil, diags.Errs()[0]
	}
	return e, nil
}

// templateNames are the values of an object or a map by their names.
func templateNames(v cty.Value) (map[string]cty.Value, error) {
	if t := v.Type(); !t.IsObjectType() && !t.IsMapType() {
		return nil, fmt.Errorf("an object of names and values is needed, such as { name = value }")
	}
	names := v.AsValueMap()
	bad := func(n string) bool { return !hclsyntax.ValidIdentifier(n) }
	if list := slices.DeleteFunc(slices.Sorted(maps.Keys(names)), func(n string) bool { return !bad(n) }); len(list) > 0 {
		return nil, fmt.Errorf("%q cannot be a name in a template: letters, digits, _ and - make one", strings.Join(list, `", "`))
	}
	return names, nil
}
