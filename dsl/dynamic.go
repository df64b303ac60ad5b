package dsl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// dynamicName is the name of the blocks that stand for nested ones.
const dynamicName = "dynamic"

// maxDynamic bounds the blocks that one dynamic block makes.
const maxDynamic = 10000

// dynamicBlock is the row of the schema for dynamic blocks.
var dynamicBlock = Nested{Name: dynamicName,
	Doc: "Makes nested blocks, one for each element, as in Terraform: it stands wherever a block of the name in its " +
		"label may stand, also in another dynamic block, but not for `lifecycle` or in it. A block that may stand once " +
		"is made at most once, so `for_each = var.x ? [1] : []` makes it optional. If the elements are known only after " +
		"other blocks have run, the block around it is planned then.",
	Attrs: []Attr{
		{Name: "for_each", Type: cty.DynamicPseudoType, Required: true,
			Doc: "List, set, map or object with an element for each block."},
		{Name: "iterator", Type: cty.String,
			Doc: "Name by which `content` and `labels` call the element, written without quotes: `NAME.key` is its key, " +
				"or its number in a list, and `NAME.value` its value. Default: the name of the nested block."},
		{Name: "labels", Type: strings_, Doc: "The label of the block, if it has one, such as `[\"cosine\"]`."},
	},
	Blocks: []Nested{{Name: "content", Required: true, Doc: "The body of each block."}}}

// writeDynamic writes the section of what may stand for every nested block.
func writeDynamic(b *strings.Builder) {
	fmt.Fprintf(b, "## dynamic\n\n`dynamic \"BLOCK\" { … }` %s See [defaults.md](defaults.md#dynamic-blocks).\n\n",
		dynamicBlock.Doc)
	writeAttrs(b, dynamicBlock.Attrs)
	writeNested(b, dynamicBlock.Blocks, "### ")
}

// makes reports whether a block is a dynamic one that makes nested blocks of this name.
func makes(b *hclsyntax.Block, name string) bool {
	return b.Type == dynamicName && len(b.Labels) == 1 && b.Labels[0] == name
}

// content returns the content block of a dynamic block; nil if there is none.
func content(b *hclsyntax.Block) *hclsyntax.Block {
	for _, sub := range b.Body.Blocks {
		if sub.Type == "content" {
			return sub
		}
	}
	return nil
}

// iterator returns the name by which a dynamic block calls its elements.
func iterator(b *hclsyntax.Block) string {
	if a := b.Body.Attributes["iterator"]; a != nil {
		return hcl.ExprAsKeyword(a.Expr)
	}
	if len(b.Labels) == 0 {
		return ""
	}
	return b.Labels[0]
}

// checkDynamic compares a dynamic block with the schema. name is the name of the blocks that it makes.
func (c *checker) checkDynamic(b *hclsyntax.Block) (name string, diags hcl.Diagnostics) {
	if len(b.Labels) != 1 {
		return "", hcl.Diagnostics{failure(b.DefRange(), "Wrong number of labels",
			`Write dynamic "NAME" { … }, with the name of the blocks to make.`)}
	}
	name = b.Labels[0]
	n := c.row(name)
	switch {
	case name == lifecycleBlock.Name:
		return name, hcl.Diagnostics{failure(b.DefRange(), "Not dynamic",
			"lifecycle says what may become of a block, and stands there as it is. Write lifecycle { … }.")}
	case n == nil:
		names := slices.DeleteFunc(slices.Clone(c.nested), func(s string) bool { return s == lifecycleBlock.Name })
		hint := Suggest(name, names)
		if hint == "" && len(names) > 0 {
			hint = " It takes the blocks " + strings.Join(names, ", ") + "."
		}
		return name, hcl.Diagnostics{failure(b.LabelRanges[0], "Unknown block", "%s has no block %q.%s", c.where, name, hint)}
	}
	where := fmt.Sprintf("the dynamic %q block of %s", name, c.where)
	frame := *b.Body
	frame.Blocks = nil // what they hold is compared with the row of what they make
	for _, sub := range b.Body.Blocks {
		bare := *sub
		bare.Body = &hclsyntax.Body{SrcRange: sub.Body.SrcRange, EndRange: sub.Body.EndRange}
		frame.Blocks = append(frame.Blocks, &bare)
	}
	diags = checkBody(&frame, dynamicBlock.Attrs, dynamicBlock.Blocks, "", where, rules{})
	if a := b.Body.Attributes["iterator"]; a != nil {
		if it := iterator(b); it == "" || slices.Contains(reserved(), it) {
			diags = append(diags, failure(a.Expr.Range(), "Invalid iterator", "iterator is a name of your own, written without "+
				"quotes, such as item. References to other things start with %s.", strings.Join(reserved(), ", ")))
		}
	}
	switch labels := b.Body.Attributes["labels"]; {
	case labels == nil && n.Label != nil:
		diags = append(diags, failure(b.DefRange(), "Missing label", "Each %s block has a label: write labels = [%q].",
			name, n.Label[0]))
	case labels != nil && n.Label == nil:
		diags = append(diags, failure(labels.SrcRange, "Wrong number of labels", "A %s block has no label: remove labels.",
			name))
	}
	if in := content(b); in != nil {
		diags = append(diags, c.inside(in.Body, n)...)
	}
	return name, diags
}

// reserved lists the names that references of other kinds start with.
func reserved() []string { return append(roots(), "self") }

// dynamicRefs resolves what a dynamic block names. iterators are the names of the dynamic blocks around it.
func (c *Config) dynamicRefs(b *hclsyntax.Block, repeated bool, iterators []string) (refs []reference,
	diags hcl.Diagnostics) {
	inside := append(slices.Clip(iterators), iterator(b))
	for _, a := range sortedAttrs(b.Body) {
		names := iterators
		switch a.Name {
		case "iterator":
			continue
		case "labels":
			names = inside
		}
		r, d := c.refsOfExpr(a.Expr, repeated, names...)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	if in := content(b); in != nil {
		r, d := c.refsOf(in.Body, repeated, inside...)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	return refs, diags
}

// element is an element for which a dynamic block makes a block.
type element struct{ key, value cty.Value }

// expand evaluates the blocks that a dynamic block makes.
func (x *decoder) expand(d *Decoded, n *Nested, b *hclsyntax.Block, prefix string) {
	each, in := b.Body.Attributes["for_each"], content(b)
	if each == nil || in == nil {
		return // reported when it was loaded
	}
	fail := func(at hcl.Range, summary, format string, args ...any) {
		x.diags = append(x.diags, failure(at, summary, format, args...))
	}
	at := each.Expr.Range()
	list, known, ok := x.elements(each.Expr)
	switch {
	case !ok:
		return
	case len(list) > maxDynamic:
		fail(at, "Too many blocks", "for_each has %d elements, and a dynamic block makes %d blocks at most.", len(list),
			maxDynamic)
		return
	case !n.Repeat && (len(list) > 1 || len(list) == 1 && d.blocks[n.Name] != nil):
		fail(at, "Duplicate block", "A %s block may stand once, and for_each makes %d here. Give it one element, or none "+
			"where there is another %s block.", n.Name, len(list), n.Name)
		return
	}
	outer := x.ctx
	defer func() { x.ctx = outer }()
	for _, e := range list {
		if err := x.meter.spend(int64(elementCost + in.Body.SrcRange.End.Byte - in.Body.SrcRange.Start.Byte)); err != nil {
			x.diags = append(x.diags, exhausted{err, at}.diagnostic())
			return
		}
		x.ctx = outer.NewChild()
		x.ctx.Variables = map[string]cty.Value{
			iterator(b): cty.ObjectVal(map[string]cty.Value{"key": e.key, "value": e.value})}
		label, ok := x.label(n, b)
		if !ok {
			return
		}
		inside := x.body(in.Body, n.Attrs, n.Blocks, "", prefix+n.Name+".", b.DefRange())
		if !known || n.Label != nil && label == "" {
			d.Unknown, inside.Unknown = append(d.Unknown, n.Name), nil // as a whole
		}
		d.nest(n, label, inside)
	}
}

// elements evaluates the for_each of a dynamic block. Where it is not known, it returns one unknown element, so that
// the content is evaluated all the same. ok is false if there is an error.
func (x *decoder) elements(e hclsyntax.Expression) (list []element, known, ok bool) {
	v, diags := e.Value(x.ctx)
	x.diags = append(x.diags, diags...)
	if diags.HasErrors() {
		return nil, false, false
	}
	x.secrets.Add(v)
	problem := ""
	switch t := v.Type(); {
	case v.IsMarked():
		problem = "for_each is sensitive, and a plan shows which blocks there are. Give values that are not; the values in " +
			"the blocks may be sensitive."
	case !v.IsKnown():
		value := cty.DynamicVal
		if t.IsCollectionType() {
			value = cty.UnknownVal(t.ElementType())
		}
		return []element{{cty.DynamicVal, value}}, false, true
	case v.IsNull():
		problem = "for_each is null. To make no block, give an empty list."
	case !v.CanIterateElements():
		problem = fmt.Sprintf("for_each takes a list, a set, a map or an object, not %s.", kindOfValue(v))
	}
	if problem != "" {
		d := failure(e.Range(), "Invalid for_each", "%s", problem)
		d.Expression, d.EvalContext = e, x.ctx
		x.diags = append(x.diags, d)
		return nil, false, false
	}
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		list = append(list, element{key, value})
	}
	return list, true, true
}

// label evaluates the label of a block that a dynamic block makes; "" if it has none, or one that is not known yet. ok
// is false if there is an error.
func (x *decoder) label(n *Nested, b *hclsyntax.Block) (label string, ok bool) {
	a := b.Body.Attributes["labels"]
	if n.Label == nil || a == nil {
		return "", n.Label == nil
	}
	v, diags := a.Expr.Value(x.ctx)
	x.diags = append(x.diags, diags...)
	if diags.HasErrors() {
		return "", false
	}
	bad := func(summary, format string, args ...any) (string, bool) {
		x.diags = append(x.diags, failure(a.Expr.Range(), summary, format, args...))
		return "", false
	}
	v, marks := v.UnmarkDeep()
	list, err := convert.Convert(v, strings_)
	switch {
	case len(marks) > 0:
		return bad("Sensitive label", "A label is part of what a plan shows, so it cannot come from a sensitive value.")
	case err != nil || list.IsNull() || list.IsKnown() && list.LengthInt() != 1:
		return bad("Wrong number of labels", "labels takes a list of one text, such as [%q].", n.Label[0])
	case !list.IsWhollyKnown():
		return "", true
	}
	one := list.Index(cty.Zero)
	if one.IsNull() || !slices.Contains(n.Label, one.AsString()) {
		return bad("Unknown "+n.Name+" type", "There is no %s %s. The types are %s.", n.Name, Show(one),
			strings.Join(n.Label, ", "))
	}
	return one.AsString(), true
}
