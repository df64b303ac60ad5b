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
	Doc: "Makes the nested blocks that its label names, one for each element of a collection.",
	Attrs: []Attr{
		{Name: "for_each", Type: cty.DynamicPseudoType, Required: true,
			Doc: "List, set, map or object with an element for each block."},
		{Name: "iterator", Type: cty.String,
			Doc: "Name by which `content` and `labels` call the element, written without quotes: `NAME.key` is its key, " +
				"or its number in a list, and `NAME.value` its value. Default: the name of the nested block."},
		{Name: "labels", Type: strings_, Doc: "The label of the block, if it has one, such as `[\"cosine\"]`."},
	},
	Blocks: []Nested{{Name: "content", Required: true, Doc: "The body of each block."}}}

// dynamicTables returns the tables of what a dynamic block takes.
func dynamicTables() string {
	var b strings.Builder
	writeAttrs(&b, dynamicBlock.Attrs)
	writeNested(&b, dynamicBlock.Blocks, "#### ")
	return strings.TrimSuffix(b.String(), "\n\n")
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
		diags = append(diags, c.inside(in.Body, n, n.placeIn(in, c.where))...)
	}
	return name, diags
}

// reserved lists the names that references of other kinds start with.
func reserved() []string { return append(roots(), "self") }

// dynamicRefs resolves what a dynamic block names. iterators are the names of the dynamic blocks around it.
func (m *module) dynamicRefs(b *hclsyntax.Block, repeated bool, iterators []string) (refs []reference,
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
		r, d := m.refsOfExpr(a.Expr, repeated, names...)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	if in := content(b); in != nil {
		r, d := m.refsOf(in.Body, repeated, inside...)
		refs, diags = append(refs, r...), append(diags, d...)
	}
	return refs, diags
}

// made is a nested block that stands in a body, or that a dynamic block makes.
type made struct {
	*hclsyntax.Block
	ctx     *hcl.EvalContext // of what is in it
	unknown bool             // whether it is there, or its label, is known only after other blocks have run
}

// made returns the blocks of a row in a body, at most one if the row does not repeat.
func (x *decoder) made(b *hclsyntax.Body, n *Nested) (list []made) {
	var dynamic *hclsyntax.Block
	others := 0
	if slices.ContainsFunc(b.Blocks, func(sub *hclsyntax.Block) bool { return sub.Type == n.Name }) {
		others = 1
	}
	for _, sub := range b.Blocks {
		switch {
		case makes(sub, n.Name):
			dynamic = sub
			more := x.expand(n, sub, others)
			list, others = append(list, more...), others+len(more)
		case sub.Type == n.Name && (n.Repeat || list == nil):
			list = append(list, made{sub, x.ctx, false})
		}
	}
	if n.Required && dynamic != nil && list == nil && !x.diags.HasErrors() {
		x.diags = append(x.diags, failure(dynamic.DefRange(), "Missing block", "No %s block is made here, and one is "+
			"needed: %s", n.Name, n.Doc))
	}
	return list
}

// element is an element for which a dynamic block makes a block.
type element struct{ key, value cty.Value }

// expand returns the blocks that a dynamic block makes. others says how many there are already, up to one that stands
// in the body.
func (x *decoder) expand(n *Nested, b *hclsyntax.Block, others int) (blocks []made) {
	each, in := b.Body.Attributes["for_each"], content(b)
	if each == nil || in == nil {
		return nil // reported when it was loaded
	}
	at := each.Expr.Range()
	list, known, ok := x.elements(each.Expr)
	switch {
	case !ok:
		return nil
	case len(list) > maxDynamic:
		x.diags = append(x.diags, failure(at, "Too many blocks", "for_each has %d elements, and a dynamic block makes %d "+
			"blocks at most.", len(list), maxDynamic))
		return nil
	case !n.Repeat && len(list) > 0 && len(list)+others > 1:
		x.diags = append(x.diags, failure(at, "Duplicate block", "A %s block may stand once, and for_each makes %d here. "+
			"Give it one element, or none where there is another %s block.", n.Name, len(list), n.Name))
		return nil
	}
	for _, e := range list {
		if err := x.meter.spend(int64(elementCost + in.Body.SrcRange.End.Byte - in.Body.SrcRange.Start.Byte)); err != nil {
			x.diags = append(x.diags, exhausted{err, at}.diagnostic())
			return nil
		}
		ctx := x.ctx.NewChild()
		ctx.Variables = map[string]cty.Value{
			iterator(b): cty.ObjectVal(map[string]cty.Value{"key": e.key, "value": e.value})}
		label, ok := x.label(n, b, ctx)
		if !ok {
			return nil
		}
		one := &hclsyntax.Block{Type: n.Name, TypeRange: b.DefRange(), Body: in.Body}
		if label != "" {
			one.Labels = []string{label}
		}
		blocks = append(blocks, made{one, ctx, !known || n.Label != nil && label == ""})
	}
	return blocks
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
func (x *decoder) label(n *Nested, b *hclsyntax.Block, ctx *hcl.EvalContext) (label string, ok bool) {
	a := b.Body.Attributes["labels"]
	if n.Label == nil || a == nil {
		return "", n.Label == nil
	}
	v, diags := a.Expr.Value(ctx)
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
