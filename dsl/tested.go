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

// TestInput says for which run of a test file a pipeline is loaded.
type TestInput struct {
	Path string
	Run  string
	Runs map[string]cty.Value // what run.NAME stands for, of those before
	// makes documents for a block of data, and returns attributes that name them; cty.NilVal removes one
	Mock func(a addr.Addr, m *Mock) (map[string]cty.Value, error)
}

// loadedTest is the test for which a pipeline is loaded.
type loadedTest struct {
	in        *TestInput
	file      *TestFile
	run       *TestRun
	overrides []*override
	mocks     []*Mock // the first of a type counts
}

// testNames are the names that the conditions of a test may use beside those of the pipeline.
var testNames = []string{"changes", "output", "plan", "run", "seam", "state"}

// openTest reads the run for which the pipeline is loaded.
func (c *Config) openTest(in *TestInput) hcl.Diagnostics {
	if in == nil {
		return nil
	}
	body, diags := c.parse(c.parser, in.Path)
	if body == nil || diags.HasErrors() {
		return diags
	}
	f := &TestFile{Path: in.Path}
	if diags = append(diags, f.read(body)...); diags.HasErrors() {
		return diags
	}
	i := slices.IndexFunc(f.Runs, func(r *TestRun) bool { return r.Name == in.Run })
	if i < 0 {
		return append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "No such run",
			Detail: fmt.Sprintf("%s has no run %q any more: it changed while its tests ran.", in.Path, in.Run)})
	}
	r := f.Runs[i]
	c.test = &loadedTest{in: in, file: f, run: r, overrides: slices.Concat(f.overrides, r.overrides),
		mocks: slices.Concat(r.mocks, f.mocks)}
	return diags
}

// testVariables sets the variables that the test gives values to: first those of its file, which those of the run may
// name.
func (c *Config) testVariables() (diags hcl.Diagnostics) {
	if c.test == nil {
		return nil
	}
	for _, list := range [][]*hclsyntax.Attribute{c.test.file.variables, c.test.run.variables} {
		vars := map[string]cty.Value{}
		for name, v := range c.Variables {
			vars[name] = v.Value
		}
		ctx := &hcl.EvalContext{Functions: c.functions, Variables: map[string]cty.Value{"var": cty.ObjectVal(vars),
			"run": c.test.runs(), "path": c.root().paths}}
		for _, a := range list {
			diags = append(diags, c.testVariable(a, ctx)...)
		}
	}
	return diags
}

// testVariable sets a variable.
func (c *Config) testVariable(a *hclsyntax.Attribute, ctx *hcl.EvalContext) hcl.Diagnostics {
	v := c.Variables[a.Name]
	if v == nil {
		return hcl.Diagnostics{c.noVariable(a)}
	}
	c.conceal(v, a.Expr.Range())
	x, diags := a.Expr.Value(ctx)
	switch {
	case diags.HasErrors():
		v.Value, v.Source = cty.DynamicVal, "the test"
		return diags
	case !x.IsWhollyKnown():
		v.Value, v.Source = cty.DynamicVal, "the test"
		d := failure(a.Expr.Range(), "Unknown value", "The value of var.%s is not known: the run that it comes from only "+
			"plans. Give that run command = apply.", v.Name)
		d.Expression, d.EvalContext = a.Expr, ctx
		return append(diags, d)
	}
	return append(diags, v.set(c.meter, x, "the test", a.Expr.Range().Ptr())...)
}

// noVariable is the error of a variable that a test sets and the pipeline does not have.
func (c *Config) noVariable(a *hclsyntax.Attribute) *hcl.Diagnostic {
	return failure(a.NameRange, "Unknown variable", "The pipeline declares no variable %q.%s", a.Name,
		Suggest(a.Name, c.variableNames()))
}

// runs returns what run stands for.
func (t *loadedTest) runs() cty.Value { return cty.ObjectVal(t.in.Runs) }

// linkTest resolves what the conditions of the test name.
func (c *Config) linkTest() (diags hcl.Diagnostics) {
	if c.test == nil {
		return nil
	}
	for _, x := range c.test.run.asserts {
		diags = append(diags, c.assertRefs(c.test.file, c.test.run, x)...)
	}
	return diags
}

// assertRefs resolves what a condition of a test names.
func (c *Config) assertRefs(f *TestFile, r *TestRun, x *Condition) (diags hcl.Diagnostics) {
	x.in, x.uses = c.root(), nil
	for _, e := range []hclsyntax.Expression{x.test, x.message} {
		for _, t := range e.Variables() {
			if slices.Contains(testNames, t.RootName()) {
				diags = append(diags, c.checkTestName(f, r, t)...)
				continue
			}
			r, d := x.in.refOf(t, false)
			x.uses, diags = append(x.uses, r...), append(diags, d...)
		}
		diags = append(diags, checkFunctions(e)...)
	}
	return diags
}

// checkTestName reports an output that the pipeline does not have, and a run that is not before this one.
func (c *Config) checkTestName(f *TestFile, r *TestRun, t hcl.Traversal) hcl.Diagnostics {
	name := stepName(t, 1)
	switch {
	case t.RootName() == "output" && name != "" && c.byAddr[addr.Addr{Kind: "output", Name: name}] == nil:
		return hcl.Diagnostics{c.noBlock(addr.Addr{Kind: "output", Name: name}, t.SourceRange())}
	case t.RootName() != "run":
		return nil
	}
	var before []string
	for _, x := range f.Runs {
		if x == r {
			break
		}
		before = append(before, x.Name)
	}
	if slices.Contains(before, name) {
		return nil
	}
	hint := nearest(name, before)
	if hint == "" && len(before) > 0 {
		hint = " Those are " + strings.Join(before, ", ") + "."
	}
	return hcl.Diagnostics{failure(t.SourceRange(), "Unknown run", "run.%s names the runs before it, and none is %q.%s",
		r.Name, name, hint)}
}

// Assert tests the conditions of the test for which the pipeline was loaded, with what is in scope. more are names
// beside those of the pipeline.
func (s *Scope) Assert(more map[string]cty.Value) (diags hcl.Diagnostics) {
	t := s.config.test
	if t == nil {
		return nil
	}
	more = maps.Clone(more)
	more["run"] = t.runs()
	for _, x := range t.run.asserts {
		v, d := s.test(x, nil, more)
		if v == Unknown && !d.HasErrors() {
			d = append(d, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown condition", Subject: x.test.Range().Ptr(),
				Detail: fmt.Sprintf("The condition depends on a value that %s does not give. Test it in a run with command = "+
					"apply.", t.run.Command)})
		}
		diags = append(diags, d...)
	}
	return s.config.Secrets.Diagnostics(diags)
}
