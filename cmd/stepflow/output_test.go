package main

import (
	"strings"
	"testing"
)

// TestTamed: of what would act on a terminal, the program's own colours and a line begun again get through.
func TestTamed(t *testing.T) {
	for in, want := range map[string]string{
		"plain\tü\n": "plain\tü\n",
		"\x1b[31mError:\x1b[0m \x1b[1;36mname\x1b[m\n":          "\x1b[31mError:\x1b[0m \x1b[1;36mname\x1b[m\n",
		"\r\x1b[K  [==  ] step 1":                               "\r\x1b[K  [==  ] step 1",
		"\rdata: 1 of 2\x1b[K":                                  "\rdata: 1 of 2\x1b[K",
		"\r\x1b[K":                                              "\r\x1b[K",
		"a\rb\x1b[Kc":                                           `a\x0db\x1b[Kc`,
		"\x1b[2J\x1b]0;title\x07\x1b[8mhidden\x1b[0m":           `\x1b[2J\x1b]0;title\x07\x1b[8mhidden` + "\x1b[0m",
		"\u009b2J \u202egnp.exe \x9b \x1b\x1b[31m \x1b[38;5;1m": `\x9b2J \u202egnp.exe \x9b \x1b` + "\x1b[31m" + ` \x1b[38;5;1m`,
	} {
		if got := string(tamed([]byte(in))); got != want {
			t.Errorf("%q is shown as %q, want %q", in, got, want)
		}
	}
}

// TestAround: of a line of any length a piece is shown, with the place in it.
func TestAround(t *testing.T) {
	long := strings.Repeat("ä", 500) + "X" + strings.Repeat("b", 1<<20)
	for _, c := range []struct {
		line       string
		start, end int
		marked     string
	}{
		{"a = XY", 5, 7, "XY"}, {"a = XY", 5, 900, "XY"}, {"a", 2, 3, ""}, {"", 7, 9, ""}, {"abc", 0, 0, ""},
		{long, 501, 502, "X"}, {long, 1, 3, "ää"}, {long, 1 << 20, 1<<20 + 2, "bb"}, {long, 1 << 30, 1 << 31, ""},
	} {
		text, start, end := around(c.line, c.start, c.end)
		r := []rune(text)
		if len(r) > 260 || start < 1 || end < start || end > len(r)+1 || string(r[start-1:end-1]) != c.marked {
			t.Errorf("%.20q at %d to %d: %.300q at %d to %d", c.line, c.start, c.end, text, start, end)
		}
	}
}
