package dsl

import (
	"strings"

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
func (r *Removal) Covers(a addr.Addr) bool { return r.From == a || r.From == a.Block() }

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
func (c *Config) addRemoved(b *hclsyntax.Block) hcl.Diagnostics {
	diags := checkMeta(b, &removedKind)
	if diags.HasErrors() {
		return diags
	}
	r := &Removal{Range: b.DefRange()}
	var problem *hcl.Diagnostic
	if r.From, problem = readAddress(b.Body.Attributes["from"]); problem != nil {
		return append(diags, problem)
	}
	for _, old := range c.Removed {
		if old.From == r.From {
			return append(diags, duplicate("the removal of "+r.From.String(), r.Range, old.Range))
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
		if b := c.byAddr[r.From]; b != nil {
			diags = append(diags, failure(r.Range, "Removed block still exists",
				"%s is declared at %s. Remove that block, or this one.", r.From, place(b.DeclRange)))
		}
	}
	return diags
}

// checkMeta compares a block without labels with its row in Meta.
func checkMeta(b *hclsyntax.Block, k *Kind) hcl.Diagnostics {
	if len(b.Labels) > 0 {
		return hcl.Diagnostics{failure(b.DefRange(), "Wrong number of labels", "A %s block has no label: write %s { … }.",
			k.Name, k.Name)}
	}
	article := "a "
	if strings.ContainsAny(k.Name[:1], "aeiou") {
		article = "an "
	}
	return checkBody(b.Body, k.Attrs, k.Blocks, "", article+k.Name+" block", nil)
}

// readAddress reads an attribute that names a block or an instance, such as stage.a or stage.grid["x"].
func readAddress(at *hclsyntax.Attribute) (a addr.Addr, problem *hcl.Diagnostic) {
	bad := func(why string) (addr.Addr, *hcl.Diagnostic) {
		return a, failure(at.Expr.Range(), "Not an address", "%s takes the address of a block or an instance, written "+
			"without quotes, such as stage.seed, tokenizer.bpe.small or stage.grid[\"a\"]%s.", at.Name, why)
	}
	t, diags := hcl.AbsTraversalForExpr(at.Expr)
	if diags.HasErrors() {
		return bad("")
	}
	var b strings.Builder
	for _, step := range t {
		switch x := step.(type) {
		case hcl.TraverseRoot:
			b.WriteString(x.Name)
		case hcl.TraverseAttr:
			b.WriteString("." + x.Name)
		case hcl.TraverseIndex:
			switch {
			case x.Key.Type() == cty.String:
				b.WriteString("[" + addr.StringKey(x.Key.AsString()) + "]")
			case x.Key.Type() == cty.Number:
				b.WriteString("[" + Show(x.Key) + "]")
			default:
				return bad("")
			}
		default:
			return bad("")
		}
	}
	a, err := addr.Parse(b.String())
	if k := KindOf(a.Kind); err != nil || k == nil || !k.Repeat {
		return bad(", not " + b.String())
	}
	return a, nil
}
