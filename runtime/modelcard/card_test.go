package modelcard

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestCard(t *testing.T) {
	c := Card{Title: "a|b # <script>", Metadata: Metadata{License: "mit", PipelineTag: "text-generation", Tags: []string{"a: b", "---"},
		ModelIndex: []Model{{Name: "m", Results: []Result{{Task: Task{"text-generation"}, Dataset: Dataset{"d", "d"},
			Metrics: []Metric{{"perplexity", 2.5, "Perplexity"}}}}}}},
		Intro: []string{Escape("one *two*")},
		Sections: []Section{{Title: "S", Table: &Table{Head: []string{"x", "y"}, Rows: [][]string{{Code("a|`b"), "1"}}},
			Text: []string{"t"}, Code: "print(1)"}}}
	b, err := c.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	want := "---\nlicense: mit\npipeline_tag: text-generation\ntags:\n  - 'a: b'\n  - '---'\nmodel-index:\n  - name: m\n    results:\n" +
		"      - task:\n          type: text-generation\n        dataset:\n          name: d\n          type: d\n        metrics:\n" +
		"          - type: perplexity\n            value: 2.5\n            name: Perplexity\n---\n\n# a\\|b \\# \\<script\\>\n\none \\*two\\*\n\n" +
		"## S\n\n| x | y |\n|---|---|\n| <code>a\\|\\`b</code> | 1 |\n\nt\n\n```python\nprint(1)\n```\n"
	if string(b) != want {
		t.Errorf("got\n%s\nwant\n%s", b, want)
	}
}

// TestNothingBecomesMarkup: whatever a text is, it stays on its line, in its cell, and in the front matter one value.
func TestNothingBecomesMarkup(t *testing.T) {
	for _, s := range []string{"a\n# heading\n---\n", "x | y", "`", "``", "</td><img src=x onerror=alert(1)>", "[a](javascript:x)", "![x](y)",
		"\x1b[31mred\u202e", "https://example.org/@user", "", "- a", "1. a", "*a*", "a\\", "\\|", "$x$"} {
		for _, f := range []func(string) string{Escape, Code} {
			got := f(s)
			if strings.ContainsAny(got, "\n\r\x1b\u202e") {
				t.Errorf("%q becomes %q", s, got)
			}
			for i, r := range got {
				if r == '|' && (i == 0 || got[i-1] != '\\') {
					t.Errorf("%q becomes %q, which ends its cell", s, got)
				}
			}
		}
		got := strings.ReplaceAll(strings.ReplaceAll(Escape(s), "\\\\", ""), "\\", "\x00")
		for _, x := range []string{"<", "[", "`", "*", "!", "$", "@", ":"} {
			if i := strings.Index(got, x); i >= 0 && (i == 0 || got[i-1] != 0) {
				t.Errorf("%q becomes %q, in which %s is markup", s, Escape(s), x)
			}
		}
		c := Card{Title: s, Metadata: Metadata{License: s, Tags: []string{s}}}
		b, err := c.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		front, _, _ := strings.Cut(strings.TrimPrefix(string(b), "---\n"), "\n---\n\n# ")
		var m Metadata
		if err := yaml.Unmarshal([]byte(front), &m); err != nil || m.License != Line(s) || len(m.Tags) != 1 || m.Tags[0] != Line(s) {
			t.Errorf("%q reads as %+v, %v:\n%s", s, m, err, front)
		}
	}
}

// TestStartsNothing: at the beginning of a paragraph a text is no list, line or heading, and an address in it no link.
func TestStartsNothing(t *testing.T) {
	for s, want := range map[string]string{"---": `\---`, "- a": `\- a`, "-": `\-`, "+ a": `\+ a`, "===": `\===`, "1. a": `1\. a`,
		"12) a": `12\) a`, "  - a\n- b": `\- a - b`, "www.example.org": `www\.example.org`, "see WWW.example.org": `see WWW\.example.org`,
		"-1": "-1", "0.3.0": "0.3.0", "a - b": "a - b", "awww.": "awww.", " ": ""} {
		if got := Escape(s); got != want {
			t.Errorf("%q becomes %q, want %q", s, got, want)
		}
	}
}
