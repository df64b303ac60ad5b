package main

import "testing"

// A carriage return that ends a line with a line feed is not shown, wherever the pieces of a text are cut. Others are.
func TestWrittenShowsNoCarriageReturnsAtLineEnds(t *testing.T) {
	for _, pieces := range [][]string{
		{"a\r\nb\rc\r\r\nd\r"},
		{"a\r", "\nb\r", "c\r", "\r", "\nd\r", ""},
		{"a", "\r", "", "\nb\rc\r\r\n", "d\r"},
	} {
		var w written
		got := ""
		for i, p := range pieces {
			got += w.add(p, i == len(pieces)-1)
		}
		if want := "a\nb" + `\x0d` + "c" + `\x0d` + "\nd" + `\x0d`; got != want {
			t.Errorf("%q: %q, want %q", pieces, got, want)
		}
	}
}
