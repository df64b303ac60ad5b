package dsl

import (
	"regexp"
	"slices"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// Secret returns the sensitive values by dotted name, in plain text, to tell by a keyed hash whether one has changed.
func (d *Decoded) Secret() map[string]string {
	out := map[string]string{}
	d.eachSecret("", func(name string, v cty.Value) { out[name] = Show(v) })
	return out
}

// eachSecret visits the sensitive values by dotted name.
func (d *Decoded) eachSecret(prefix string, visit func(name string, v cty.Value)) {
	for n := range d.Sensitive {
		visit(prefix+n, d.values[n])
	}
	for n, b := range d.blocks {
		b.eachSecret(prefix+n+".", visit)
	}
}

// numeral matches a number in a text, as a word of its own.
var numeral = regexp.MustCompile(`-?\b[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\b`)

// HideNumbers replaces the sensitive numbers among a block's values wherever a text about that block shows them. Numbers
// are too common to be hidden everywhere, as Secrets hides sensitive strings.
func (d *Decoded) HideNumbers(text string) string {
	var secret []float64
	d.eachSecret("", func(_ string, v cty.Value) { secret = append(secret, numbersIn(v)...) })
	if len(secret) == 0 {
		return text
	}
	return numeral.ReplaceAllStringFunc(text, func(s string) string {
		x, err := strconv.ParseFloat(s, 64)
		if err == nil && slices.ContainsFunc(secret, func(n float64) bool { return n == x || n == -x }) {
			return Hidden
		}
		return s
	})
}

// HideNumbersIn is HideNumbers for all texts of diagnostics about the block.
func (d *Decoded) HideNumbersIn(diags hcl.Diagnostics) hcl.Diagnostics {
	for _, x := range diags {
		x.Summary, x.Detail = d.HideNumbers(x.Summary), d.HideNumbers(x.Detail)
	}
	return diags
}

// numbersIn lists the numbers in a value.
func numbersIn(v cty.Value) (list []float64) {
	v, _ = v.UnmarkDeep()
	_ = cty.Walk(v, func(_ cty.Path, v cty.Value) (bool, error) {
		if v.Type() == cty.Number && v.IsKnown() && !v.IsNull() {
			x, _ := v.AsBigFloat().Float64()
			list = append(list, x)
		}
		return true, nil
	})
	return list
}
