package main

import "testing"

// TestGrid: a table that is too wide goes on below, under its first column, and loses nothing.
func TestGrid(t *testing.T) {
	g := &grid{rows: 2}
	for _, c := range []struct {
		head  string
		right bool
		cells []string
	}{{"", false, []string{"a", "bb"}}, {"rate", true, []string{"0.1", "12"}}, {"name", false, []string{"äöü", ""}},
		{"loss", true, []string{"1", "2"}}} {
		g.column(c.head, c.right, func(i int) string { return c.cells[i] })
	}
	for width, want := range map[int]string{
		0:  "    rate  name  loss\na    0.1  äöü      1\nbb    12           2\n",
		15: "    rate  name\na    0.1  äöü\nbb    12\n\n    loss\na      1\nbb     2\n",
		1:  "    rate\na    0.1\nbb    12\n\n    name\na   äöü\nbb\n\n    loss\na      1\nbb     2\n",
	} {
		if got := g.text(width); got != want {
			t.Errorf("%d:\n%s\nwant\n%s", width, got, want)
		}
	}
}
