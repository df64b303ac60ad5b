package dsl

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// Import is an evaluated import block: a stage whose result comes from elsewhere.
type Import struct {
	To    addr.Addr
	ID    string    // folder, or hf:// address
	Range hcl.Range // of the id
}

// importBlock is an import block, not yet evaluated.
type importBlock struct {
	to   addr.Addr
	id   hclsyntax.Expression
	rng  hcl.Range
	uses []reference
}

// importKind is the row of Meta for import blocks.
var importKind = Kind{Name: "import", NoLabel: true,
	Doc: "Takes a checkpoint from elsewhere as the result of a stage: the stage does not train, and later stages grow " +
		"from it. After `apply` the block may stay or go. See [refactoring.md](refactoring.md#importing-a-stage).",
	Attrs: []Attr{
		{Name: "to", Address: true, Required: true,
			Doc: "A stage of the pipeline that starts a `model`, or one instance of it. The checkpoint must be a model as " +
				"declared, with as many layers as the stage."},
		{Name: "id", Type: cty.String, Required: true,
			Doc: "Folder with `config.json` and safetensors, relative to the pipeline's; or `hf://ORG/NAME[@REVISION]` " +
				"for a model in the cache of Hugging Face's tools. An expression of variables and locals."},
	}}

// addImport reads an import block.
func (m *module) addImport(b *hclsyntax.Block) hcl.Diagnostics {
	c := m.config
	diags := checkMeta(b, &importKind)
	if diags.HasErrors() {
		return diags
	}
	x := &importBlock{rng: b.DefRange(), id: b.Body.Attributes["id"].Expr}
	var problem *hcl.Diagnostic
	if x.to, problem = readAddress(b.Body.Attributes["to"], false); problem != nil {
		return append(diags, problem)
	}
	if x.to.Kind != "stage" {
		return append(diags, failure(b.Body.Attributes["to"].Expr.Range(), "Not a stage", "Only a stage is imported, not "+
			"%s. A model starts from the weights of a folder with from.", x.to))
	}
	for _, old := range c.imports {
		if old.to == x.to {
			return append(diags, failure(x.rng, "Imported twice", "%s is already imported at %s. Keep one of the two blocks.",
				x.to, place(old.rng)))
		}
	}
	c.imports = append(c.imports, x)
	return diags
}

// checkImports reports imports to blocks that are not there.
func (c *Config) checkImports() (diags hcl.Diagnostics) {
	for _, x := range c.imports {
		b := c.byAddr[x.to.Block()]
		switch {
		case b == nil:
			d := c.noBlock(x.to.Block(), x.rng)
			d.Detail += " Declare the stage that the checkpoint becomes."
			diags = append(diags, d)
		case x.to.Key == "" && b.exampleKey() != "":
			diags = append(diags, failure(x.rng, "Missing instance key", "%s is repeated, so name an instance, as in %s%s.",
				b.Addr, b.Addr, b.exampleKey()))
		}
	}
	return diags
}

// refs resolves what the id of an import block names.
func (x *importBlock) refs(c *Config) (diags hcl.Diagnostics) {
	x.uses, diags = c.root().refsOfExpr(x.id, false)
	return diags
}

// Imports evaluates the import blocks.
func (s *Scope) Imports() (list []Import, diags hcl.Diagnostics) {
	for _, x := range s.config.imports {
		v, dd := x.id.Value(s.context(s.config.root(), x.uses, nil))
		if diags = append(diags, dd...); dd.HasErrors() {
			continue
		}
		problem := ""
		switch {
		case v.IsMarked():
			problem = "The id is sensitive, and a plan shows it. Give one that is not."
		case !v.IsKnown():
			problem = "The id must be known before anything runs: make it of variables and locals alone."
		case v.IsNull() || v.Type() != cty.String || v.AsString() == "":
			problem = "id takes a folder, or an address such as hf://ORG/NAME, as text."
		}
		if problem != "" {
			diags = append(diags, failure(x.id.Range(), "Invalid id", "%s", problem))
			continue
		}
		list = append(list, Import{x.to, v.AsString(), x.id.Range()})
	}
	return list, s.config.Secrets.Diagnostics(diags)
}

// NoInstance is the error of an import to an instance that the block does not have.
func (x *Import) NoInstance() *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Import to no instance", Subject: x.Range.Ptr(),
		Detail: fmt.Sprintf("The pipeline has no %s: count or for_each does not give that key.", x.To)}
}
