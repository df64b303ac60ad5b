package runtime

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
)

// problem wraps an error of planning in a diagnostic at an attribute.
func problem(d *dsl.Decoded, attr, summary string, err error) hcl.Diagnostics {
	var all hcl.Diagnostics
	for _, e := range flatten(err) {
		text := e.Error()
		if !verbatim(d, attr, text) {
			text = upper(text)
		}
		all = append(all, d.Error(attr, summary, strings.TrimSuffix(text, ".")+"."))
	}
	return all
}

// verbatim reports whether a text starts with the name of the attribute, or with what the user wrote there, such as a path.
func verbatim(d *dsl.Decoded, attr, text string) bool {
	words := []string{attr}
	switch v := d.Value(attr); {
	case v == cty.NilVal || v.IsNull() || !v.IsWhollyKnown():
	case v.Type() == cty.String:
		words = append(words, v.AsString())
	case v.CanIterateElements():
		words = append(words, d.Strs(attr)...)
	}
	return slices.ContainsFunc(words, func(w string) bool {
		return w != "" && (strings.HasPrefix(text, w+" ") || strings.HasPrefix(text, filepath.Clean(w)+" "))
	})
}

// flatten takes joined errors apart.
func flatten(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

// upper starts a sentence, unless it starts with a path or the name of an attribute.
func upper(s string) string {
	first, _, _ := strings.Cut(s, " ")
	if strings.ContainsAny(first, "/._:") {
		return strings.TrimSuffix(s, ".")
	}
	return strings.ToUpper(s[:min(1, len(s))]) + strings.TrimSuffix(s[min(1, len(s)):], ".")
}
