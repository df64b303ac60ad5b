package dsl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/zclconf/go-cty/cty"
)

// writeKind writes the section of a kind of block: what it is, its examples, and tables of what it takes and offers.
func writeKind(b *strings.Builder, k *Kind) error {
	form := k.Name
	switch {
	case k.Labels != "":
		form += " " + k.Labels
	case k.Types != nil:
		form += ` "` + strings.Join(k.Types, `"|"`) + `" NAME`
	case !k.NoLabel:
		form += " NAME"
	}
	fmt.Fprintf(b, "### %s\n\n`%s { … }`\n\n%s\n\n", k.Name, form, k.Doc)
	for _, name := range ExamplesOf(k) {
		text, err := exampleText(name)
		if err != nil {
			return err
		}
		b.WriteString(text + "\n\n")
	}
	writeAttrs(b, k.Attrs)
	writeNested(b, k.Blocks, "#### ")
	writeExports(b, k.Exports)
	return nil
}

// writeExports writes the table of what a block offers.
func writeExports(b *strings.Builder, exports []Export) {
	if len(exports) == 0 {
		return
	}
	b.WriteString("It offers:\n\n| value | type | known | |\n|---|---|---|---|\n")
	for _, e := range exports {
		known := "in the plan"
		if e.Late {
			known = "after it ran"
		}
		doc := e.Doc
		if e.Only != nil {
			doc = "(" + strings.Join(e.Only, ", ") + ") " + doc
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", e.Name, e.Type.FriendlyName(), known, doc)
	}
	b.WriteByte('\n')
}

func writeAttrs(b *strings.Builder, attrs []Attr) {
	if len(attrs) == 0 {
		return
	}
	b.WriteString("| attribute | type | default | |\n|---|---|---|---|\n")
	for _, a := range attrs {
		def := ""
		if a.Required {
			def = "required"
		} else if a.Default != cty.NilVal {
			def = "`" + Show(a.Default) + "`"
		}
		for _, typ := range slices.Sorted(maps.Keys(a.Defaults)) {
			def += fmt.Sprintf("; %s `%s`", typ, Show(a.Defaults[typ]))
		}
		doc := a.Doc
		if r := a.rangeText(); r != "" {
			doc += " " + r + "."
		}
		if a.OneOf != nil {
			doc += " One of `" + strings.Join(a.OneOf, "`, `") + "`."
		}
		if a.Unit != "" {
			doc = "In " + a.Unit + ". " + doc
		}
		if a.Only != nil {
			doc = "(" + strings.Join(a.Only, ", ") + ") " + doc
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", a.Name, typeName(a), def, doc)
	}
	b.WriteByte('\n')
}

func writeNested(b *strings.Builder, blocks []Nested, heading string) {
	for _, n := range blocks {
		form := n.Name
		if n.Named {
			form += " NAME"
		} else if n.Label != nil {
			form += ` "` + strings.Join(n.Label, `"|"`) + `"`
		}
		required := ""
		if n.Required {
			required = " Required."
		}
		if n.Repeat {
			required += " May stand several times."
		}
		if n.Only != nil {
			required += " (" + strings.Join(n.Only, ", ") + ")"
		}
		fmt.Fprintf(b, "%s%s\n\n`%s { … }`%s %s\n\n", heading, n.Name, form, required, n.Doc)
		writeAttrs(b, n.Attrs)
		writeNested(b, n.Blocks, heading[:len(heading)-1]+"# ")
	}
}

func typeName(a Attr) string {
	if a.Ref != nil {
		return strings.Join(a.Ref, " or ")
	}
	switch {
	case a.Address:
		return "address"
	case a.Type == cty.DynamicPseudoType:
		return "any"
	case a.Whole && a.Type.IsListType():
		return "list of whole numbers"
	case a.Whole:
		return "whole number"
	}
	return a.Type.FriendlyName()
}

// rangeText returns a number's range for the page, such as "From 0 below 1"; "" for other types.
func (a *Attr) rangeText() string {
	var parts []string
	for _, x := range []struct {
		word  string
		bound *float64
	}{{"from", a.Min}, {"above", a.Above}, {"to", a.Max}, {"below", a.Below}} {
		if x.bound != nil {
			parts = append(parts, x.word+" "+plainNumber(*x.bound))
		}
	}
	if parts == nil {
		return ""
	}
	return upperFirst(strings.Join(parts, " "))
}
