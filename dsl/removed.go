package dsl

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl/addr"
)

// Removal is a removed block: what becomes of a block, or an instance, that is no longer in the pipeline.
type Removal struct {
	From    addr.Addr // without a key: all instances
	Destroy bool      // its files are deleted; else they stay
	Range   hcl.Range
}

// Covers reports whether the removal is about the block with an address.
func (r *Removal) Covers(a addr.Addr) bool { return r.From.Covers(a) }

// Place returns the file and the line of the removed block.
func (r *Removal) Place() string { return place(r.Range) }

// removedKind is the row of Meta for removed blocks.
var removedKind = Kind{Name: "removed", NoLabel: true,
	Doc: "Says what becomes of a block that is no longer in the pipeline. A pipeline may have several.",
	Attrs: []Attr{{Name: "from", Address: true, Required: true,
		Doc: "The block that was removed, such as `stage.old`, with all its instances; or one instance, such as " +
			"`stage.grid[\"a\"]`."}},
	Blocks: []Nested{{Name: "lifecycle", Required: true, Doc: "What becomes of its results and checkpoints.",
		Attrs: []Attr{{Name: "destroy", Type: cty.Bool, Required: true,
			Doc: "`false`: the state forgets the block, and its files stay. `true`: `apply` deletes them, after a yes " +
				"if they hold trained steps."}}}}}

// addRemoved reads a removed block.
func (m *module) addRemoved(b *hclsyntax.Block) hcl.Diagnostics {
	c := m.config
	diags := checkMeta(b, &removedKind)
	if diags.HasErrors() {
		return diags
	}
	r := &Removal{Range: b.DefRange()}
	var problem *hcl.Diagnostic
	if r.From, problem = readAddress(b.Body.Attributes["from"], true); problem != nil {
		return append(diags, problem)
	}
	r.From = r.From.In(m.path)
	for _, old := range c.Removed {
		if old.From == r.From {
			return append(diags, failure(r.Range, "Removed twice", "%s is already removed at %s. Keep one of the two blocks.",
				r.From, place(old.Range)))
		}
	}
	destroy := b.Body.Blocks[0].Body.Attributes["destroy"]
	v, d := destroy.Expr.Value(nil)
	if diags = append(diags, d...); d.HasErrors() {
		return diags
	}
	if v.Type() != cty.Bool || v.IsNull() {
		return append(diags, failure(destroy.Expr.Range(), "Wrong type", "destroy is true or false."))
	}
	r.Destroy = v.True()
	c.Removed = append(c.Removed, r)
	return diags
}

// checkRemoved reports removals of blocks that are still there.
func (c *Config) checkRemoved() (diags hcl.Diagnostics) {
	for _, r := range c.Removed {
		if at := c.declared(r.From); at != nil {
			diags = append(diags, failure(r.Range, "Removed block still exists",
				"%s is declared at %s. Remove that block, or this one.", r.From, place(*at)))
		}
	}
	return diags
}
