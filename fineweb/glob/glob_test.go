package glob

import (
	"path"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, x := range []struct {
		pattern, name string
		want          Verdict
	}{
		{"a.parquet", "a.parquet", Yes},
		{"*.parquet", "a.parquet", Yes},
		{"*.parquet", "d/a.parquet", No},
		{"**/*.parquet", "a.parquet", Yes},
		{"**/*.parquet", "d/e/f/a.parquet", Yes},
		{"d/**/a.parquet", "d/a.parquet", Yes},
		{"d/**/a.parquet", "d/x/y/a.parquet", Yes},
		{"d/**/a.parquet", "e/a.parquet", No},
		{"d/**", "d/x/y/a.parquet", Yes},
		{"d/**", "d", No},
		{"d/**/**/e/*", "d/e/x", Yes},
		{"d/**/e/**/x", "d/e/e/f/x", Yes},
		{"d/**/e/**/x", "d/f/x", No},
		{"**", "a", Yes},
		{"*/x", "d/x", Yes},
		{"d*/**/x?", "data/a/x1", Yes},

		// Hidden names, and what it takes to mean them.
		{"*", "_SUCCESS", Hidden},
		{"*", ".a.crc", No},
		{"*.parquet", "._a.parquet", No},
		{"_*", "_SUCCESS", Yes},
		{".*", ".a", Yes},
		{"?SUCCESS", "_SUCCESS", Hidden},
		{"[_]SUCCESS", "_SUCCESS", Hidden},
		{"**/*.parquet", "_temporary/0/a.parquet", Hidden},
		{"_temporary/*/a.parquet", "_temporary/0/a.parquet", Yes},
		{"**/_temporary/*/a.parquet", "d/_temporary/0/a.parquet", Yes},
		{"**", ".git/config", No},
		{"*.parquet", "a_b.parquet", Yes},

		// Characters that mean something, as themselves.
		{`part\[1\].parquet`, "part[1].parquet", Yes},
		{`part[[]1].parquet`, "part[1].parquet", Yes},
		{`part[1].parquet`, "part[1].parquet", No},
		{`part[1].parquet`, "part1.parquet", Yes},
		{`part[1.parquet`, "part[1.parquet", Yes},
		{`what\?`, "what?", Yes},
		{`what\?`, "whatx", No},
		{`a[*]b`, "a*b", Yes},
		{`a[*]b`, "axb", No},
		{`a\*b`, "a*b", Yes},
		{`{a,b}`, "{a,b}", Yes},
		{`{a,b}*`, "{a,b}c", Yes},
		{`a\\b`, `a\b`, Yes},
		{`a\`, `a\`, Yes},

		// Classes.
		{"[!a]x", "bx", Yes},
		{"[!a]x", "ax", No},
		{"[^a]x", "bx", Yes},
		{"[]]x", "]x", Yes},
		{"[!]]x", "ax", Yes},
		{"[!]]x", "]x", No},
		{"[a-c]", "b", Yes},
		{"[-a]", "-", Yes},
		{"[a-]", "-", Yes},
		{"[a-]", "b", No},
		{"[[a]", "[", Yes},
		{"[é]x", "éx", Yes},
	} {
		p, err := Parse(x.pattern)
		if err != nil {
			t.Errorf("%s: %v", x.pattern, err)
		} else if got := p.Match(x.name); got != x.want {
			t.Errorf("%s of %s: %d, not %d", x.pattern, x.name, got, x.want)
		}
	}
}

func TestBase(t *testing.T) {
	for pattern, want := range map[string]struct {
		base, plain string
		ok          bool
	}{
		"a.parquet":        {"", "a.parquet", true},
		"d/a.parquet":      {"d", "d/a.parquet", true},
		"d/e/*.parquet":    {"d/e", "", false},
		"d/**/a.parquet":   {"d", "", false},
		`d\[1\]/a\*`:       {"d[1]", "d[1]/a*", true},
		"d/x[12]/a":        {"d", "", false},
		"**":               {"", "", false},
		"sample/10BT/**/*": {"sample/10BT", "", false},
	} {
		p, err := Parse(pattern)
		if err != nil {
			t.Fatal(err)
		}
		if plain, ok := p.Plain(); p.Base() != want.base || plain != want.plain || ok != want.ok {
			t.Errorf("%s: below %q; %q, %t", pattern, p.Base(), plain, ok)
		}
	}
}

func TestNotPatterns(t *testing.T) {
	for pattern, want := range map[string]string{"a**/b": "alone between slashes", "**.parquet": "alone between slashes", "[a--b]": "not a class"} {
		if _, err := Parse(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}

// Many wildcards on a long path take time in proportion to both.
func TestManyFolders(t *testing.T) {
	p, err := Parse(strings.Repeat("**/a/", 200) + "b")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Match(strings.Repeat("a/", 2000) + "c"); got != No {
		t.Errorf("%d", got)
	}
}

// Where path.Match and this package give the same meaning, they agree.
func FuzzMatch(f *testing.F) {
	f.Add("d/*.parquet", "d/a.parquet")
	f.Add("[a-c]?x", "bbx")
	f.Add(`\[a`, "[a")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		p, err := Parse(pattern)
		if err != nil {
			return
		}
		got := p.Match(name)
		if plain, ok := p.Plain(); ok && p.Match(plain) != Yes {
			t.Errorf("%q is plainly %q, and does not match it", pattern, plain)
		}
		if strings.Contains(pattern, "**") || strings.ContainsAny(pattern, `[\`) || strings.ContainsAny(name, "._") {
			return
		}
		if want, err := path.Match(pattern, name); err == nil && want != (got == Yes) {
			t.Errorf("%q of %q: %d, path.Match says %t", pattern, name, got, want)
		}
	})
}
