package dsl

import (
	"strings"
	"testing"
)

// TestSuggest: a slip of the keyboard is corrected, and another word is not taken for one.
func TestSuggest(t *testing.T) {
	names := []string{"adamw", "muon", "scale", "galore", "type", "learning_rate", "inherited", "lora", "lr"}
	for given, want := range map[string]string{"lion": "", "muo": "muon", "laro": "lora", "part": "", "moun": "muon", "tpye": "type",
		"adam": "adamw", "lerning_rat": "learning_rate", "inhereted": "inherited", "sgd": "", "a": "", "": ""} {
		got := Suggest(given, names)
		if want != "" {
			want = " Did you mean \"" + want + "\"?"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

// TestOtherTools: what to write instead of a word of another tool names what the language has.
func TestOtherTools(t *testing.T) {
	have, names := map[string]bool{}, map[string]bool{}
	note := func(names ...string) {
		for _, n := range names {
			have[n] = true
		}
	}
	var nested func(attrs []Attr, blocks []Nested)
	nested = func(attrs []Attr, blocks []Nested) {
		for _, a := range attrs {
			note(a.Name)
			names[a.Name] = true
			note(a.OneOf...)
		}
		for _, b := range blocks {
			note(b.Name)
			nested(b.Attrs, b.Blocks)
		}
	}
	for _, k := range Kinds {
		note(k.Name)
		note(k.Types...)
		for _, typ := range k.Types {
			names[typ] = true
		}
		nested(k.Attrs, k.Blocks)
	}
	note("auto", "true", "pissa") // of attributes with more values
	for _, g := range otherTools {
		for i, code := range strings.Split(g.instead, "`") {
			for _, word := range strings.FieldsFunc(code, func(r rune) bool { return strings.ContainsRune(" \"=[]{}…", r) }) {
				if i%2 == 1 && !have[word] && !strings.ContainsAny(word, "0123456789N/") {
					t.Errorf("%q names %q, which the language does not have", g.instead, word)
				}
			}
		}
		for _, w := range g.words {
			if names[w] {
				t.Errorf("%q is a word of the language", w)
			}
		}
	}
}
