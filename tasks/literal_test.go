package tasks

import (
	"reflect"
	"testing"

	"stepflow/fineweb"
)

func TestLiteral(t *testing.T) {
	for s, want := range map[string]any{
		"0": int64(0), "-12": int64(-12), "1.5": 1.5, "None": nil, "True": true, `'a\'b'`: "a'b", `"a\x41é\u00e9\U0001f642\n"`: "aAéé🙂\n",
		"[]": fineweb.List{}, "('a',)": fineweb.List{"a"}, "('a')": "a", "[1, 'b', [True, None],]": fineweb.List{int64(1), "b", fineweb.List{true, nil}},
		"{'a': 1, \"b\": {}}": fineweb.Object{{Name: "a", Value: int64(1)}, {Name: "b", Value: fineweb.Object{}}}, "'a' 'b'": "ab",
	} {
		if got, err := literal(s); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, %v, not %#v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "a", "007", "[1", "[1 2]", "'a", "1 2", "{1: 2}", `'\q'`, "'a\nb'", "f('x')"} {
		if got, err := literal(s); err == nil {
			t.Errorf("%q is %#v", s, got)
		}
	}
}

func FuzzLiteral(f *testing.F) {
	f.Add("[1, 'b', (True, None), {'a': 1.5}]")
	f.Fuzz(func(t *testing.T, s string) { literal(s) })
}
