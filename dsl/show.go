package dsl

import (
	"fmt"
	"math/big"
	"sort"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// showNumber writes an integer in full, and other numbers with the fewest digits that give the same float64. Of a
// number beyond float64 it writes the exponent.
func showNumber(f *big.Float) string {
	x, _ := f.Float64()
	switch {
	case f.IsInf(), f.MantExp(nil) > 1024:
		return fmt.Sprintf("a number of about 2^%d", f.MantExp(nil))
	case f.IsInt():
		return f.Text('f', 0)
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}

// Read is the reverse of Show. A text that is not a value, such as a label or Hidden, reads as a string.
func Read(text string) cty.Value {
	if checkNesting([]byte(text), "").HasErrors() {
		return cty.StringVal(text)
	}
	e, diags := hclsyntax.ParseExpression([]byte(text), "", hcl.InitialPos)
	if !diags.HasErrors() {
		if v, diags := e.Value(nil); !diags.HasErrors() && v.IsWhollyKnown() {
			return v
		}
	}
	return cty.StringVal(text)
}

// Show writes a value in the language's syntax, on one line.
func Show(v cty.Value) string {
	v, marks := v.UnmarkDeep()
	t := v.Type()
	switch {
	case len(marks) > 0:
		return Hidden
	case !v.IsKnown():
		return "(known after apply)"
	case v.IsNull():
		return "null"
	case t == cty.String:
		return string(hclwrite.TokensForValue(v).Bytes())
	case t == cty.Bool:
		return fmt.Sprint(v.True())
	case t == cty.Number:
		return showNumber(v.AsBigFloat())
	case t.IsListType() || t.IsTupleType() || t.IsSetType():
		var parts []string
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			parts = append(parts, Show(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case t.IsMapType() || t.IsObjectType():
		var parts []string
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			key := k.AsString()
			if !hclsyntax.ValidIdentifier(key) {
				key = Show(k)
			}
			parts = append(parts, key+" = "+Show(e))
		}
		sort.Strings(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return t.FriendlyName()
}
