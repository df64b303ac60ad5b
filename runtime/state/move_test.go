package state

import (
	"fmt"
	"path/filepath"
	"testing"

	"stepflow/dsl/addr"
)

// TestRename moves all instances of a block, one instance, and data that have only a record of what they were.
func TestRename(t *testing.T) {
	parse := func(s string) addr.Addr {
		a, err := addr.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, x := range []struct{ from, to, want string }{
		{"stage.a", "stage.b", `[stage.a["x"] to stage.b["x"] stage.a[0] to stage.b[0]]`},
		{"stage.a[0]", "stage.b", "[stage.a[0] to stage.b]"},
		{"stage.c", "stage.c[0]", "[stage.c to stage.c[0]]"},
		{"stage.a[1]", "stage.b", "[]"},
		{"data.jsonl.d", "data.jsonl.e", "[data.jsonl.d to data.jsonl.e]"},
	} {
		s := &State{Blocks: map[string]*Block{}, Sources: map[string]*Source{"data.jsonl.d": {Identity: "d"}}}
		for _, n := range []string{"stage.a[0]", `stage.a["x"]`, "stage.ab", "stage.c"} {
			s.Blocks[n] = &Block{Dir: filepath.Join(BlocksName, parse(n).Dir(), "result")}
		}
		list := s.Moving(parse(x.from), parse(x.to))
		if fmt.Sprint(list) != x.want {
			t.Errorf("%s to %s: %v, want %s", x.from, x.to, list, x.want)
		}
		for _, m := range list {
			s.Rename(m)
			s.Relocated(m)
			b := s.Blocks[m.To.String()]
			if s.Has(m.From) || !s.Has(m.To) || b != nil && b.Dir != filepath.Join(BlocksName, m.To.Dir(), "result") {
				t.Errorf("%s: the state has %v, %v", m, s.Names(), b)
			}
		}
		if n := len(s.Blocks) + len(s.Sources); n != 5 {
			t.Errorf("%s to %s: %d entries, want 5", x.from, x.to, n)
		}
	}
	s := &State{Sources: map[string]*Source{"data.jsonl.d": {Identity: "before"}, "data.jsonl.e": {Identity: "now"}}}
	s.Rename(Move{parse("data.jsonl.d"), parse("data.jsonl.e")})
	if d := s.Sources["data.jsonl.e"]; d.Identity != "now" || len(s.Sources) != 1 {
		t.Errorf("data that a run has looked at again are %v of %d", d, len(s.Sources))
	}
}
