package dsl

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty/function"

	"stepflow/dsl/addr"
)

// Config is a pipeline: blocks in an order in which each comes after those it refers to.
type Config struct {
	Dir       string
	Files     map[string]*hcl.File // by name, for snippets
	Blocks    []*Block
	Variables map[string]*Variable
	Telemetry *Block   // nil if there is none
	Secrets   *Secrets // of the values seen so far
	locals    []*local
	localOf   map[string]*local
	byAddr    map[addr.Addr]*Block
	functions map[string]function.Function
	meter     *meter
	cyclic    bool                   // some locals or blocks need themselves
	concealed map[string][]hcl.Range // by file: the source of sensitive values
}

// Block is one block of the pipeline, not yet evaluated.
type Block struct {
	Addr      addr.Addr
	Kind      *Kind
	DeclRange hcl.Range
	Refs      []addr.Addr // blocks it needs, through locals too
	Count     hcl.Expression
	ForEach   hcl.Expression
	body      *hclsyntax.Body
	uses      []reference // what its body names itself
}

type local struct {
	name string
	expr hclsyntax.Expression
	rng  hcl.Range
	refs []reference

	blocks []addr.Addr // it needs, through other locals too
}

// Load reads and checks a pipeline. All problems of all files are reported at once; what can be
// read is returned even so.
func Load(path string, inputs Inputs) (*Config, hcl.Diagnostics) {
	return load(path, inputs, maxWork)
}

// load is Load with a bound on what all evaluations may cost.
func load(path string, inputs Inputs, work int64) (*Config, hcl.Diagnostics) {
	dir, files, err := PipelineFiles(path)
	if err != nil {
		return &Config{Files: map[string]*hcl.File{}, Secrets: &Secrets{}}, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "No pipeline", Detail: err.Error()}}
	}
	c := &Config{Dir: dir, Files: map[string]*hcl.File{}, Variables: map[string]*Variable{}, localOf: map[string]*local{}, byAddr: map[addr.Addr]*Block{}, meter: &meter{most: work}, Secrets: &Secrets{}, concealed: map[string][]hcl.Range{}}
	c.functions = functions(dir, c.meter)
	var diags hcl.Diagnostics
	parser := hclparse.NewParser()
	var bodies []*hclsyntax.Body
	for _, f := range files {
		body, d := c.parse(parser, f)
		diags = append(diags, d...)
		if body != nil {
			bodies = append(bodies, body)
		}
	}
	for _, b := range bodies {
		for _, a := range sortedAttrs(b) {
			diags = diags.Append(&hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Attribute outside a block", Subject: a.NameRange.Ptr(),
				Detail: fmt.Sprintf("%q stands outside any block. Values with a name go into a locals block, inputs into variable blocks.", a.Name)})
		}
		for _, block := range b.Blocks {
			diags = append(diags, c.add(block)...)
		}
	}
	c.Files = parser.Files()
	diags = append(diags, c.setVariables(inputs)...)
	for name, ranges := range c.concealed {
		if f := c.Files[name]; f != nil {
			f.Bytes = mask(f.Bytes, ranges)
		}
	}
	diags = append(diags, c.link()...)
	return c, c.Secrets.Diagnostics(diags)
}

// parse reads a file of HCL, with guards in its expressions.
func (c *Config) parse(parser *hclparse.Parser, path string) (*hclsyntax.Body, hcl.Diagnostics) {
	src, diags := readSource(path)
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
	sort.Slice(list, func(i, j int) bool { return list[i].SrcRange.Start.Byte < list[j].SrcRange.Start.Byte })
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

func (c *Config) add(b *hclsyntax.Block) (diags hcl.Diagnostics) {
	switch b.Type {
	case "variable":
		return c.addVariable(b)
	case "locals":
		return c.addLocals(b)
	}
	k := KindOf(b.Type)
	if k == nil {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unknown block", Subject: b.TypeRange.Ptr(),
			Detail: fmt.Sprintf("There is no block %q.%s The blocks are %s.", b.Type, Suggest(b.Type, kindNames()), strings.Join(kindNames(), ", "))}}
	}
	want := 1
	form := fmt.Sprintf("%s \"NAME\"", k.Name)
	if k.Types != nil {
		want, form = 2, fmt.Sprintf("%s \"TYPE\" \"NAME\"", k.Name)
	} else if k.NoLabel {
		want, form = 0, k.Name
	}
	if len(b.Labels) != want {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong number of labels", Subject: b.DefRange().Ptr(),
			Detail: fmt.Sprintf("A %s block has %d labels: write %s { … }.", k.Name, want, form)}}
	}
	block := &Block{Kind: k, DeclRange: b.DefRange(), body: b.Body, Addr: addr.Addr{Kind: k.Name}}
	if k.NoLabel {
		if c.Telemetry != nil {
			return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Duplicate block", Subject: block.DeclRange.Ptr(),
				Detail: fmt.Sprintf("A pipeline has one %s block; the first is at %s.", k.Name, place(c.Telemetry.DeclRange))}}
		}
		c.Telemetry = block
		return checkBody(b.Body, k.Attrs, k.Blocks, "", "a "+k.Name+" block", nil)
	}
	block.Addr.Name = b.Labels[want-1]
	if want == 2 {
		block.Addr.Type = b.Labels[0]
		if !only(k.Types, b.Labels[0]) {
			return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: fmt.Sprintf("Unknown %s type", k.Name), Subject: b.LabelRanges[0].Ptr(),
				Detail: fmt.Sprintf("There is no %s %q.%s The types are %s.", k.Name, b.Labels[0], Suggest(b.Labels[0], k.Types), strings.Join(k.Types, ", "))}}
		}
	}
	if !hclsyntax.ValidIdentifier(block.Addr.Name) {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Invalid name", Subject: b.LabelRanges[want-1].Ptr(),
			Detail: fmt.Sprintf("%q cannot be referred to: a name starts with a letter and has letters, digits, _ and - only.", block.Addr.Name)}}
	}
	if old := c.byAddr[block.Addr]; old != nil {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Duplicate name", Subject: block.DeclRange.Ptr(),
			Detail: fmt.Sprintf("%s is already declared at %s. Give one of the two another name.", block.Addr, place(old.DeclRange))}}
	}
	c.byAddr[block.Addr] = block
	c.Blocks = append(c.Blocks, block)
	var extra []string
	if k.Repeat {
		extra = []string{"count", "for_each"}
		if a := b.Body.Attributes["count"]; a != nil {
			block.Count = a.Expr
		}
		if a := b.Body.Attributes["for_each"]; a != nil {
			block.ForEach = a.Expr
			if block.Count != nil {
				diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Both count and for_each", Subject: a.SrcRange.Ptr(),
					Detail: "A block is repeated by count or by for_each, not by both. Remove one."})
			}
		}
	}
	return append(diags, checkBody(b.Body, k.Attrs, k.Blocks, block.Addr.Type, block.Addr.String(), extra)...)
}

func place(r hcl.Range) string {
	return fmt.Sprintf("%s:%d,%d", r.Filename, r.Start.Line, r.Start.Column)
}

// checkBody compares a body with the schema: names only, no values.
func checkBody(b *hclsyntax.Body, attrs []Attr, blocks []Nested, typ, where string, extra []string) (diags hcl.Diagnostics) {
	known := append(attrNames(attrs, typ), extra...)
	var nested []string
	blocks = slices.DeleteFunc(slices.Clone(blocks), func(n Nested) bool { return !only(n.Only, typ) })
	for _, n := range blocks {
		nested = append(nested, n.Name)
	}
	for _, a := range sortedAttrs(b) {
		if slices.Contains(known, a.Name) {
			continue
		}
		hint := Suggest(a.Name, known)
		if slices.Contains(nested, a.Name) {
			hint = fmt.Sprintf(" %s is a block: write %s { … } without \"=\".", a.Name, a.Name)
		} else if hint == "" && len(known) > 0 {
			hint = " It takes " + strings.Join(known, ", ") + "."
		}
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown attribute", Subject: a.NameRange.Ptr(), Context: a.SrcRange.Ptr(),
			Detail: fmt.Sprintf("%s has no attribute %q.%s", where, a.Name, hint)})
	}
	for _, a := range attrs {
		if a.Required && only(a.Only, typ) && b.Attributes[a.Name] == nil {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Missing attribute", Subject: b.MissingItemRange().Ptr(),
				Detail: fmt.Sprintf("%s needs %s: %s", where, a.Name, a.Doc)})
		}
	}
	seen := map[string]hcl.Range{}
	for _, sub := range b.Blocks {
		var n *Nested
		for i := range blocks {
			if blocks[i].Name == sub.Type {
				n = &blocks[i]
			}
		}
		if n == nil {
			hint := Suggest(sub.Type, append(nested, known...))
			if slices.Contains(known, sub.Type) {
				hint = fmt.Sprintf(" %s is an attribute: write %s = …", sub.Type, sub.Type)
			} else if hint == "" && len(nested) > 0 {
				hint = " It takes the blocks " + strings.Join(nested, ", ") + "."
			}
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown block", Subject: sub.TypeRange.Ptr(),
				Detail: fmt.Sprintf("%s has no block %q.%s", where, sub.Type, hint)})
			continue
		}
		if old, dup := seen[sub.Type]; dup && !n.Repeat {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Duplicate block", Subject: sub.DefRange().Ptr(),
				Detail: fmt.Sprintf("%s has one %s block; the first is at %s.", where, sub.Type, place(old))})
			continue
		}
		seen[sub.Type] = sub.DefRange()
		switch {
		case n.Label == nil && len(sub.Labels) > 0 || n.Label != nil && len(sub.Labels) != 1:
			form := n.Name
			if n.Label != nil {
				form += fmt.Sprintf(" %q", n.Label[0])
			}
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Wrong number of labels", Subject: sub.DefRange().Ptr(),
				Detail: fmt.Sprintf("Write %s { … }.", form)})
		case n.Label != nil && !slices.Contains(n.Label, sub.Labels[0]):
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf("Unknown %s type", n.Name), Subject: sub.LabelRanges[0].Ptr(),
				Detail: fmt.Sprintf("There is no %s %q.%s There are %s.", n.Name, sub.Labels[0], Suggest(sub.Labels[0], n.Label), strings.Join(n.Label, ", "))})
		}
		diags = append(diags, checkBody(sub.Body, n.Attrs, n.Blocks, "", "the "+sub.Type+" block of "+where, nil)...)
	}
	for _, n := range blocks {
		if _, ok := seen[n.Name]; n.Required && !ok {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Missing block", Subject: b.MissingItemRange().Ptr(),
				Detail: fmt.Sprintf("%s needs a %s block: %s", where, n.Name, n.Doc)})
		}
	}
	return diags
}

func (c *Config) addLocals(b *hclsyntax.Block) (diags hcl.Diagnostics) {
	if len(b.Labels) > 0 {
		return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Wrong number of labels", Subject: b.DefRange().Ptr(), Detail: "A locals block has no label: write locals { name = … }."}}
	}
	for _, a := range sortedAttrs(b.Body) {
		if old := c.localOf[a.Name]; old != nil {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Duplicate name", Subject: a.NameRange.Ptr(),
				Detail: fmt.Sprintf("local.%s is already declared at %s. Give one of the two another name.", a.Name, place(old.rng))})
			continue
		}
		l := &local{name: a.Name, expr: a.Expr, rng: a.NameRange}
		c.locals, c.localOf[a.Name] = append(c.locals, l), l
	}
	for _, sub := range b.Body.Blocks {
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown block", Subject: sub.TypeRange.Ptr(), Detail: "A locals block holds attributes only."})
	}
	return diags
}

// Block finds a block by its address.
func (c *Config) Block(a addr.Addr) *Block { return c.byAddr[a.Block()] }
