package dsl

import (
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty/function"

	"stepflow/dsl/addr"
)

// Config is a pipeline, with its blocks in dependency order.
type Config struct {
	Dir       string
	Files     map[string]*hcl.File // by name, for snippets
	Blocks    []*Block             // also those in modules
	Variables map[string]*Variable // of the pipeline itself, not those of modules
	Telemetry *Block               // nil if there is none
	Moved     []*Move              // each before those that go on from where it leads
	Removed   []*Removal
	Secrets   *Secrets // sensitive values seen so far
	modules   []*module
	byPath    map[string]*module
	sources   map[string]*folder // of modules, by folder
	imports   []*importBlock
	checks    []*checkBlock
	named     map[addr.Addr]*named
	byAddr    map[addr.Addr]*Block
	functions map[string]function.Function
	parser    *hclparse.Parser
	meter     *meter
	cyclic    bool                   // something named or some block needs itself
	texts     Texts                  // of files that are not read from disk
	concealed map[string][]hcl.Range // by file, where the source holds sensitive values
	test      *loadedTest            // nil but in a test
}

// Block is one block of the pipeline, not yet evaluated.
type Block struct {
	Addr      addr.Addr
	Kind      *Kind
	DeclRange hcl.Range
	Refs      []addr.Addr // blocks it needs or comes after, also through locals and modules
	Reads     []addr.Addr // those of Refs whose values its attributes need, and a chain itself
	Chained   bool        // instances name earlier instances of the block
	Count     hcl.Expression
	ForEach   hcl.Expression
	Lifecycle Lifecycle
	in        *module
	after     []hcl.Expression // addresses of blocks that it comes after, and whose values it may not need
	body      *hclsyntax.Body  // without what Lifecycle holds
	uses      []reference      // what its body itself names
	inherits  []*defaultsBlock // whose defaults are in its body
}

// Load reads and checks a pipeline. It reports the problems of all files at once, and returns what could be read even
// so.
func Load(path string, inputs Inputs) (*Config, hcl.Diagnostics) {
	return load(path, inputs, maxWork)
}

// newConfig returns a pipeline without anything in it.
func newConfig() *Config {
	return &Config{Files: map[string]*hcl.File{}, Secrets: &Secrets{}, byAddr: map[addr.Addr]*Block{},
		byPath: map[string]*module{}, named: map[addr.Addr]*named{}, sources: map[string]*folder{},
		concealed: map[string][]hcl.Range{}, parser: hclparse.NewParser(), meter: &meter{}}
}

// load is Load with a bound on the cost of all evaluations.
func load(path string, inputs Inputs, work int64) (*Config, hcl.Diagnostics) {
	c := newConfig()
	c.meter.most, c.texts = work, inputs.Unsaved
	dir, files, err := c.texts.pipelineFiles(path)
	if err != nil {
		return c, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "No pipeline", Detail: err.Error()}}
	}
	c.Dir, c.functions = dir, functions(dir, c.meter)
	root := c.newModule("", &folder{dir: dir, real: realPath(dir)})
	c.Variables = root.variables
	bodies, diags := c.parseAll(files)
	diags = append(diags, c.openTest(inputs.Test)...)
	diags = append(diags, root.declare(bodies)...)
	c.Files = c.parser.Files()
	diags = append(diags, c.setVariables(inputs)...)
	diags = append(diags, c.expand(inputs.Open)...)
	for name, ranges := range c.concealed {
		if f := c.Files[name]; f != nil {
			f.Bytes = mask(f.Bytes, ranges)
		}
	}
	for _, check := range []func() hcl.Diagnostics{c.link, c.checkImports, c.checkMoved, c.checkRemoved,
		c.linkTest} {
		diags = append(diags, check()...)
	}
	return c, Join(c.Secrets.Diagnostics(diags))
}

// root is the module that the pipeline itself is.
func (c *Config) root() *module {
	if len(c.modules) == 0 { // there are no files
		return c.newModule("", &folder{dir: c.Dir})
	}
	return c.modules[0]
}

// parseAll reads files of HCL.
func (c *Config) parseAll(files []string) (bodies []*hclsyntax.Body, diags hcl.Diagnostics) {
	for _, f := range files {
		body, d := c.parse(c.parser, f)
		diags = append(diags, d...)
		if body != nil {
			bodies = append(bodies, body)
		}
	}
	return bodies, diags
}

// parse reads a file of HCL, with guards in its expressions.
func (c *Config) parse(parser *hclparse.Parser, path string) (*hclsyntax.Body, hcl.Diagnostics) {
	src, diags := c.texts.readSource(path)
	if diags.HasErrors() {
		return nil, diags
	}
	file, diags := parser.ParseHCL(src, path)
	if file == nil || file.Body == nil {
		return nil, diags
	}
	body, ok := file.Body.(*hclsyntax.Body)
	if !ok {
		return nil, diags
	}
	return body, append(diags, c.meter.guardBody(body)...)
}

func sortedAttrs(b *hclsyntax.Body) []*hclsyntax.Attribute {
	list := make([]*hclsyntax.Attribute, 0, len(b.Attributes))
	for _, a := range b.Attributes {
		list = append(list, a)
	}
	sort.Slice(list, func(i, j int) bool { return before(list[i].SrcRange, list[j].SrcRange) })
	return list
}

func kindNames() (names []string) {
	for _, list := range [][]Kind{Meta, Kinds} {
		for _, k := range list {
			names = append(names, k.Name)
		}
	}
	return names
}

// declare adds the blocks of files to a module.
func (m *module) declare(bodies []*hclsyntax.Body) (diags hcl.Diagnostics) {
	for _, b := range bodies {
		for _, a := range sortedAttrs(b) {
			diags = append(diags, failure(a.NameRange, "Attribute outside a block",
				"%q is outside any block. Named values go into a locals block, and inputs into variable blocks.",
				a.Name))
		}
		for _, block := range b.Blocks {
			if block.Type == defaultsKind.Name { // before the blocks that they are for
				diags = append(diags, m.addDefaults(block)...)
			}
		}
	}
	for _, b := range bodies {
		for _, block := range b.Blocks {
			if block.Type != defaultsKind.Name {
				diags = append(diags, m.add(block)...)
			}
		}
	}
	return diags
}

// adders read the blocks that are not computed by a run.
var adders map[string]func(*module, *hclsyntax.Block) hcl.Diagnostics

func init() {
	adders = map[string]func(*module, *hclsyntax.Block) hcl.Diagnostics{"variable": (*module).addVariable,
		"locals": (*module).addLocals, "module": (*module).addCall, "import": (*module).addImport,
		"moved": (*module).addMoved, "removed": (*module).addRemoved, "check": (*module).addCheck}
}

// add reads the header of a block, and compares its body with the schema.
func (m *module) add(b *hclsyntax.Block) (diags hcl.Diagnostics) {
	if m.path != "" && (b.Type == "import" || b.Type == "telemetry") {
		return hcl.Diagnostics{failure(b.TypeRange, "Not in a module", "%s block belongs in the pipeline itself, not "+
			"in a module.%s", upperFirst(withArticle(b.Type)), instead[b.Type])}
	}
	if add := adders[b.Type]; add != nil {
		return add(m, b)
	}
	c := m.config
	k := KindOf(b.Type)
	if k == nil {
		hint := insteadOf(b.Type)
		if hint == "" {
			hint = Suggest(b.Type, kindNames()) + " The blocks are " + strings.Join(kindNames(), ", ") + "."
		}
		return hcl.Diagnostics{failure(b.TypeRange, "Unknown block", "There is no block %q.%s", b.Type, hint)}
	}
	block := &Block{Kind: k, DeclRange: b.DefRange(), body: b.Body, in: m, Addr: addr.Addr{Module: m.path, Kind: k.Name}}
	if d := block.label(b); d != nil {
		return hcl.Diagnostics{d}
	}
	if k.NoLabel {
		if c.Telemetry != nil {
			return hcl.Diagnostics{failure(block.DeclRange, "Duplicate block",
				"A pipeline has one %s block; the first is at %s.", k.Name, place(c.Telemetry.DeclRange))}
		}
		c.Telemetry = block
		return checkBody(b.Body, k.Attrs, k.Blocks, "", "a "+k.Name+" block", rules{})
	}
	if k.Name == "output" && m.path != "" {
		return m.addOutput(block.Addr, b)
	}
	if old := c.byAddr[block.Addr]; old != nil {
		return hcl.Diagnostics{duplicate(block.inside(), block.DeclRange, old.DeclRange)}
	}
	c.byAddr[block.Addr] = block
	c.Blocks = append(c.Blocks, block)
	body, nested, r := b.Body, k.Blocks, rules{}
	if k.Repeat {
		r = rules{extra: repeatNames, dynamic: true}
		nested = append(slices.Clip(nested), lifecycleOf(k))
		if body, diags = c.overridden(block, m.inherit(block, body)); diags.HasErrors() {
			return diags
		}
		diags = block.repeat(body)
	}
	diags = append(diags, block.readLifecycle(body)...)
	return append(diags, block.cite(checkBody(body, k.Attrs, nested, block.Addr.Type, block.inside(), r))...)
}

// inside returns the address of the block as it is in its module.
func (block *Block) inside() string {
	a := block.Addr
	a.Module = ""
	return a.String()
}

// label reads the type and the name of a block from its labels.
func (block *Block) label(b *hclsyntax.Block) *hcl.Diagnostic {
	k := block.Kind
	want, form := 1, k.Name+` "NAME"`
	if k.Types != nil {
		want, form = 2, k.Name+` "TYPE" "NAME"`
	} else if k.NoLabel {
		want, form = 0, k.Name
	}
	if len(b.Labels) != want {
		return failure(b.DefRange(), "Wrong number of labels", "A %s block has %d labels: write %s { … }.",
			k.Name, want, form)
	}
	if want == 0 {
		return nil
	}
	block.Addr.Name = b.Labels[want-1]
	if want == 2 {
		block.Addr.Type = b.Labels[0]
		if !only(k.Types, b.Labels[0]) {
			return failure(b.LabelRanges[0], "Unknown "+k.Name+" type", "There is no %s %q.%s The types are %s.",
				k.Name, b.Labels[0], insteadOr(b.Labels[0], k.Types), strings.Join(k.Types, ", "))
		}
	}
	if !hclsyntax.ValidIdentifier(block.Addr.Name) {
		return failure(b.LabelRanges[want-1], "Invalid name", "%q cannot be referred to: a name starts with a letter "+
			"and has only letters, digits, _ and -.", block.Addr.Name)
	}
	return nil
}

// repeat reads the count or for_each of a block.
func (block *Block) repeat(b *hclsyntax.Body) (diags hcl.Diagnostics) {
	if a := b.Attributes["count"]; a != nil {
		block.Count = a.Expr
	}
	if a := b.Attributes["for_each"]; a != nil {
		block.ForEach = a.Expr
		if block.Count != nil {
			diags = append(diags, failure(a.SrcRange, "Both count and for_each",
				"A block is repeated by count or by for_each, not by both. Remove one."))
		}
	}
	return diags
}

// duplicate is the error of a name that is declared twice.
func duplicate(name string, at, first hcl.Range) *hcl.Diagnostic {
	return failure(at, "Duplicate name", "%s is already declared at %s. Give one of the two another name.",
		name, place(first))
}

// Block returns the block with an address, whose key is ignored; nil if there is none.
func (c *Config) Block(a addr.Addr) *Block { return c.byAddr[a.Block()] }
