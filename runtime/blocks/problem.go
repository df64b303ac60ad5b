package blocks

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"stepflow/dsl"
)

// Problem wraps an error of planning in a diagnostic at an attribute, and joined errors in one each.
func Problem(d *dsl.Decoded, attr, summary string, err error) hcl.Diagnostics {
	var all hcl.Diagnostics
	for _, e := range flatten(err) {
		text := e.Error()
		if !verbatim(d, attr, text) {
			text = Sentence(text)
		}
		all = append(all, d.Error(attr, summary, strings.TrimSuffix(text, ".")+"."))
	}
	return all
}

// verbatim reports whether a text starts with the attribute's name, or with its value, such as a path.
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

// Sentence starts a text with a capital letter, unless it starts with a path or an attribute's name, and removes a full
// stop at its end.
func Sentence(s string) string {
	first, _, _ := strings.Cut(s, " ")
	if strings.ContainsAny(first, "/._:") {
		return strings.TrimSuffix(s, ".")
	}
	return strings.ToUpper(s[:min(1, len(s))]) + strings.TrimSuffix(s[min(1, len(s)):], ".")
}

// SoundHome refuses paths that begin with ~, which means the home folder only to a shell; here it would be a folder
// called ~.
func SoundHome(d *dsl.Decoded, name string) hcl.Diagnostics {
	var paths []string
	switch v := d.Value(name); {
	case !d.Known(name):
	case v.Type() == cty.String:
		paths = []string{v.AsString()}
	case v.CanIterateElements():
		paths = d.Strs(name)
	}
	for _, path := range paths {
		if path == "~" || strings.HasPrefix(path, "~/") {
			return hcl.Diagnostics{d.Error(name, "Invalid value",
				fmt.Sprintf("%s begins with ~, which is the home folder to a shell only. Write pathexpand(%q).", name, path))}
		}
	}
	return nil
}

// Number returns a number to export.
func Number[T int | int64 | float64](n T) cty.Value { return cty.NumberFloatVal(float64(n)) }

// Strings returns a list of strings to export.
func Strings(list []string) cty.Value {
	if len(list) == 0 {
		return cty.ListValEmpty(cty.String)
	}
	values := make([]cty.Value, len(list))
	for i, x := range list {
		values[i] = cty.StringVal(x)
	}
	return cty.ListVal(values)
}
