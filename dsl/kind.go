package dsl

import (
	"slices"

	"github.com/zclconf/go-cty/cty"
)

// Attr is a row of the schema: one attribute of a block.
type Attr struct {
	Name     string
	Type     cty.Type // cty.DynamicPseudoType for any value
	Ref      []string // kinds of block that it may name, instead of a value of Type
	Required bool
	Optional []string             // block types that need not give it, though it is Required
	Default  cty.Value            // cty.NilVal for none
	Defaults map[string]cty.Value // by block type, for types whose default is not Default
	OneOf    []string             // allowed strings
	Whole    bool                 // a whole number
	Bytes    bool                 // a text such as "16 GiB", at least one byte
	Filled   bool                 // an empty list is an error: it does not mean the same as leaving it out
	Fixed    string               // why ignore_changes may not name it; "" if it may
	Address  bool                 // the address of a block, which is read and not evaluated
	Group    string               // of attributes that exclude each other: a block that gives one has no default of another

	Min, Max     *float64 // range of a number, or of each in a list, including the ends
	Above, Below *float64 // the same, without the ends

	Only []string // block types that have it; empty for all
	Unit string   // for the reference page
	Doc  string
}

// of returns the row for blocks of a type.
func (a Attr) of(typ string) Attr {
	if v, ok := a.Defaults[typ]; ok {
		a.Default = v
	}
	a.Required = a.Required && !slices.Contains(a.Optional, typ)
	return a
}

// Nested is a block inside a block.
type Nested struct {
	Name     string
	Label    []string // allowed labels; nil for none
	Named    bool     // its label is a name
	Open     bool     // it takes attributes of any name
	Required bool
	Repeat   bool     // it may be given several times
	Only     []string // block types that have it; empty for all
	Attrs    []Attr
	Blocks   []Nested
	Doc      string
}

// Export is a value that a block offers to others.
type Export struct {
	Name string
	Type cty.Type
	Late bool // known only after the block has run
	Only []string
	From []string // dotted names of attributes that it reveals, besides its own; a sensitive one makes it sensitive
	Doc  string
}

// Kind is a block type of the language.
type Kind struct {
	Name    string
	Types   []string // allowed first labels; nil for kinds of one label
	NoLabel bool
	Labels  string // as the page writes them, for a block of Meta whose labels are no name
	Repeat  bool   // takes count and for_each
	Lazy    bool   // a warning if nothing refers to it
	Runs    bool   // apply makes a result of it
	Attrs   []Attr
	Blocks  []Nested
	Exports []Export
	Doc     string
}

// Extend adds types to a kind of block, with their attributes and exports. The package that implements the types calls
// it when it is initialised.
func Extend(kind string, types []string, attrs []Attr, exports []Export) {
	k := KindOf(kind)
	k.Types = append(k.Types, types...)
	k.Attrs = append(k.Attrs, attrs...)
	k.Exports = append(k.Exports, exports...)
}

// KindOf returns the kind of a name; nil if there is none.
func KindOf(name string) *Kind {
	for i := range Kinds {
		if Kinds[i].Name == name {
			return &Kinds[i]
		}
	}
	return nil
}

// only reports whether a list of block types has typ. The empty list has all.
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

// Export returns the object of a block's exports, with the values known so far and the rest unknown. Exports that
// reveal a sensitive attribute of d are marked; d may be nil.
func (k *Kind) Export(address, typ string, known map[string]cty.Value, d *Decoded) cty.Value {
	fields := map[string]cty.Value{"address": cty.StringVal(address)}
	for _, e := range k.Exports {
		if !only(e.Only, typ) {
			continue
		}
		v, ok := known[e.Name]
		switch {
		case ok:
		case e.Type.IsObjectType(): // a part of the block with its own address
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
