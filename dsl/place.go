package dsl

import (
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// Head is what stands before the braces of a block.
type Head struct {
	Type   string
	Labels []string
}

// Body is what the schema allows between the braces of a block.
type Body struct {
	Attrs  []Attr
	Blocks []Nested
}

// TopLevel lists the kinds of blocks that may stand outside of others.
func TopLevel() []Kind { return slices.Concat(Meta, Kinds) }

// BodyOf returns what may stand in the innermost of blocks that lie in each other, the outermost first. ok is false if
// the language does not have such a block.
func BodyOf(path []Head) (body Body, ok bool) {
	if len(path) == 0 {
		return body, false
	}
	body, ok = outermost(path[0])
	if !ok {
		return body, false
	}
	return body.inside(path[1:])
}

// TestBodyOf is BodyOf for a test file. Without blocks it returns what may stand in the file.
func TestBodyOf(path []Head) (body Body, ok bool) { return Body{nil, TestBlocks}.inside(path) }

// inside returns what may stand in the innermost of blocks that lie in each other in the body.
func (b Body) inside(path []Head) (body Body, ok bool) {
	for _, h := range path {
		n, dynamic := b.Block(h.Type), b.Block(dynamicName) != nil
		if n != nil && h.Type == dynamicName && len(h.Labels) > 0 {
			n = b.Block(h.Labels[0]).dynamic()
		}
		if n == nil {
			return Body{}, false
		}
		if b = (Body{n.Attrs, n.Blocks}); dynamic && n.Name != lifecycleBlock.Name {
			b = b.withDynamic()
		}
	}
	return b, true
}

// withDynamic adds the row of dynamic blocks, if they can stand for any block.
func (b Body) withDynamic() Body {
	d := dynamicBlock
	d.Repeat = true
	for _, n := range b.Blocks {
		if n.Name != lifecycleBlock.Name && n.Name != dynamicName {
			d.Label = append(d.Label, n.Name)
		}
	}
	if d.Label != nil {
		b.Blocks = append(slices.Clip(b.Blocks), d)
	}
	return b
}

// dynamic returns the row of dynamic blocks that stand for the block; nil for nil.
func (n *Nested) dynamic() *Nested {
	if n == nil {
		return nil
	}
	d := dynamicBlock
	d.Blocks = slices.Clone(d.Blocks)
	d.Blocks[0].Attrs, d.Blocks[0].Blocks = n.Attrs, n.Blocks
	return &d
}

// outermost returns what may stand in a block that lies in no other.
func outermost(h Head) (body Body, ok bool) {
	list := TopLevel()
	at := slices.IndexFunc(list, func(k Kind) bool { return k.Name == h.Type })
	if at < 0 {
		return body, false
	}
	k, typ := &list[at], ""
	if k.Name == defaultsKind.Name {
		return defaultsBody(h.Labels).withDynamic(), true
	}
	if k.Types != nil && len(h.Labels) > 0 {
		typ = h.Labels[0]
	}
	body = Body{k.Attrs, k.Blocks}
	if k.Repeat {
		body.Attrs = append(slices.Clip(body.Attrs), repeatAttrs(k)...)
		body.Blocks = append(slices.Clip(body.Blocks), lifecycleOf(k))
	}
	if body = body.of(typ); k.Repeat {
		body = body.withDynamic()
	}
	return body, true
}

// defaultsBody returns what may stand in a defaults block with these labels.
func defaultsBody(labels []string) (body Body) {
	if len(labels) == 0 {
		return body
	}
	k := KindOf(labels[0])
	if k == nil || !k.Repeat {
		return body
	}
	if len(labels) > 1 {
		return Body{k.Attrs, k.Blocks}.of(labels[1]).optional()
	}
	attrs, blocks := ofAnyType(k.Attrs, k.Blocks)
	return Body{attrs, blocks}.optional()
}

// optional returns a body that needs nothing.
func (b Body) optional() Body {
	b.Attrs, b.Blocks = slices.Clone(b.Attrs), slices.Clone(b.Blocks)
	for i := range b.Attrs {
		b.Attrs[i].Required = false
	}
	for i := range b.Blocks {
		n := &b.Blocks[i]
		inside := Body{n.Attrs, n.Blocks}.optional()
		n.Attrs, n.Blocks, n.Required = inside.Attrs, inside.Blocks, false
	}
	return b
}

// LabelsOf returns what the next label of a block may be, in blocks that lie in each other; nil if it is a name of the
// user's.
func LabelsOf(around []Head, h Head) []string {
	if len(around) > 0 {
		body, _ := BodyOf(around)
		if n := body.Block(h.Type); n != nil && len(h.Labels) == 0 {
			return n.Label
		}
		return nil
	}
	switch n := len(h.Labels); {
	case h.Type == defaultsKind.Name && n == 0:
		return repeatableKinds()
	case h.Type == defaultsKind.Name && n == 1 && KindOf(h.Labels[0]) != nil:
		return KindOf(h.Labels[0]).Types
	case n == 0 && KindOf(h.Type) != nil:
		return KindOf(h.Type).Types
	}
	return nil
}

// of returns what a block of a type may hold.
func (b Body) of(typ string) (of Body) {
	for _, a := range b.Attrs {
		if only(a.Only, typ) {
			of.Attrs = append(of.Attrs, a.of(typ))
		}
	}
	for _, n := range b.Blocks {
		if only(n.Only, typ) {
			of.Blocks = append(of.Blocks, n)
		}
	}
	return of
}

// Attr returns the row of an attribute; nil if there is none.
func (b Body) Attr(name string) *Attr {
	if i := slices.IndexFunc(b.Attrs, func(a Attr) bool { return a.Name == name }); i >= 0 {
		return &b.Attrs[i]
	}
	return nil
}

// Block returns the row of a nested block; nil if there is none.
func (b Body) Block(name string) *Nested {
	if i := slices.IndexFunc(b.Blocks, func(n Nested) bool { return n.Name == name }); i >= 0 {
		return &b.Blocks[i]
	}
	return nil
}

// repeatNames are the attributes of repeatAttrs.
var repeatNames = []string{"count", "for_each", dependsOn.Name}

// repeatAttrs returns the rows of the attributes that every block with instances may have.
func repeatAttrs(k *Kind) []Attr {
	example := k.Name + ".NAME"
	return []Attr{
		{Name: "count", Type: cty.Number, Whole: true,
			Doc: "Number of instances, `" + example + "[0]` and so on; `count.index` inside."},
		{Name: "for_each", Type: cty.DynamicPseudoType,
			Doc: "Map or set of strings with an instance for each key, `" + example + "[\"key\"]`; " +
				"`each.key` and `each.value` inside."},
		dependsOn,
	}
}

// Offered returns the values that blocks of a type offer to others.
func (k *Kind) Offered(typ string) (list []Export) {
	list = append(list, Export{Name: "address", Type: cty.String, Doc: "The address of the block."})
	for _, e := range k.Exports {
		if only(e.Only, typ) {
			list = append(list, e)
		}
	}
	return list
}

// Form returns how a block of the kind begins, such as stage "NAME".
func (k *Kind) Form() string {
	switch {
	case k.Labels != "":
		return k.Name + " " + k.Labels
	case k.Types != nil:
		return k.Name + ` "` + strings.Join(k.Types, `"|"`) + `" "NAME"`
	case k.NoLabel:
		return k.Name
	}
	return k.Name + ` "NAME"`
}

// Form returns how the block begins, such as schedule "cosine"|"wsd".
func (n *Nested) Form() string {
	switch {
	case n.Named:
		return n.Name + ` "NAME"`
	case n.Label == nil:
		return n.Name
	}
	return n.Name + ` "` + strings.Join(n.Label, `"|"`) + `"`
}
