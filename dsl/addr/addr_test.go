package addr

import (
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, s := range []string{"stage.seed", "data.fineweb_edu.corpus", `stage.grid["a b"]`, "stage.n[0]", "evaluate.perplexity.v[12]", "output.x"} {
		a, err := Parse(s)
		if err != nil || a.String() != s {
			t.Errorf("%s: %v, %v", s, a, err)
		}
	}
	for _, s := range []string{"", "stage", "stage.", "stages.x", "data.x", "stage.x[", "stage.x[-1]", "stage.x[01]", "stage.x.y", `stage.x['a']`} {
		if a, err := Parse(s); err == nil {
			t.Errorf("%q parses as %v", s, a)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`stage.grid["a"]`)
	f.Add(`module.a["k"].module.b[0].data.text.d`)
	f.Add("module.a")
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAny(s)
		if err != nil {
			return
		}
		if a.String() != s {
			t.Errorf("%q prints as %q", s, a)
		}
		if a.Module != "" {
			if parent, name, key := Split(a.Module); Child(parent, name, key) != a.Module {
				t.Errorf("%q is the module %q[%s] of %q", a.Module, name, key, parent)
			}
		}
		if !a.Covers(a) {
			t.Errorf("%q does not cover itself", s)
		}
	})
}

// TestDirIsInjective writes many addresses, alike and strange, as folders: no two share one, also where upper case
// counts as lower, and each is a name that file systems take.
func TestDirIsInjective(t *testing.T) {
	for give, want := range map[string]string{"stage.seed": "stage.seed", "data.fineweb_edu.docs": "data.fineweb_edu.docs", "stage.a[0]": "stage.a@0", `stage.a["x"]`: "stage.a@x", `stage.a["x.y"]`: "stage.a@x.y",
		`module.run["a.b"].module.c[0].stage.a["x"]`: "module.run@a%2Eb.module.c@0.stage.a@x"} {
		if a, err := Parse(give); err != nil || a.Dir() != want {
			t.Errorf("%s lies in %s, %v; want %s", give, a.Dir(), err, want)
		}
	}
	atoms := []string{"", "a", "A", "b", "0", "1", "01", "-1", "%", "%30", "@", "~", ".", "..", "/", "\\", "\"", "[", "]", " ", "\n", "\x00", "é", "e\u0301", "É", "\xff", "ẞ", "%C3%A9"}
	rng := rand.New(rand.NewPCG(1, 2))
	list := []Addr{}
	for _, name := range []string{"a", "A", "aA", "é", "É", "a-b", "a_b", strings.Repeat("n", 300), strings.Repeat("n", 299) + "N"} {
		list = append(list, Addr{Kind: "stage", Name: name}, Addr{Kind: "data", Type: "text", Name: name})
		for i := range 12 {
			list = append(list, Addr{Kind: "stage", Name: name, Key: IntKey(i)})
		}
		for range 3000 {
			var k string
			for range rng.IntN(4) {
				k += atoms[rng.IntN(len(atoms))]
			}
			if rng.IntN(20) == 0 {
				k += strings.Repeat(atoms[rng.IntN(len(atoms))], 250)
			}
			list = append(list, Addr{Kind: "stage", Name: name, Key: StringKey(k)})
		}
		for i := range 12 {
			list = append(list, Addr{Kind: "stage", Name: name, Key: StringKey(IntKey(i))})
		}
	}
	modules := []string{"module.a", "module.A", "module.a[0]", `module.a["0"]`, `module.a["x.stage.a"]`,
		`module.a["x"].module.a`, `module.a["x@.module.a"]`, "module.a.module.a"}
	for _, a := range list[:len(list):len(list)] {
		list = append(list, a.In(modules[rng.IntN(len(modules))]))
	}
	seen := map[string]Addr{}
	for _, a := range list {
		d := a.Dir()
		if len(d) > 255 || d != filepath.Base(d) || strings.ContainsAny(d, "/\\\x00\n\"") || strings.HasSuffix(d, ".") {
			t.Errorf("%s lies in %q, which is not the name of a folder", a, d)
		}
		folded := strings.ToLower(d)
		if other, ok := seen[folded]; ok && other != a {
			t.Fatalf("%s and %s share %s", a, other, d)
		}
		seen[folded] = a
	}
}
