package dsl

import (
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"stepflow/dsl/addr"
)

// TestSuffix ends the names of test files.
const TestSuffix = ".stepflowtest.hcl"

// The commands of a run.
const (
	TestPlan  = "plan"
	TestApply = "apply"
)

// MainState is the key of the state that the runs of a file share if they name no other.
const MainState = "main"

// TestFile is a file of tests.
type TestFile struct {
	Path      string
	Runs      []*TestRun
	Files     map[string]*hcl.File // by name, for snippets
	testParts                      // of every run
}

// TestRun is a run block.
type TestRun struct {
	Name      string
	Range     hcl.Range
	Command   string // TestPlan or TestApply
	StateKey  string
	Parallel  bool
	Expected  []ExpectedFailure
	Target    []string // of plan_options, as Exclude and Replace are
	Exclude   []string
	Replace   []string
	Interrupt *TestInterrupt // nil for none
	Uses      []string       // runs that it names
	Asserts   int            // how many there are
	asserts   []*Condition
	testParts
}

// testParts is what may stand in a file, for all its runs, and in a run.
type testParts struct {
	variables []*hclsyntax.Attribute
	overrides []*override
	mocks     []*Mock
}

// ExpectedFailure is what expect_failures names.
type ExpectedFailure struct {
	Name  string // such as var.steps
	Range hcl.Range
}

// checkName is the end of the name of a check.
var checkName = regexp.MustCompile(`(^|\.)check\.([^.\[\]"]+)$`)

// Covers reports whether what failed is what was expected to. Each module in a name may lack its key.
func (x ExpectedFailure) Covers(of Failed) bool {
	if checkName.MatchString(x.Name) != checkName.MatchString(string(of)) {
		return false
	}
	plain := func(name string) (addr.Addr, error) {
		return addr.Parse(checkName.ReplaceAllString(name, "${1}var.$2"))
	}
	a, err := plain(x.Name)
	b, err2 := plain(string(of))
	return err == nil && err2 == nil && a.Covers(b)
}

// TestInterrupt says when a run is interrupted.
type TestInterrupt struct {
	Stage  addr.Addr // a stage; its zero for any
	AtStep int
	Range  hcl.Range
}

// Mock is a mock_data block.
type Mock struct {
	Type      string
	Documents int
	Words     int
	Seed      int
	Range     hcl.Range
}

// TestFiles lists the test files of a pipeline: beside its files, and in a folder of that name.
func TestFiles(path, folder string) (list []string, err error) {
	dir, _, err := PipelineFiles(path)
	if err != nil {
		return nil, err
	}
	if list, err = Texts(nil).filesIn(dir, TestSuffix); err != nil {
		return nil, err
	}
	more, err := Texts(nil).filesIn(filepath.Join(dir, folder), TestSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return list, nil
	}
	for _, f := range more {
		if !slices.Contains(list, f) { // where the folder is the pipeline's
			list = append(list, f)
		}
	}
	return list, err
}

// ReadTest reads a test file. What it names is not compared with a pipeline.
func ReadTest(path string) (*TestFile, hcl.Diagnostics) {
	c := &Config{meter: &meter{most: maxWork}}
	parser := hclparse.NewParser()
	body, diags := c.parse(parser, path)
	f := &TestFile{Path: path, Files: parser.Files()}
	if body == nil || diags.HasErrors() {
		return f, diags
	}
	return f, append(diags, f.read(body)...)
}

// read reads the body of a test file.
func (f *TestFile) read(b *hclsyntax.Body) hcl.Diagnostics {
	diags := checkBody(b, nil, TestBlocks, "", "a test file", rules{})
	diags = append(diags, f.testParts.read(b)...)
	seen := map[string]hcl.Range{}
	for _, sub := range b.Blocks {
		if sub.Type != "run" || len(sub.Labels) != 1 {
			continue
		}
		r := &TestRun{Name: sub.Labels[0], Range: sub.DefRange()}
		if old, dup := seen[r.Name]; dup {
			diags = append(diags, duplicate("run."+r.Name, r.Range, old))
		}
		seen[r.Name] = r.Range
		f.Runs = append(f.Runs, r)
		diags = append(diags, r.read(sub)...)
	}
	return diags
}

// read reads what a file and a run may both have.
func (t *testParts) read(b *hclsyntax.Body) (diags hcl.Diagnostics) {
	for _, sub := range b.Blocks {
		switch sub.Type {
		case "variables":
			t.variables = sortedAttrs(sub.Body)
		case "override":
			o, d := newOverride(sub)
			if diags = append(diags, d...); o != nil {
				t.overrides = append(t.overrides, o)
			}
		case "mock_data":
			m, d := newMock(sub)
			if diags = append(diags, d...); m != nil {
				t.mocks = append(t.mocks, m)
			}
		}
	}
	return diags
}

// constants evaluates the attributes of a block that may name nothing.
func constants(b *hclsyntax.Block, attrs []Attr) (*Decoded, hcl.Diagnostics) {
	x := &decoder{ctx: &hcl.EvalContext{}}
	d := x.body(b.Body, attrs, nil, "", "", b.DefRange())
	return d, x.diags
}

// newMock reads a mock_data block; nil if its label is wrong, which checkBody reports.
func newMock(b *hclsyntax.Block) (*Mock, hcl.Diagnostics) {
	if len(b.Labels) != 1 {
		return nil, nil
	}
	i := slices.IndexFunc(testedBlocks, func(n Nested) bool { return n.Name == b.Type })
	d, diags := constants(b, testedBlocks[i].Attrs)
	return &Mock{Type: b.Labels[0], Documents: d.Int("documents"), Words: d.Int("words"), Seed: d.Int("seed"),
		Range: b.DefRange()}, diags
}

// read reads a run block.
func (r *TestRun) read(b *hclsyntax.Block) hcl.Diagnostics {
	diags := r.testParts.read(b.Body)
	r.Command, r.StateKey = TestApply, MainState
	if a := b.Body.Attributes["command"]; a != nil {
		r.Command = hcl.ExprAsKeyword(a.Expr)
		if r.Command != TestPlan && r.Command != TestApply {
			diags = append(diags, failure(a.Expr.Range(), "Unknown command",
				"command is plan or apply, written without quotes."))
		}
	}
	if v, d := constant(b.Body, "state_key", cty.String); v != cty.NilVal {
		if r.StateKey = v.AsString(); !hclsyntax.ValidIdentifier(r.StateKey) {
			diags = append(diags, failure(b.Body.Attributes["state_key"].Expr.Range(), "Invalid name", "state_key is a name "+
				"that starts with a letter and has only letters, digits, _ and -."))
		}
	} else {
		diags = append(diags, d...)
	}
	if v, d := constant(b.Body, "parallel", cty.Bool); v != cty.NilVal {
		r.Parallel = v.True()
	} else {
		diags = append(diags, d...)
	}
	diags = append(diags, r.expect(b.Body)...)
	for _, sub := range b.Body.Blocks {
		switch sub.Type {
		case "plan_options":
			diags = append(diags, r.options(sub.Body)...)
		case "interrupt":
			diags = append(diags, r.interrupt(sub)...)
		case "assert":
			if x := newCondition(sub, "", "Test assertion failed"); x != nil {
				r.asserts = append(r.asserts, x)
			}
		}
	}
	r.Asserts = len(r.asserts)
	r.readUses()
	if r.Interrupt != nil && r.Command != TestApply {
		diags = append(diags, failure(r.Interrupt.Range, "Nothing to interrupt",
			"run.%s only plans. An interrupt needs command = apply.", r.Name))
	}
	return diags
}

// constant returns the value of an attribute that may name nothing; cty.NilVal if it is not given or not valid.
func constant(b *hclsyntax.Body, name string, want cty.Type) (cty.Value, hcl.Diagnostics) {
	a := b.Attributes[name]
	if a == nil {
		return cty.NilVal, nil
	}
	v, diags := a.Expr.Value(nil)
	if !diags.HasErrors() {
		if v, err := convert.Convert(v, want); err == nil && v.IsKnown() && !v.IsNull() {
			return v, nil
		}
	}
	return cty.NilVal, hcl.Diagnostics{failure(a.Expr.Range(), "Not a constant", "%s takes a %s that is written out.",
		name, want.FriendlyName())}
}

// expect reads expect_failures.
func (r *TestRun) expect(b *hclsyntax.Body) (diags hcl.Diagnostics) {
	a := b.Attributes["expect_failures"]
	if a == nil {
		return nil
	}
	list, d := hcl.ExprList(a.Expr)
	if d.HasErrors() {
		return hcl.Diagnostics{failure(a.Expr.Range(), "Wrong type",
			"expect_failures takes a list of names, such as [var.steps, check.quality, stage.seed].")}
	}
	for _, e := range list {
		t, d := hcl.AbsTraversalForExpr(e)
		name := ""
		if !d.HasErrors() {
			name = TraversalText(t)
		}
		if name == "" {
			diags = append(diags, failure(e.Range(), "Not a name", "expect_failures names variables, checks and blocks, "+
				"written without quotes, such as var.steps, check.quality or stage.seed."))
			continue
		}
		r.Expected = append(r.Expected, ExpectedFailure{name, e.Range()})
	}
	return diags
}

// options reads plan_options.
func (r *TestRun) options(b *hclsyntax.Body) (diags hcl.Diagnostics) {
	for name, to := range map[string]*[]string{"target": &r.Target, "exclude": &r.Exclude, "replace": &r.Replace} {
		a := b.Attributes[name]
		if a == nil {
			continue
		}
		list, d := hcl.ExprList(a.Expr)
		if d.HasErrors() {
			diags = append(diags, failure(a.Expr.Range(), "Wrong type",
				"%s takes a list of addresses, such as [stage.seed].", name))
		}
		for _, e := range list {
			x, problem := addressIn(name, e, name != "replace")
			if problem != nil {
				diags = append(diags, problem)
				continue
			}
			*to = append(*to, x.String())
		}
	}
	return diags
}

// interrupt reads an interrupt block.
func (r *TestRun) interrupt(b *hclsyntax.Block) hcl.Diagnostics {
	r.Interrupt = &TestInterrupt{Range: b.DefRange()}
	at := b.Body.Attributes["at_step"]
	if at == nil {
		return nil // reported already
	}
	v, diags := constant(b.Body, "at_step", cty.Number)
	if v != cty.NilVal {
		n, _ := v.AsBigFloat().Float64()
		r.Interrupt.AtStep = int(n)
		if n != float64(int(n)) || n < 1 || n > maxSteps {
			diags = append(diags, failure(at.Expr.Range(), "Invalid value", "at_step is a whole number, at least 1."))
		}
	}
	if a := b.Body.Attributes["stage"]; a != nil {
		x, problem := readAddress(a, false)
		switch {
		case problem != nil:
			diags = append(diags, problem)
		case x.Kind != "stage":
			diags = append(diags, failure(a.Expr.Range(), "Not a stage", "Only a stage has steps, not %s.", x))
		default:
			r.Interrupt.Stage = x
		}
	}
	return diags
}

// readUses notes the runs that a run names.
func (r *TestRun) readUses() {
	var list []hclsyntax.Expression
	for _, a := range r.variables {
		list = append(list, a.Expr)
	}
	for _, x := range r.asserts {
		list = append(list, x.test, x.message)
	}
	for _, e := range list {
		for _, t := range e.Variables() {
			if name := stepName(t, 1); t.RootName() == "run" && name != "" && !slices.Contains(r.Uses, name) {
				r.Uses = append(r.Uses, name)
			}
		}
	}
}
