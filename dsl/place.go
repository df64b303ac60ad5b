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
	Named  bool // attributes with names of the user's, as in locals
}

// TopLevel lists the kinds of blocks that may stand outside of others.
func TopLevel() []Kind { return slices.Concat(Meta, Kinds) }

// BodyOf returns what may stand in the innermost of blocks that lie in each other, the outermost first. ok is false if
// the language does not have such a block.
func BodyOf(path []Head) (body Body, ok bool) {
	if len(path) == 0 {
		return body, false
	}
	body, typ, ok := outermost(path[0])
	for _, h := range path[1:] {
		n := body.nested(h, typ)
		if n == nil {
			return body, false
		}
		body, typ = Body{n.Attrs, n.Blocks, false}, ""
	}
	return body.of(typ), ok
}

// TypesOf lists what the first label of a kind of block may be, where that is not a name of the user's.
func TypesOf(kind string) (types []string) {
	if k := KindOf(kind); k != nil {
		return k.Types
	}
	if kind == defaultsKind.Name {
		return repeatableKinds()
	}
	return nil
}

// outermost returns what may stand in a block outside of others, and its type.
func outermost(h Head) (body Body, typ string, ok bool) {
	list, labels := TopLevel(), h.Labels
	name := h.Type
	isDefaults := name == defaultsKind.Name && len(labels) > 0
	if isDefaults {
		name, labels = labels[0], labels[1:]
	}
	at := slices.IndexFunc(list, func(k Kind) bool { return k.Name == name })
	if at < 0 {
		return body, "", false
	}
	k := &list[at]
	if k.Types != nil && len(labels) > 0 {
		typ = labels[0]
	}
	body = Body{k.Attrs, k.Blocks, k.Name == "locals"}
	switch {
	case isDefaults && typ == "":
		body.Attrs, body.Blocks = ofAnyType(k.Attrs, k.Blocks)
	case k.Repeat && !isDefaults:
		body.Attrs = append(slices.Clip(body.Attrs), repeatAttrs(k)...)
		body.Blocks = append(slices.Clip(body.Blocks), lifecycleOf(k))
	}
	return body, typ, true
}

// nested returns the row of a block in a block of type typ; nil if there is none.
func (b Body) nested(h Head, typ string) *Nested {
	name := h.Type
	isDynamic := name == dynamicName && len(h.Labels) > 0
	if isDynamic {
		name = h.Labels[0]
	}
	at := slices.IndexFunc(b.Blocks, func(n Nested) bool { return n.Name == name && only(n.Only, typ) })
	if at < 0 {
		return nil
	}
	n := b.Blocks[at]
	if isDynamic {
		in := dynamicBlock.Blocks[0]
		in.Attrs, in.Blocks = n.Attrs, n.Blocks
		n = dynamicBlock
		n.Blocks = []Nested{in}
	}
	return &n
}

// of returns what a block of a type may hold.
func (b Body) of(typ string) Body {
	of := Body{Named: b.Named}
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

// IgnorableNames lists what ignore_changes of a block may name: its attributes and the blocks inside it, with dots.
func IgnorableNames(h Head) (names []string) {
	body, _ := BodyOf([]Head{h})
	var add func(prefix string, attrs []Attr, blocks []Nested)
	add = func(prefix string, attrs []Attr, blocks []Nested) {
		for _, a := range attrs {
			if a.Fixed == "" {
				names = append(names, prefix+a.Name)
			}
		}
		for _, n := range blocks {
			if !n.Repeat && n.Name != lifecycleBlock.Name {
				names = append(names, prefix+n.Name)
				add(prefix+n.Name+".", n.Attrs, n.Blocks)
			}
		}
	}
	own := slices.DeleteFunc(body.Attrs, func(a Attr) bool { return slices.Contains(repeatNames, a.Name) })
	add("", own, body.Blocks)
	return names
}

// repeatNames are the attributes of repeatAttrs.
var repeatNames = []string{"count", "for_each", "depends_on"}

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
	case k.Types != nil:
		return k.Name + ` "` + strings.Join(k.Types, `"|"`) + `" "NAME"`
	case k.NoLabel:
		return k.Name
	}
	return k.Name + ` "NAME"`
}

// Form returns how the block begins, such as schedule "cosine"|"wsd".
func (n *Nested) Form() string {
	if n.Label == nil {
		return n.Name
	}
	return n.Name + ` "` + strings.Join(n.Label, `"|"`) + `"`
}
