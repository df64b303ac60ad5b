package addr

import "testing"

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
	f.Fuzz(func(t *testing.T, s string) {
		if a, err := Parse(s); err == nil && a.String() != s {
			t.Errorf("%q prints as %q", s, a)
		}
	})
}
