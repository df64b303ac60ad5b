package main

import (
	"testing"
	"time"
)

// TestQuoted: a shell takes what is quoted as one argument, as it was.
func TestQuoted(t *testing.T) {
	for arg, want := range map[string]string{
		"pipelines/quickstart": "pipelines/quickstart", "../a.hcl": "../a.hcl", "-chdir=p": "-chdir=p",
		"my pipe": "'my pipe'", "it's": `'it'\''s'`, "$HOME": "'$HOME'", "": "''", "a;b": "'a;b'", "~": "'~'",
		"损失": "'损失'",
	} {
		if got := quoted(arg); got != want {
			t.Errorf("%q: %s, want %s", arg, got, want)
		}
	}
}

// TestStepLinesAreDue: a log of a short stage has a line every 5 seconds, and one of a week is not filled with them.
func TestStepLinesAreDue(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	lines := func(runs time.Duration) (n int) {
		s := &stepLines{began: began}
		for now := began; now.Sub(began) < runs; now = now.Add(time.Second) {
			if s.due(now) {
				s.last = now
				n++
			}
		}
		return n
	}
	for runs, want := range map[time.Duration][2]int{time.Minute: {12, 12}, time.Hour: {250, 350},
		7 * 24 * time.Hour: {2000, 2600}} {
		if n := lines(runs); n < want[0] || n > want[1] {
			t.Errorf("%d lines in %s, want %d to %d", n, runs, want[0], want[1])
		}
	}
}
