package dsl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestIndexErrors: an error about an element that is not there names the value, and says what it has.
func TestIndexErrors(t *testing.T) {
	for expr, want := range map[string]string{
		"local.two[2]":                     "local.two has 2 elements, [0] to [1].",
		"local.two[local.two[1]]":          "local.two has 2 elements, [0] to [1].",
		"[for i in [0, 5] : local.two[i]]": "local.two has 2 elements, [0] to [1].",
		"local.one[1]":                     "local.one has one element, [0].",
		"local.none[0]":                    "local.none has no elements.",
		"local.nothing[0]":                 "local.nothing is null, so it has no elements.",
	} {
		dir := t.TempDir()
		text := "locals {\n  two = [4, 7]\n  one = [1]\n  none = []\n  nothing = null\n}\noutput \"x\" { value = " + expr + " }\n"
		if err := os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		c, diags := Load(dir, Inputs{})
		if diags.HasErrors() {
			t.Fatal(expr, diags)
		}
		s := c.NewScope()
		_, diags = s.Decode(c.Blocks[0], nil)
		if len(diags) == 0 || !strings.Contains(diags[0].Detail, want) {
			t.Errorf("%s: %v, want %q", expr, diags, want)
		}
	}
}
