package pyre

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// Patterns of published tasks and of the corners of the language find and replace what Python's re does. The fixture is
// made by tools/parity/pyre_fixture.py.
func TestPython(t *testing.T) {
	b, err := os.ReadFile("testdata/python.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Pattern, Text, Repl, Sub string
		Count                    int
		All                      [][]string
	}
	if err := json.Unmarshal(b, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 40 {
		t.Errorf("%d cases", len(cases))
	}
	for _, c := range cases {
		p, err := Compile(c.Pattern)
		if err != nil {
			t.Error(err)
			continue
		}
		all, err := p.FindAll(c.Text)
		if err != nil || len(all)+len(c.All) > 0 && !reflect.DeepEqual(all, c.All) {
			t.Errorf("findall(%q, %q) = %q, %v, not %q", c.Pattern, c.Text, all, err, c.All)
		}
		sub, err := p.Sub(c.Repl, c.Text, c.Count)
		if err != nil || sub != c.Sub {
			t.Errorf("sub(%q, %q, %q, %d) = %q, %v, not %q", c.Pattern, c.Repl, c.Text, c.Count, sub, err, c.Sub)
		}
	}
}

func TestRefused(t *testing.T) {
	for pattern, want := range map[string]string{
		`\p{L}`: `\p is not supported`, `(?<n>a)`: `"(?<n>" is not supported`, `a\`: "it ends with a backslash",
		`[a`: "a [ has no ]", `(a`: "the regular expression", `(a)?(?(1)b|c)`: "a conditional group is not supported",
		`\N{DASH}`: `\N is not supported`, strings.Repeat("a", 1<<15): "it has 32768 bytes",
	} {
		if _, err := Compile(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: %v", pattern, err)
		}
	}
	p, err := Compile("(a)")
	if err != nil {
		t.Fatal(err)
	}
	for repl, want := range map[string]string{`\2`: `names a group "2"`, `\g<x>`: `names a group "x"`, `\q`: `has \q`} {
		if _, err := p.Sub(repl, "a", 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", repl, err)
		}
	}
}

// A pattern that backtracks without end is stopped, and so is one that finds too much.
func TestTooLong(t *testing.T) {
	p, err := Compile(`(a|aa)+$`)
	if err != nil {
		t.Fatal(err)
	}
	p.re.MatchTimeout = 20_000_000
	if _, err := p.FindAll(strings.Repeat("a", 60) + "b"); err == nil || !strings.Contains(err.Error(), "takes more than") {
		t.Error(err)
	}
	if p, err = Compile("a"); err != nil {
		t.Fatal(err)
	}
	p.re.MatchTimeout = 1_000_000
	if _, err := p.Sub("b", strings.Repeat("a", 1_000_000), 0); err == nil || !strings.Contains(err.Error(), "takes more than") {
		t.Error(err)
	}
}
