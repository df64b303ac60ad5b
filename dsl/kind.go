package dsl

import (
	"slices"

	"github.com/zclconf/go-cty/cty"
)

// Attr is a row of the schema: one attribute of a block.
type Attr struct {
	Name     string
	Type     cty.Type // of the value; cty.DynamicPseudoType takes any
	Ref      []string // kinds of block it may name; Type is then ignored
	Required bool
	Default  cty.Value            // cty.NilVal for none
	Defaults map[string]cty.Value // by block type, for those whose default is not Default
	OneOf    []string             // allowed strings
	Whole    bool                 // a whole number
	Bytes    bool                 // a text such as "16 GiB", of one byte or more
	Filled   bool                 // an empty list is an error: it would say nothing, and is not what leaving it out means

	Min, Max     *float64 // range of a number, or of each in a list, ends included
	Above, Below *float64 // the same, ends left out

	Only []string // block types it belongs to; empty for all
	Unit string   // for the reference page
	Doc  string
}

// of returns the row as it is for blocks of a type.
func (a Attr) of(typ string) Attr {
	if v, ok := a.Defaults[typ]; ok {
		a.Default = v
	}
	return a
}

// Nested is a block inside a block.
type Nested struct {
	Name     string
	Label    []string // allowed labels; nil for none
	Required bool
	Repeat   bool     // may stand several times
	Only     []string // block types it belongs to; empty for all
	Attrs    []Attr
	Blocks   []Nested
	Doc      string
}

// Export is a value a block offers to others.
type Export struct {
	Name string
	Type cty.Type
	Late bool // known only after the block has run
	Only []string
	From []string // attributes it reveals, by dotted name, besides the one of its own name: sensitive ones make it sensitive
	Doc  string
}

// Kind is a block type of the language.
type Kind struct {
	Name    string
	Types   []string // allowed first labels; nil for kinds of one label
	NoLabel bool
	Repeat  bool // takes count and for_each
	Lazy    bool // a warning if nothing refers to it
	Attrs   []Attr
	Blocks  []Nested
	Exports []Export
	Doc     string
}

// Extend adds types to a kind of block, and the attributes and exports that they bring. The package that gives the types their
// meaning calls it when it is initialised.
func Extend(kind string, types []string, attrs []Attr, exports []Export) {
	k := KindOf(kind)
	k.Types = append(k.Types, types...)
	k.Attrs = append(k.Attrs, attrs...)
	k.Exports = append(k.Exports, exports...)
}

// KindOf finds a kind by name; nil if there is none.
func KindOf(name string) *Kind {
	for i := range Kinds {
		if Kinds[i].Name == name {
			return &Kinds[i]
		}
	}
	return nil
}

// only reports whether a list of block types has one; the empty list has all.
func only(types []string, typ string) bool {
	return len(types) == 0 || slices.Contains(types, typ)
}

func attrNames(attrs []Attr, typ string) (names []string) {
	for _, a := range attrs {
		if only(a.Only, typ) {
			names = append(names, a.Name)
		}
	}
	slices.Sort(names)
	return names
}

// Export makes the object of a block from the values known so far; the rest is unknown. What reveals a sensitive attribute
// of d is marked; d may be nil.
func (k *Kind) Export(address, typ string, known map[string]cty.Value, d *Decoded) cty.Value {
	fields := map[string]cty.Value{"address": cty.StringVal(address)}
	for _, e := range k.Exports {
		if !only(e.Only, typ) {
			continue
		}
		v, ok := known[e.Name]
		switch {
		case ok:
		case e.Type.IsObjectType(): // part of the block, by an address of its own
			v = cty.ObjectVal(map[string]cty.Value{"address": cty.StringVal(address + "." + e.Name)})
		default:
			v = cty.UnknownVal(e.Type)
		}
		if d.Hides(&e) {
			v = v.Mark(Sensitive)
		}
		fields[e.Name] = v
	}
	return cty.ObjectVal(fields)
}
