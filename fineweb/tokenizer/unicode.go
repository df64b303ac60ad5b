package tokenizer

import (
	"sort"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// standIn is a range of characters, and one that is like them.
type standIn struct{ lo, hi, like rune }

func find(table []standIn, r rune) (like rune, ok bool) {
	i := sort.Search(len(table), func(i int) bool { return table[i].hi >= r })
	if i == len(table) || table[i].lo > r {
		return r, false
	}
	return table[i].like, true
}

// known gives a character that Go's tables know for one that is newer than they are: patterns take both for the same.
func known(r rune) rune {
	if r < late[0].lo {
		return r
	}
	like, ok := find(late, r)
	if !ok || unicode.IsGraphic(r) { // Go has caught up
		return r
	}
	return like
}

// mostMarks is how many marks in a row x/text leaves alone; behind them it puts a joiner (UAX #15, Stream-Safe Text),
// which the tokenizers library does not.
const mostMarks = 30

// normalizer gives a normalization form as the tokenizers library has it, with its older tables: a character it
// does not know has no decomposition and combines with nothing.
func normalizer(form norm.Form) func(string) string {
	part := func(s string) string {
		marks := 0
		for _, r := range s {
			if norm.NFD.PropertiesString(string(r)).CCC() == 0 {
				marks = 0
			} else if marks++; marks >= mostMarks {
				return slowly(form, s)
			}
		}
		return form.String(s)
	}
	return func(s string) string {
		if form.QuickSpanString(s) == len(s) && ascii(s) {
			return s
		}
		var out strings.Builder
		from := 0
		for i, r := range s {
			if r < inert[0].lo {
				continue
			}
			if _, ok := find(inert, r); ok {
				out.WriteString(part(s[from:i]))
				out.WriteRune(r)
				from = i + len(string(r))
			}
		}
		out.WriteString(part(s[from:]))
		return out.String()
	}
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// slowly normalizes as UAX #15 tells, sections 1.2 and 3.11: decompose, put marks in order of their classes, compose.
func slowly(form norm.Form, s string) string {
	decompose, compose := norm.NFD, form == norm.NFC || form == norm.NFKC
	if form == norm.NFKC || form == norm.NFKD {
		decompose = norm.NFKD
	}
	class := func(r rune) uint8 { return norm.NFD.PropertiesString(string(r)).CCC() }
	var rs []rune
	for _, r := range s {
		rs = append(rs, []rune(decompose.String(string(r)))...)
	}
	for lo := 0; lo < len(rs); {
		hi := lo
		for hi < len(rs) && class(rs[hi]) != 0 {
			hi++
		}
		sort.SliceStable(rs[lo:hi], func(i, j int) bool { return class(rs[lo+i]) < class(rs[lo+j]) })
		lo = max(hi, lo+1)
	}
	if !compose {
		return string(rs)
	}
	var out []rune
	starter, last := -1, uint8(0) // last: the class of what stands between the starter and here; 0 for nothing
	for _, r := range rs {
		c := class(r)
		if starter >= 0 && (last < c || last == 0 && starter == len(out)-1) {
			if both := []rune(norm.NFC.String(string([]rune{out[starter], r}))); len(both) == 1 {
				out[starter] = both[0]
				continue
			}
		}
		out = append(out, r)
		if c == 0 {
			starter, last = len(out)-1, 0
		} else {
			last = c
		}
	}
	return string(out)
}
