package dsl

import (
	"slices"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl/addr"
)

// CheckTest compares a test file with the pipeline: whether there is what it names.
func (c *Config) CheckTest(f *TestFile) (diags hcl.Diagnostics) {
	diags = c.checkShared(f, nil, &f.testParts)
	for _, r := range f.Runs {
		diags = append(diags, c.checkShared(f, r, &r.testParts)...)
		for _, x := range r.asserts {
			diags = append(diags, c.assertRefs(f, r, x)...)
		}
		for _, x := range r.Expected {
			if d := c.checkExpected(x); d != nil {
				diags = append(diags, d)
			}
		}
		if i := r.Interrupt; i != nil && i.Stage != (addr.Addr{}) && c.covered(i.Stage.Block()) == nil {
			diags = append(diags, c.notCovered(i.Stage.Block(), i.Range))
		}
	}
	return c.Secrets.Diagnostics(diags)
}

// checkShared checks what a file and a run may both have. r is nil for a file.
func (c *Config) checkShared(f *TestFile, r *TestRun, t *testParts) (diags hcl.Diagnostics) {
	for _, a := range t.variables {
		if c.Variables[a.Name] == nil {
			diags = append(diags, c.noVariable(a))
		}
		for _, x := range a.Expr.Variables() {
			switch root := x.RootName(); {
			case root == "run" && r != nil:
				diags = append(diags, c.checkTestName(f, r, x)...)
			case root == "var":
				_, d := c.root().refOf(x, false)
				diags = append(diags, d...)
			case root == "run":
				diags = append(diags, failure(x.SourceRange(), "Unknown name", "The variables of a file are those of all its "+
					"runs, so they can name none of them. Set var.%s in the runs that come after.", a.Name))
			case root != "path":
				diags = append(diags, failure(x.SourceRange(), "Unknown name", "A variable of a test is made of var.NAME, "+
					"and in a run of run.NAME, the runs before it."))
			}
		}
		diags = append(diags, checkFunctions(a.Expr)...)
	}
	for _, o := range t.overrides {
		diags = append(diags, c.checkOverride(f, o)...)
	}
	return diags
}

// covered returns the blocks that an address names, of which there are several in the instances of a module.
func (c *Config) covered(a addr.Addr) (list []*Block) {
	for _, b := range c.Blocks {
		if a.Covers(b.Addr) {
			list = append(list, b)
		}
	}
	return list
}

// notCovered is the error of an address that names no block. The module of the address may lack its key.
func (c *Config) notCovered(a addr.Addr, at hcl.Range) *hcl.Diagnostic {
	if a.Module == "" || len(c.covered(addr.Addr{Module: a.Module})) == 0 {
		return c.noBlock(a, at)
	}
	var names []string
	for _, b := range c.covered(addr.Addr{Module: a.Module}) {
		b := b.Addr
		b.Module = a.Module
		names = append(names, b.String())
	}
	return failure(at, "Unknown block", "There is no %s.%s", a, Suggest(a.String(), names))
}

// checkOverride reports a block that is not there, and attributes that it does not have or that name what is not there.
func (c *Config) checkOverride(f *TestFile, o *override) (diags hcl.Diagnostics) {
	blocks := c.covered(o.target)
	if len(blocks) == 0 {
		return hcl.Diagnostics{c.notCovered(o.target, o.rng)}
	}
	b := blocks[0] // the others have the same source
	body, diags := c.edited(b, o, b.body)
	repeated := b.Count != nil || b.ForEach != nil
	_, refs := b.in.refsOf(body, repeated)
	names := checkBody(body, b.Kind.Attrs, b.Kind.Blocks, b.Addr.Type, b.Addr.String(), rules{extra: repeatNames})
	for _, d := range slices.Concat(names, refs) {
		if d.Subject != nil && d.Subject.Filename == f.Path {
			diags = append(diags, d)
		}
	}
	return diags
}

// checkExpected reports what has no conditions, or is not there; nil for others.
func (c *Config) checkExpected(x ExpectedFailure) *hcl.Diagnostic {
	var names []string
	for _, of := range c.conditional() {
		if x.Covers(of) {
			return nil
		}
		names = append(names, string(of))
	}
	return failure(x.Range, "No condition", "The pipeline has no variable, check or block %s that could fail.%s Write it "+
		"without quotes and without the key of an instance, such as var.steps, check.quality or stage.seed.", x.Name,
		Suggest(x.Name, names))
}

// conditional lists what may have conditions.
func (c *Config) conditional() (list []Failed) {
	for _, m := range c.modules {
		for name := range m.variables {
			list = append(list, Failed("var."+name).within(m.path))
		}
	}
	for _, x := range c.checks {
		list = append(list, Failed("check."+x.name).within(x.in.path))
	}
	for _, b := range c.Blocks {
		list = append(list, Failed(b.Addr.String()))
	}
	slices.Sort(list)
	return list
}
