package main

import "testing"

// TestWrapped: lines go on under their last column, whatever is coloured in them; a word that is too long stays whole.
func TestWrapped(t *testing.T) {
	for _, c := range []struct {
		columns    int
		text, want string
	}{
		{0, "a line that stays as it is without a width", "a line that stays as it is without a width"},
		{20, "short\nlines\n", "short\nlines\n"},
		{20, "+ x  run  one two three four", "+ x  run  one two\n          three four"},
		{20, "\x1b[32m+\x1b[0m x  \x1b[32mrun\x1b[0m  one two three four",
			"\x1b[32m+\x1b[0m x  \x1b[32mrun\x1b[0m  one two\n          three four"},
		{20, "a-very-long-address.of.a.block  run", "a-very-long-address.of.a.block\n    run"},
		{20, "Plan: 1 to run, 2 to resume, 3", "Plan: 1 to run, 2 to\n    resume, 3"},
		{20, "über über über über über", "über über über über\n    über"},
	} {
		if got := wrapped(c.text, c.columns); got != c.want {
			t.Errorf("%d columns, %q:\n%q, want\n%q", c.columns, c.text, got, c.want)
		}
	}
}
