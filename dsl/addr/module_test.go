package addr

import (
	"strings"
	"testing"
)

func parse(t *testing.T, s string) Addr {
	t.Helper()
	a, err := ParseAny(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestParseModule(t *testing.T) {
	for _, s := range []string{"module.a.stage.x", `module.a["k.x"].module.b[0].data.text.d["]"]`, `module.a["stage.x"].stage.x[1]`} {
		a, err := Parse(s)
		if err != nil || a.String() != s || a.Module == "" {
			t.Errorf("%s: %v, %v", s, a, err)
		}
	}
	for _, s := range []string{"module.a", `module.a["k"]`, "module.module.module.b[3]"} {
		if a, err := ParseAny(s); err != nil || !a.IsModule() || a.String() != s {
			t.Errorf("%s: %v, %v", s, a, err)
		}
		if a, err := Parse(s); err == nil {
			t.Errorf("%q parses as the block %v", s, a)
		}
	}
	deep := strings.Repeat("module.a.", MaxDepth)
	parse(t, deep+"stage.x")
	for _, s := range []string{"module", "module.", "module.a.", "module..stage.x", "module.a[.stage.x", `module.a["k"]stage.x`,
		"module.a[01].stage.x", "modules.a.stage.x", "module.a.stage", deep + "module.a.stage.x",
		"stage." + strings.Repeat("x", longestText)} {
		if a, err := ParseAny(s); err == nil {
			t.Errorf("%.80q parses as %v", s, a)
		}
	}
}

func TestSplit(t *testing.T) {
	for path, want := range map[string][3]string{
		"module.a":                     {"", "a", ""},
		`module.a["k"].module.b[0]`:    {`module.a["k"]`, "b", "0"},
		`module.a["x.module.y"]`:       {"", "a", `"x.module.y"`},
		`module.a.module.b.module.c`:   {"module.a.module.b", "c", ""},
		`module.a["\"]."].module.b[1]`: {`module.a["\"]."]`, "b", "1"},
	} {
		parent, name, key := Split(path)
		if got := [3]string{parent, name, key}; got != want || Child(parent, name, key) != path {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if c := Call(`module.a["k"].module.b[0]`); c != `module.a["k"].module.b` {
		t.Error(c)
	}
}

func TestCovers(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want bool
	}{
		{"stage.x", "stage.x[0]", true}, {"stage.x[0]", "stage.x[0]", true}, {"stage.x[0]", "stage.x[1]", false},
		{"stage.x", "module.a.stage.x", false}, {"module.a", "module.a.stage.x", true},
		{"module.a", `module.a["k"].module.b.stage.x`, true}, {`module.a["k"]`, `module.a["k"].stage.x`, true},
		{`module.a["k"]`, `module.a["l"].stage.x`, false}, {"module.a", "module.ab.stage.x", false},
		{"module.a.stage.x", `module.a["k"].stage.x[1]`, true}, {"module.a[0].stage.x", "module.a.stage.x", false},
		{"module.a.module.b", "module.a[0].module.b[1]", true}, {"module.a.module.b", "module.a.stage.b", false},
	} {
		if got := parse(t, x.a).Covers(parse(t, x.b)); got != x.want {
			t.Errorf("%s covers %s: %v", x.a, x.b, got)
		}
	}
}

func TestMoved(t *testing.T) {
	for _, x := range []struct{ b, from, to, want string }{
		{"stage.x", "stage.x", "module.a.stage.y", "module.a.stage.y"},
		{"stage.x[1]", "stage.x", "module.a.stage.y", "module.a.stage.y[1]"},
		{"stage.x[1]", "stage.x[0]", "stage.y", ""},
		{"module.a.stage.y", "module.a.stage.y", "stage.x", "stage.x"},
		{"module.a.stage.y", "stage.y", "stage.x", ""},
		{`module.a["k"].stage.y[0]`, "module.a", "module.b", `module.b["k"].stage.y[0]`},
		{"module.a.stage.y", "module.a", `module.a["k"]`, `module.a["k"].stage.y`},
		{"module.a[0].module.c.stage.y", "module.a[0]", "module.d.module.a", "module.d.module.a.module.c.stage.y"},
		{"module.a[1].stage.y", "module.a[0]", "module.b", ""},
		{"module.a[1].stage.y", "module.a", "module.b[0]", ""},
		{"module.ab.stage.y", "module.a", "module.b", ""},
	} {
		got, ok := Moved(parse(t, x.b), parse(t, x.from), parse(t, x.to))
		if ok != (x.want != "") || ok && got.String() != x.want {
			t.Errorf("%s, when %s moves to %s: %s, %v", x.b, x.from, x.to, got, ok)
		}
	}
}

func TestIn(t *testing.T) {
	for _, x := range [][3]string{{"stage.x", "", "stage.x"}, {"stage.x", "module.a[0]", "module.a[0].stage.x"},
		{"module.b.stage.x", "module.a", "module.a.module.b.stage.x"}, {"module.b", "module.a", "module.a.module.b"}} {
		if got := parse(t, x[0]).In(x[1]).String(); got != x[2] {
			t.Errorf("%s in %s is %s, want %s", x[0], x[1], got, x[2])
		}
	}
}
