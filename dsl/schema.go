package dsl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// checker compares a body with the schema: names only, no values.
type checker struct {
	rules
	body   *hclsyntax.Body
	attrs  []Attr
	blocks []Nested
	where  string   // the block, as messages name it
	known  []string // names of attributes
	nested []string // names of blocks
}

// rules say in what a body may differ from the schema.
type rules struct {
	extra   []string // attributes that are allowed besides
	partial bool     // nothing is required
	dynamic bool     // dynamic blocks may stand for nested ones
}

// checkBody compares the body of a block of type typ with the schema. where is the block, as messages name it.
func checkBody(b *hclsyntax.Body, attrs []Attr, blocks []Nested, typ, where string, r rules) hcl.Diagnostics {
	c := &checker{rules: r, body: b, where: where, known: append(attrNames(attrs, typ), r.extra...)}
	for _, a := range attrs {
		if only(a.Only, typ) {
			c.attrs = append(c.attrs, a.of(typ))
		}
	}
	c.blocks = slices.DeleteFunc(slices.Clone(blocks), func(n Nested) bool { return !only(n.Only, typ) })
	for _, n := range c.blocks {
		c.nested = append(c.nested, n.Name)
	}
	return append(c.checkAttrs(), c.checkBlocks()...)
}

// checkAttrs reports attributes that are unknown or missing.
func (c *checker) checkAttrs() (diags hcl.Diagnostics) {
	for _, a := range sortedAttrs(c.body) {
		if slices.Contains(c.known, a.Name) {
			continue
		}
		hint := insteadOr(a.Name, c.known)
		if slices.Contains(c.nested, a.Name) {
			hint = fmt.Sprintf(" %s is a block: write %s { … } without \"=\".", a.Name, a.Name)
		} else if hint == "" && len(c.known) > 0 {
			hint = " It takes " + strings.Join(c.known, ", ") + "."
		}
		d := failure(a.NameRange, "Unknown attribute", "%s has no attribute %q.%s", c.where, a.Name, hint)
		d.Context = a.SrcRange.Ptr()
		diags = append(diags, d)
	}
	for _, a := range c.attrs {
		if a.Required && !c.partial && c.body.Attributes[a.Name] == nil {
			diags = append(diags, failure(c.body.MissingItemRange(), "Missing attribute", "%s needs %s: %s",
				c.where, a.Name, a.Doc))
		}
	}
	return diags
}

// checkBlocks reports nested blocks that are unknown, given twice or missing, and checks the others.
func (c *checker) checkBlocks() (diags hcl.Diagnostics) {
	seen := map[string]hcl.Range{}
	made := map[string]bool{} // by dynamic blocks
	for _, sub := range c.body.Blocks {
		if c.dynamic && sub.Type == dynamicName {
			name, d := c.checkDynamic(sub)
			diags, made[name] = append(diags, d...), true
			continue
		}
		n := c.row(sub.Type)
		if n == nil {
			diags = append(diags, c.unknownBlock(sub))
			continue
		}
		if old, dup := seen[sub.Type]; dup && !n.Repeat {
			diags = append(diags, failure(sub.DefRange(), "Duplicate block", "%s has one %s block; the first is at %s.",
				c.where, sub.Type, place(old)))
			continue
		}
		seen[sub.Type] = sub.DefRange()
		if d := n.checkLabel(sub); d != nil {
			diags = append(diags, d)
		}
		diags = append(diags, c.inside(sub.Body, n, n.placeIn(sub, c.where))...)
	}
	for _, n := range c.blocks {
		if _, ok := seen[n.Name]; n.Required && !c.partial && !ok && !made[n.Name] {
			diags = append(diags, failure(c.body.MissingItemRange(), "Missing block", "%s needs %s block: %s",
				c.where, withArticle(n.Name), n.Doc))
		}
	}
	return diags
}

// row returns the row of a nested block; nil if there is none.
func (c *checker) row(name string) *Nested {
	if i := slices.IndexFunc(c.blocks, func(n Nested) bool { return n.Name == name }); i >= 0 {
		return &c.blocks[i]
	}
	return nil
}

// inside compares the body of a nested block.
func (c *checker) inside(b *hclsyntax.Body, n *Nested, place string) hcl.Diagnostics {
	r := rules{partial: c.partial, dynamic: c.dynamic && n.Name != lifecycleBlock.Name}
	if n.Open {
		r.extra = slices.Collect(maps.Keys(b.Attributes))
	}
	return checkBody(b, n.Attrs, n.Blocks, "", place, r)
}

// unknownBlock is the error of a nested block that the schema does not have.
func (c *checker) unknownBlock(sub *hclsyntax.Block) *hcl.Diagnostic {
	hint := insteadOr(sub.Type, append(slices.Clone(c.nested), c.known...))
	if slices.Contains(c.known, sub.Type) {
		hint = fmt.Sprintf(" %s is an attribute: write %s = …", sub.Type, sub.Type)
	} else if hint == "" && len(c.nested) > 0 {
		hint = " It takes the blocks " + strings.Join(c.nested, ", ") + "."
	}
	return failure(sub.TypeRange, "Unknown block", "%s has no block %q.%s", c.where, sub.Type, hint)
}

// placeIn names a nested block in messages.
func (n *Nested) placeIn(sub *hclsyntax.Block, where string) string {
	if n.Named && len(sub.Labels) == 1 {
		return n.Name + "." + sub.Labels[0]
	}
	return "the " + n.Name + " block of " + where
}

// checkLabel reports a label that is missing, unknown or too many; nil for none.
func (n *Nested) checkLabel(sub *hclsyntax.Block) *hcl.Diagnostic {
	switch {
	case n.Named && len(sub.Labels) != 1:
		return failure(sub.DefRange(), "Wrong number of labels", "Write %s \"NAME\" { … }.", n.Name)
	case n.Named && !hclsyntax.ValidIdentifier(sub.Labels[0]):
		return failure(sub.LabelRanges[0], "Invalid name", "%q cannot be referred to: a name starts with a letter and has "+
			"only letters, digits, _ and -.", sub.Labels[0])
	case n.Named:
		return nil
	case n.Label == nil && len(sub.Labels) > 0 || n.Label != nil && len(sub.Labels) != 1:
		form := n.Name
		if n.Label != nil {
			form += fmt.Sprintf(" %q", n.Label[0])
		}
		return failure(sub.DefRange(), "Wrong number of labels", "Write %s { … }.", form)
	case n.Label != nil && !slices.Contains(n.Label, sub.Labels[0]):
		return failure(sub.LabelRanges[0], "Unknown "+n.Name+" type", "There is no %s %q.%s The types are %s.",
			n.Name, sub.Labels[0], Suggest(sub.Labels[0], n.Label), strings.Join(n.Label, ", "))
	}
	return nil
}

// checkMeta compares a block without labels with its row in Meta.
func checkMeta(b *hclsyntax.Block, k *Kind) hcl.Diagnostics {
	if len(b.Labels) > 0 {
		return hcl.Diagnostics{failure(b.DefRange(), "Wrong number of labels", "A %s block has no label: write %s { … }.",
			k.Name, k.Name)}
	}
	return checkBody(b.Body, k.Attrs, k.Blocks, "", withArticle(k.Name)+" block", rules{})
}

// withArticle puts "a" or "an" before a name.
func withArticle(name string) string {
	if strings.ContainsAny(name[:1], "aeiou") {
		return "an " + name
	}
	return "a " + name
}
