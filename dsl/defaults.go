package dsl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// defaultsBlock holds what the blocks of a kind, or of one type of it, have unless they give their own.
type defaultsBlock struct {
	kind     *Kind
	typ      string // "" for all types
	rng      hcl.Range
	whole    hcl.Range // from its header to its end
	body     *hclsyntax.Body
	problems hcl.Diagnostics // of its form
	taken    bool            // some block takes something of it
}

// defaultsKind is the row of Meta for defaults blocks.
var defaultsKind = Kind{Name: "defaults", Labels: `"KIND" ["TYPE"]`,
	Doc: "What all blocks of a kind have unless they give their own: `defaults \"stage\" { precision = \"bf16\" }`. It " +
		"takes the attributes and blocks of that kind, and none is required. See [defaults.md](defaults.md)."}

// ownOnly lists what a block says for itself alone, with the reason.
var ownOnly = map[string]string{
	"count":      "how many instances a block has, and their keys, are part of its address",
	"for_each":   "how many instances a block has, and their keys, are part of its address",
	"depends_on": "what a block waits for is seen where the block stands",
	"lifecycle":  "what a block is protected from is seen where the block stands",
}

// addDefaults reads a defaults block. It is compared with the table of its kind here, and what it names is resolved for
// each block that uses it.
func (m *module) addDefaults(b *hclsyntax.Block) hcl.Diagnostics {
	x := &defaultsBlock{rng: b.DefRange(), whole: b.Range()}
	if d := x.label(b); d != nil {
		return hcl.Diagnostics{d}
	}
	if old := m.defaultsOf(x.kind.Name, x.typ); old != nil {
		return hcl.Diagnostics{failure(x.rng, "Duplicate defaults", "%s stands at %s already. Put both into one block.",
			x, place(old.rng))}
	}
	m.defaults = append(m.defaults, x)
	x.body, x.problems = ownLeftOut(b.Body)
	attrs, nested := x.kind.Attrs, x.kind.Blocks
	if x.typ == "" {
		attrs, nested = ofAnyType(attrs, nested)
	}
	r := rules{partial: true, dynamic: true}
	x.problems = append(x.problems, checkBody(x.body, attrs, nested, x.typ, x.String(), r)...)
	return x.problems
}

// String writes the header of the block.
func (x *defaultsBlock) String() string {
	text := fmt.Sprintf("defaults %q", x.kind.Name)
	if x.typ != "" {
		text += fmt.Sprintf(" %q", x.typ)
	}
	return text
}

// label reads for which blocks the defaults are.
func (x *defaultsBlock) label(b *hclsyntax.Block) *hcl.Diagnostic {
	if len(b.Labels) < 1 || len(b.Labels) > 2 {
		return failure(b.DefRange(), "Wrong number of labels", `Write defaults "KIND" { … }, or defaults `+
			`"KIND" "TYPE" { … } for the blocks of one type.`)
	}
	x.kind = KindOf(b.Labels[0])
	if x.kind == nil || !x.kind.Repeat {
		names := repeatableKinds()
		return failure(b.LabelRanges[0], "Unknown kind", "There are no defaults for %q.%s There are for %s.",
			b.Labels[0], Suggest(b.Labels[0], names), strings.Join(names, ", "))
	}
	if len(b.Labels) < 2 {
		return nil
	}
	x.typ = b.Labels[1]
	switch {
	case x.kind.Types == nil:
		return failure(b.LabelRanges[1], "Wrong number of labels", "A %s has no types: write defaults %q { … }.",
			x.kind.Name, x.kind.Name)
	case !slices.Contains(x.kind.Types, x.typ):
		return failure(b.LabelRanges[1], "Unknown "+x.kind.Name+" type", "There is no %s %q.%s The types are %s.",
			x.kind.Name, x.typ, Suggest(x.typ, x.kind.Types), strings.Join(x.kind.Types, ", "))
	}
	return nil
}

// repeatableKinds lists the kinds of blocks that may have defaults.
func repeatableKinds() (names []string) {
	for _, k := range Kinds {
		if k.Repeat {
			names = append(names, k.Name)
		}
	}
	return names
}

// ownLeftOut returns a body without what a block says for itself alone, and the errors that it was there.
func ownLeftOut(b *hclsyntax.Body) (_ *hclsyntax.Body, diags hcl.Diagnostics) {
	out := *b
	out.Attributes = maps.Clone(b.Attributes)
	refuse := func(name string, at hcl.Range) {
		diags = append(diags, failure(at, "Not a default", "%s is not taken from defaults: %s. Write it in the block itself.",
			name, ownOnly[name]))
	}
	for _, a := range sortedAttrs(b) {
		if ownOnly[a.Name] != "" {
			refuse(a.Name, a.NameRange)
			delete(out.Attributes, a.Name)
		}
	}
	out.Blocks = slices.DeleteFunc(slices.Clone(b.Blocks), func(sub *hclsyntax.Block) bool {
		if sub.Type == lifecycleBlock.Name {
			refuse(sub.Type, sub.TypeRange)
		}
		return sub.Type == lifecycleBlock.Name
	})
	return &out, diags
}

// ofAnyType returns the rows of a kind without the types that they are for.
func ofAnyType(attrs []Attr, nested []Nested) ([]Attr, []Nested) {
	attrs, nested = slices.Clone(attrs), slices.Clone(nested)
	for i := range attrs {
		attrs[i].Only = nil
	}
	for i := range nested {
		nested[i].Only = nil
	}
	return attrs, nested
}

// defaultsOf returns the defaults of a kind and type; nil if there are none.
func (m *module) defaultsOf(kind, typ string) *defaultsBlock {
	for _, x := range m.defaults {
		if x.kind.Name == kind && x.typ == typ {
			return x
		}
	}
	return nil
}

// inherit returns the body of a block with the defaults for it: first those of its type, then those of its kind.
func (m *module) inherit(block *Block, b *hclsyntax.Body) *hclsyntax.Body {
	k, typ := block.Kind, block.Addr.Type
	for _, x := range []*defaultsBlock{m.defaultsOf(k.Name, typ), m.defaultsOf(k.Name, "")} {
		if x == nil || slices.Contains(block.inherits, x) { // a kind without types has only one
			continue
		}
		merged, took := mergeBody(b, x.body, k.Attrs, k.Blocks, typ)
		b, x.taken = merged, x.taken || took
		block.inherits = append(block.inherits, x)
	}
	return withoutNulls(b, k.Blocks)
}

// mergeBody returns a body of a block of type typ with what it does not give itself, but from does. took reports
// whether there is any such thing.
func mergeBody(own, from *hclsyntax.Body, attrs []Attr, nested []Nested, typ string) (_ *hclsyntax.Body, took bool) {
	out := *own
	out.Attributes, out.Blocks = maps.Clone(own.Attributes), slices.Clone(own.Blocks)
	take := func(name string) {
		if a := from.Attributes[name]; a != nil && own.Attributes[name] == nil {
			out.Attributes[name], took = a, true
		}
	}
	for i := range attrs {
		if only(attrs[i].Only, typ) && !givesOther(own, attrs, &attrs[i]) {
			take(attrs[i].Name)
		}
	}
	for i := range nested {
		n := &nested[i]
		mine, theirs := blocksOf(own, n.Name), blocksOf(from, n.Name)
		switch {
		case !only(n.Only, typ), own.Attributes[n.Name] != nil: // unset
		case len(mine) == 0:
			take(n.Name) // unsets what other defaults give
			out.Blocks, took = append(out.Blocks, theirs...), took || len(theirs) > 0
		case len(theirs) > 0 && n.merges(mine[0], theirs[0]):
			one := *mine[0]
			var inside bool
			one.Body, inside = mergeBody(one.Body, theirs[0].Body, n.Attrs, n.Blocks, "")
			out.Blocks[slices.Index(out.Blocks, mine[0])], took = &one, took || inside
		}
	}
	return &out, took
}

// givesOther reports whether a body gives another attribute of a's group, which then is the only one.
func givesOther(b *hclsyntax.Body, attrs []Attr, a *Attr) bool {
	return a.Group != "" && slices.ContainsFunc(attrs, func(x Attr) bool {
		given := b.Attributes[x.Name]
		return x.Group == a.Group && x.Name != a.Name && given != nil && !isNull(given.Expr)
	})
}

// merges reports whether a nested block is merged with the block of the defaults: one that may stand once, with the same
// label. Any other replaces it.
func (n *Nested) merges(own, from *hclsyntax.Block) bool {
	return !n.Repeat && own.Type == n.Name && from.Type == n.Name && slices.Equal(own.Labels, from.Labels)
}

// blocksOf lists the nested blocks of a name in a body, and the dynamic blocks that make some.
func blocksOf(b *hclsyntax.Body, name string) (list []*hclsyntax.Block) {
	for _, sub := range b.Blocks {
		if sub.Type == name || makes(sub, name) {
			list = append(list, sub)
		}
	}
	return list
}

// withoutNulls returns a body without the attributes that unset a nested block.
func withoutNulls(b *hclsyntax.Body, nested []Nested) *hclsyntax.Body {
	out := *b
	out.Attributes, out.Blocks = maps.Clone(b.Attributes), slices.Clone(b.Blocks)
	for i := range nested {
		n := &nested[i]
		if a := b.Attributes[n.Name]; a != nil && isNull(a.Expr) {
			delete(out.Attributes, n.Name)
		}
		for j, sub := range out.Blocks {
			if sub.Type == n.Name {
				one := *sub
				one.Body = withoutNulls(sub.Body, n.Blocks)
				out.Blocks[j] = &one
			}
		}
	}
	return &out
}

// isNull reports whether an expression is null itself, and not only for some values of what it names.
func isNull(e hcl.Expression) bool {
	if len(e.Variables()) > 0 {
		return false
	}
	v, diags := e.Value(nil)
	return !diags.HasErrors() && v.IsNull()
}

// usedBy begins what cite adds to a text.
const usedBy = " This default is used by "

// Once leaves out the problems of a default that were reported for another block of the module that uses it.
func Once(diags hcl.Diagnostics) (once hcl.Diagnostics) {
	seen := map[string]bool{}
	for _, d := range diags {
		if text, _, cited := strings.Cut(d.Detail, usedBy); cited {
			key := fmt.Sprint(d.Subject, d.Extra, d.Summary, text)
			if seen[key] {
				continue
			}
			seen[key] = true
		}
		once = append(once, d)
	}
	return once
}

// cite says of problems in a default which block uses it. It leaves out those that were reported with the defaults.
func (b *Block) cite(diags hcl.Diagnostics) (cited hcl.Diagnostics) {
	for _, d := range diags {
		i := slices.IndexFunc(b.inherits, func(x *defaultsBlock) bool {
			return d.Subject != nil && holds(x.whole, *d.Subject)
		})
		switch {
		case i < 0:
		case follows(d, b.inherits[i].problems):
			continue
		default:
			d.Detail = adds(d, fmt.Sprintf("%s%s at %s.", usedBy, b.inside(), place(b.DeclRange)))
		}
		cited = append(cited, d)
	}
	return cited
}

// holds reports whether a range begins in another.
func holds(whole, part hcl.Range) bool {
	return whole.Filename == part.Filename && whole.Start.Byte <= part.Start.Byte && part.Start.Byte <= whole.End.Byte
}

// defaultsRefs resolves what defaults name, for names that no block took.
func (m *module) defaultsRefs(reported hcl.Diagnostics) (diags hcl.Diagnostics) {
	for _, x := range m.defaults {
		_, dd := m.refsOf(x.body, true)
		for _, d := range dd {
			if !follows(d, reported) {
				diags = append(diags, d)
			}
		}
	}
	return diags
}

// unusedDefaults warns of defaults that no block takes.
func (m *module) unusedDefaults() (diags hcl.Diagnostics) {
	for _, x := range m.defaults {
		if !x.taken {
			diags = append(diags, warning(x.rng, "Unused defaults",
				"No block takes anything from %s. Remove it, or add the blocks that it is for.", x))
		}
	}
	return diags
}
