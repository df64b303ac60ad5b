package tokenizer

import (
	"slices"
	"testing"
)

// TestPatternsOfTheLibrary holds what a pattern cuts a text into, and which patterns are refused, to what the tokenizers library
// gives: parts are what Split with behavior isolated makes of "aab{1}b12,2 a-b".
func TestPatternsOfTheLibrary(t *testing.T) {
	for pattern, want := range map[string][]string{ // nil for a refusal
		"{1}":              nil, // with nothing before it
		"{,2}":             nil,
		"b|{2}":            nil,
		"({2,})":           nil,
		"(?i){1}":          nil,
		"(?#c){1}":         nil,
		"(?x) {1}":         nil,
		"{}":               {"aab{1}b12,2 a-b"}, // a brace that is no repetition stands for itself
		"{1":               {"aab", "{1", "}b12,2 a-b"},
		"{,}|{1}}":         nil,
		`\{1}`:             {"aab", "{1}", "b12,2 a-b"},
		"(?)":              nil,
		"(?)a":             nil,
		"a(?#c){2}":        {"aa", "b{1}b12,2 a-b"}, // a comment does not stand between
		"a(?#c)(?#\\)){2}": {"aa", "b{1}b12,2 a-b"},
		"(?#c)*":           nil,
		"a(?#c":            nil,
		`(?<!\Z)b`:         nil, // what Oniguruma does not look behind for
		`(?<=x|\z)b`:       nil,
		"(?<=(?=a)a)b":     nil,
		"(?<!(?!b)a)b":     nil,
		"(?<=(?<!a)b)b":    nil,
		"(?<!(a))b":        nil,
		"(?<!(?:(?<n>a)))": nil,
		"(?<=(a))b":        {"aa", "b", "{1}b12,2 a-b"},
		"(?<!(?:a))b":      {"aab{1}", "b", "12,2 a-", "b"},
		"(?<!(?<!a)a)b":    {"aa", "b", "{1}", "b", "12,2 a-", "b"},
	} {
		find, err := compile(pattern)
		if err != nil {
			if want != nil {
				t.Errorf("%s: %v, want %q", pattern, err, want)
			}
			continue
		}
		pieces, err := cut(nil, piece{"aab{1}b12,2 a-b", 0}, find.each, isolated, false)
		var got []string
		for _, p := range pieces {
			got = append(got, p.s)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", pattern, got, err, want)
		}
	}
}
