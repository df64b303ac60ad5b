package tokenizer

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
)

// manyFolds maps a character to the several that it is like where case does not matter, such as ß to ss.
var manyFolds = sync.OnceValue(func() map[rune]string {
	m := map[rune]string{}
	fold := cases.Fold()
	for r := rune(0x80); r < 0x20000; r++ {
		if r >= 0xd800 && r < 0xe000 {
			continue
		}
		if s := fold.String(string(r)); utf8.RuneCountInString(s) > 1 {
			m[r] = s
		}
	}
	return m
})

// foldsTogether reports whether the last characters are, where case does not matter, like one character.
func foldsTogether(literal []rune) bool {
	end := simpleFolds(literal[max(0, len(literal)-3):])
	for _, s := range manyFolds() {
		if strings.HasSuffix(end, s) {
			return true
		}
	}
	return false
}

func simpleFolds(s []rune) string {
	var out strings.Builder
	for _, r := range s {
		least := r
		for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
			if o < least {
				least = o
			}
		}
		if least >= 'A' && least <= 'Z' {
			least += 'a' - 'A'
		} else if l := unicode.ToLower(r); l != r {
			least = l
		}
		out.WriteRune(least)
	}
	return out.String()
}

// folded adds the characters that differ only in case. A set with one that is like several characters is refused: the
// library would match those, too, but for a class that is negated.
func folded(s *runeSet, negated bool) (*runeSet, error) {
	if !negated {
		for _, r := range slices.Sorted(maps.Keys(manyFolds())) {
			if s.has(r) {
				return nil, unsupported("%q where case does not matter, which may also be %q,", r, manyFolds()[r])
			}
		}
	}
	out := slices.Clone(s.ranges)
	for _, x := range s.ranges {
		for r := x.lo; r <= min(x.hi, 0x1ffff); r++ { // no letter beyond has a case
			for o := unicode.SimpleFold(r); o != r; o = unicode.SimpleFold(o) {
				out = append(out, runeRange{o, o})
			}
		}
	}
	return setOf(out), nil
}
