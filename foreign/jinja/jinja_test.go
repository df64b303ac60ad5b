package jinja

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"
)

// TestJinja2 renders what PyPI's jinja2 rendered (tools/parity/jinja_fixture.py): the text is the same, and where
// jinja2 has an error there is one. What is not supported says so.
func TestJinja2(t *testing.T) {
	var fixture struct {
		Vars  json.RawMessage
		Cases []struct {
			Mode, Template string
			Text, Error    *string
		}
	}
	b, err := os.ReadFile("testdata/jinja2.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &fixture); err != nil {
		t.Fatal(err)
	}
	v, err := FromJSON(fixture.Vars)
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]Value{}
	for _, n := range v.(*Dict).Names() {
		vars[n], _ = v.(*Dict).Get(n)
	}
	unsupported := 0
	for _, c := range fixture.Cases {
		o := Chat("")
		o.Now = time.Date(2024, 7, 26, 9, 5, 3, 0, time.UTC)
		if c.Mode == "tasks" {
			o = Tasks("")
		}
		text, err := "", error(nil)
		tmpl, err := Compile(c.Template, o)
		if err == nil {
			text, err = tmpl.Render(vars)
		}
		switch {
		case c.Text == nil && err == nil:
			t.Errorf("%s: %s is %q, and jinja2 fails: %v", c.Mode, c.Template, text, c.Error)
		case c.Text != nil && err != nil && strings.Contains(err.Error(), "not supported"):
			unsupported++
		case c.Text != nil && err != nil:
			t.Errorf("%s: %s: %v; jinja2 renders %q", c.Mode, c.Template, err, *c.Text)
		case c.Text != nil && text != *c.Text:
			t.Errorf("%s: %s is %q, jinja2 renders %q", c.Mode, c.Template, text, *c.Text)
		}
		if err != nil && strings.Contains(err.Error(), "stepflow cannot do") {
			t.Errorf("%s: %s: %v", c.Mode, c.Template, err)
		}
	}
	if unsupported > 15 {
		t.Errorf("%d of %d cases are not supported", unsupported, len(fixture.Cases))
	}
}

// often is a template that evaluates an expression of a long text again and again.
func often(expression string) string {
	return "{% set b = 'x' * 4000000 %}{% for i in range(9999) %}{% set c = " + expression + " %}{% endfor %}"
}

// TestRunaway renders templates that would never end, or fill the memory.
func TestRunaway(t *testing.T) {
	for _, c := range []struct{ template, says string }{
		{"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps"},
		{"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "deep"},
		{"{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "MiB"},
		{"{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}", "MiB"},
		{"{% set ns = namespace(l=[1, 1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}", "steps"},
		{"{% set ns = namespace(l=[1, 1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}", "steps"},
		{"{% set ns = namespace(l=[1, 1], k=[1, 1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% set ns.k = [ns.k, ns.k] %}{% endfor %}{{ ns.l == ns.k }}", "steps"},
		{"{% set ns = namespace(l=(1, 1)) %}{% for i in range(60) %}{% set ns.l = (ns.l, ns.l) %}{% endfor %}{{ {ns.l: 1} }}", "i"},
		{"{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}", "deep"},
		{"{{ 'x' * 999999999999 }}", "MiB"}, {"{{ [1] * 999999999 }}", "MiB"}, {"{{ 'x' | center(9999999999) }}", "MiB"},
		{"{{ ('x' * 99999) | replace('x', 'y' * 99999) }}", "MiB"}, {"{{ 'a\nb' | indent(9999999999) }}", "MiB"}, {"{{ 'x'.ljust(9999999999) }}", "MiB"},
		{"{{ 9 ** 9 ** 9 }}", "64 bits"}, {"{{ range(999999999) }}", "range"}, {"{{ '%999d' % 1 }}{{ '%9999d' % 1 }}", "format"},
		{"{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}", "MiB"},
		{"{{ " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000) + " }}", "deep"}, {"{{ " + strings.Repeat("not ", 200000) + "1 }}", "deep"}, {"{{ " + strings.Repeat("-", 500000) + "1 }}", "deep"},
		{"{{ 1" + strings.Repeat("+1", 500000) + " }}", "in a row"}, {"{{ x" + strings.Repeat(".a", 400000) + " }}", "in a row"},
		{often("b.partition('y')"), "steps"}, {often("b.isascii()"), "steps"}, {often("b in {'a': 1}"), "steps"}, {often("b < b ~ ''"), "i"},
		{often("b | select | list"), "i"}, {"{{ ('{}' * 900000).format(*[1] * 9) }}", "too few values"}, {"{{ ('%%' * 900000) % () }}", "steps"},
		{"{{ ('\n' * 4000000) | indent }}", "MiB"}, {"{{ ('a.' * 2000000).split('a') | length }}", "MiB"}, {"{{ [1] | slice(1000000000) | list }}", "MiB"},
		{"{% macro f(" + strings.Repeat("a=1,", 999) + "a=1) %}{% endmacro %}{% for i in range(99999) %}{{ f(b=1) }}{% endfor %}", "takes no argument b"},
		{"{% macro f(" + strings.Repeat("a,", 999) + "a=1) %}{% endmacro %}{% for i in range(99999) %}{{ f() }}{% endfor %}", "steps"},
		{strings.Repeat("{% if x %}", 50000), "deep"}, {"{{ [" + strings.Repeat("[", 90) + strings.Repeat("]", 90) + "] }}" + strings.Repeat("x", 2<<20), "bytes"},
	} {
		o := Chat("t")
		o.Limits = Limits{Steps: 500_000, Bytes: 16 << 20, Text: 4 << 20, Depth: 120}
		tmpl, err := Compile(c.template, o)
		if err == nil {
			_, err = tmpl.Render(nil)
		}
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "stepflow cannot do") {
			t.Errorf("%.60s: %v, which should say %q", c.template, err, c.says)
		}
	}
}

// Regular expressions may backtrack: the time of all that a rendering matches is bounded.
func TestMatchingIsBounded(t *testing.T) {
	o := Tasks("t")
	o.Limits = DefaultLimits
	o.Limits.Matching = time.Nanosecond
	tmpl, err := Compile("{{ 'a' | regex_replace('a', 'b') }}", o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = tmpl.Render(nil); err == nil || !strings.Contains(err.Error(), "take more than 1ns") {
		t.Error(err)
	}
}

func TestErrorsSayWhere(t *testing.T) {
	for _, c := range []struct{ template, says string }{
		{"a\n{{ x.y }}", "tokenizer_config.json, line 2: 'x' is undefined"},
		{"\n\n{% if %}", "tokenizer_config.json, line 3: unexpected %}"},
		{"{% if x %}\n\n", "line 1: a block has no {% endif %}"},
		{"\n{{ raise_exception('roles must alternate') }}", "line 2: the template refuses: roles must alternate"},
		{"{% set x = [] %}\n{{ x.append(1) }}", "line 2: list.append() is not supported, since a template may not change a value: write a new list with +"},
		{"{{ raise_exception('\x1b[2Jred\n' ~ 'x' * 5000) }}", `the template refuses: \x1b[2Jred\x0axxx`},
		{"{{ strftime_now('%Y') }}", "'strftime_now' is undefined"},
		{"{% macro m() %}{% generation %}a{% endgeneration %}{% endmacro %}{{ m() }}", "stands in a macro"},
	} {
		tmpl, err := Compile(c.template, Chat("tokenizer_config.json"))
		if err == nil {
			_, err = tmpl.Render(nil)
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, which should say %q", c.template, err, c.says)
		}
		if err != nil && len(err.Error()) > 1100 {
			t.Errorf("%q: a message of %d bytes", c.template, len(err.Error()))
		}
		if got, want := IsRaised(err), strings.Contains(c.template, "raise_exception"); got != want {
			t.Errorf("%q: raised is %v", c.template, got)
		}
	}
}

func TestSpans(t *testing.T) {
	tmpl, err := Compile("{% for m in messages %}<{{ m }}>{% generation %}é{{ m }}{% endgeneration %}\n{% endfor %}", Chat(""))
	if err != nil || !tmpl.Marks() {
		t.Fatal(err)
	}
	text, spans, err := tmpl.RenderSpans(map[string]Value{"messages": []any{"a", "b"}})
	if err != nil || text != "<a>éa<b>éb" || len(spans) != 2 || text[spans[0].Start:spans[0].End] != "éa" || text[spans[1].Start:spans[1].End] != "éb" {
		t.Error(text, spans, err)
	}
}

func TestFromJSON(t *testing.T) {
	v, err := FromJSON([]byte(`{"b": [1, 2.0, 1e3, 12345678901234567890, true, null, "é"], "a": {}}`))
	if err != nil {
		t.Fatal(err)
	}
	tmpl, err := Compile("{{ v }}|{{ v | tojson }}", Chat(""))
	if err != nil {
		t.Fatal(err)
	}
	text, err := tmpl.Render(map[string]Value{"v": v})
	if want := `{'b': [1, 2.0, 1000.0, 12345678901234567890, True, None, 'é'], 'a': {}}|{"b": [1, 2.0, 1000.0, 12345678901234567890, true, null, "é"], "a": {}}`; text != want || err != nil {
		t.Error(text, err)
	}
	for _, s := range []string{"", "{", "[1", "1 2", strings.Repeat("[", 100000), `{"a"}`} {
		if v, err := FromJSON([]byte(s)); err == nil {
			t.Errorf("%.20s is %v", s, v)
		}
	}
}

// FuzzRender renders anything: it never panics, and ends.
func FuzzRender(f *testing.F) {
	for _, s := range []string{"{{ a | map('upper') | join }}", "{% for m in l %}{{ loop.index ~ m }}{% else %}{% endfor %}", "{%- macro f(x, y=1) -%}{{ x }}{% endmacro %}{{ f(1, *l) }}",
		"{% set ns = namespace(a=1) %}{% set ns.a = ns.a // 2 %}", "{{ s[::-1].split() | tojson(indent=2) }}", "{% generation %}{{ '%s' % s }}{% endgeneration %}", "{{ s|regex_replace('(a)', '\\1') }}"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, source string, chat bool) {
		o := Tasks("t")
		if chat {
			o = Chat("t")
		}
		o.Limits = Limits{Steps: 100_000, Bytes: 1 << 20, Text: 1 << 18, Depth: 50, Matching: time.Second}
		tmpl, err := Compile(source, o)
		if err == nil {
			_, err = tmpl.Render(map[string]Value{"s": "aé b", "l": []any{"x", 1, nil, map[string]any{"k": 1.5}}})
		}
		if err != nil && strings.Contains(err.Error(), "stepflow cannot do") {
			t.Errorf("%q: %v", source, err)
		}
	})
}
