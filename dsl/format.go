package dsl

import (
	"bytes"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// FormatFile reads a file of HCL and returns its text, and the same in the canonical style. Line ends stay as they are.
// files holds the source for the diagnostics.
func FormatFile(path string) (src, out []byte, files map[string]*hcl.File, diags hcl.Diagnostics) {
	src, diags = readBytes(path)
	if diags.HasErrors() {
		return nil, nil, nil, diags
	}
	out, files, diags = Format(src, path)
	return src, out, files, diags
}

// Format returns a text of HCL in the canonical style. name stands for the text in diagnostics.
func Format(src []byte, name string) (out []byte, files map[string]*hcl.File, diags hcl.Diagnostics) {
	diags = checkText(src, name)
	if !diags.HasErrors() {
		diags = checkNesting(src, name)
	}
	if diags.HasErrors() {
		return nil, nil, diags
	}
	file, diags := hclsyntax.ParseConfig(src, name, hcl.InitialPos)
	files = map[string]*hcl.File{name: file}
	if diags.HasErrors() {
		return nil, files, diags
	}
	out = hclwrite.Format(src)
	if !sameTokens(src, out) {
		return nil, files, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Not formatted",
			Detail: fmt.Sprintf("%s would mean something else in the canonical style, so it was left as it is.", name)}}
	}
	return out, files, nil
}

// sameTokens reports whether two texts differ only in the space between tokens.
func sameTokens(a, b []byte) bool {
	x, diags := hclsyntax.LexConfig(a, "", hcl.InitialPos)
	y, more := hclsyntax.LexConfig(b, "", hcl.InitialPos)
	if diags.HasErrors() || more.HasErrors() || len(x) != len(y) {
		return false
	}
	for i := range x {
		if x[i].Type != y[i].Type || !bytes.Equal(x[i].Bytes, y[i].Bytes) {
			return false
		}
	}
	return true
}
