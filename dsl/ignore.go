package dsl

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// Ignorable is an attribute, or a block inside the block, whose changes do not make the block run again.
type Ignorable struct {
	Name  string // with dots
	Ref   bool   // an attribute that names a block
	Block bool   // which label the block inside has, and whether it is there
}

// ignore reads what to ignore. A nested block stands for all that is in it and may be ignored.
func (block *Block) ignore(a *hclsyntax.Attribute) (diags hcl.Diagnostics) {
	rows := ignorableRows(block.Kind, block.Addr.Type)
	names := slices.Sorted(maps.Keys(rows))
	add := func(prefix string) {
		for _, n := range names {
			x := Ignorable{Name: n, Block: rows[n] == nil, Ref: rows[n] != nil && rows[n].Ref != nil}
			fixed := rows[n] != nil && rows[n].Fixed != ""
			if (n == prefix || prefix == "" || strings.HasPrefix(n, prefix+".")) && !fixed &&
				!slices.Contains(block.Lifecycle.Ignore, x) {
				block.Lifecycle.Ignore = append(block.Lifecycle.Ignore, x)
			}
		}
	}
	if hcl.ExprAsKeyword(a.Expr) == "all" {
		add("")
		return nil
	}
	list, d := hcl.ExprList(a.Expr)
	if d.HasErrors() {
		return hcl.Diagnostics{failure(a.Expr.Range(), "Wrong type",
			"ignore_changes takes a list of attributes, such as [seed, train.steps], or all.")}
	}
	for _, e := range list {
		name := ""
		if t, d := hcl.AbsTraversalForExpr(e); !d.HasErrors() {
			name = t.RootName()
			for i := 1; i < len(t); i++ {
				name += "." + stepName(t, i)
			}
		}
		row, ok := rows[name]
		switch {
		case !ok:
			diags = append(diags, failure(e.Range(), "Unknown attribute", "ignore_changes takes attributes of %s, written "+
				"without quotes.%s It has %s.", block.Addr, Suggest(name, names), strings.Join(names, ", ")))
		case row != nil && row.Fixed != "":
			diags = append(diags, failure(e.Range(), "Not ignored", "A change of %s cannot be ignored: %s.", name, row.Fixed))
		default:
			add(name)
		}
	}
	return diags
}

// ignorableRows returns the rows of the schema for a block of type typ by dotted name; nil for a block inside it.
func ignorableRows(k *Kind, typ string) map[string]*Attr {
	rows := map[string]*Attr{}
	var add func(prefix string, attrs []Attr, nested []Nested, typ string)
	add = func(prefix string, attrs []Attr, nested []Nested, typ string) {
		for i := range attrs {
			if only(attrs[i].Only, typ) {
				rows[prefix+attrs[i].Name] = &attrs[i]
			}
		}
		for _, n := range nested {
			if only(n.Only, typ) && !n.Repeat {
				rows[prefix+n.Name] = nil
				add(prefix+n.Name+".", n.Attrs, n.Blocks, "")
			}
		}
	}
	add("", k.Attrs, k.Blocks, typ)
	return rows
}

// IgnorableNames lists what ignore_changes of a block may name: its attributes and the blocks inside it, with dots.
func IgnorableNames(h Head) (names []string) {
	k, typ := KindOf(h.Type), ""
	if k == nil {
		return nil
	}
	if k.Types != nil && len(h.Labels) > 0 {
		typ = h.Labels[0]
	}
	for name, row := range ignorableRows(k, typ) {
		if row == nil || row.Fixed == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
