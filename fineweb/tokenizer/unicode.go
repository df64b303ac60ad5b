package tokenizer

import (
	_ "embed"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/text/unicode/norm"
)

//go:embed unicode.txt
var unicodeText string

// runeSet is a set of characters: ranges in order that do not touch, and a table of those of one byte.
type runeSet struct {
	ranges []runeRange
	ascii  [2]uint64
}

type runeRange struct{ lo, hi rune }

const lastRune = 0x10ffff

// setOf makes a set of ranges in any order.
func setOf(ranges []runeRange) *runeSet {
	slices.SortFunc(ranges, func(a, b runeRange) int { return int(a.lo) - int(b.lo) })
	s := &runeSet{}
	for _, r := range ranges {
		if n := len(s.ranges); n > 0 && r.lo <= s.ranges[n-1].hi+1 {
			s.ranges[n-1].hi = max(s.ranges[n-1].hi, r.hi)
		} else {
			s.ranges = append(s.ranges, r)
		}
	}
	for _, r := range s.ranges {
		for c := r.lo; c <= r.hi && c < 0x80; c++ {
			s.ascii[c>>6] |= 1 << (c & 63)
		}
	}
	return s
}

func (s *runeSet) has(r rune) bool {
	if r < 0x80 {
		return s.ascii[r>>6]>>(r&63)&1 != 0
	}
	lo, hi := 0, len(s.ranges)
	for lo < hi {
		if m := (lo + hi) / 2; s.ranges[m].hi < r {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo < len(s.ranges) && s.ranges[lo].lo <= r
}

func (s *runeSet) not() *runeSet {
	var out []runeRange
	next := rune(0)
	for _, r := range s.ranges {
		if r.lo > next {
			out = append(out, runeRange{next, r.lo - 1})
		}
		next = r.hi + 1
	}
	if next <= lastRune {
		out = append(out, runeRange{next, lastRune})
	}
	return setOf(out)
}

func union(sets ...*runeSet) *runeSet {
	var out []runeRange
	for _, s := range sets {
		out = append(out, s.ranges...)
	}
	return setOf(out)
}

func intersect(a, b *runeSet) *runeSet { return union(a.not(), b.not()).not() }

// unicodeLines are the lines of unicode.txt by their first word.
var unicodeLines = sync.OnceValue(func() map[string]string {
	lines := map[string]string{}
	for line := range strings.Lines(unicodeText) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		lines[name] = rest
	}
	return lines
})

func hexRune(s string) rune {
	n, err := strconv.ParseInt(s, 16, 32)
	if err != nil {
		panic("unicode.txt: " + err.Error())
	}
	return rune(n)
}

var (
	tablesMu sync.Mutex
	tables   = map[string]*runeSet{}
)

// table is the set of a line of unicode.txt; nil if there is none.
func table(name string) *runeSet {
	tablesMu.Lock()
	defer tablesMu.Unlock()
	if s, ok := tables[name]; ok {
		return s
	}
	line, ok := unicodeLines()[name]
	if !ok {
		return nil
	}
	var out []runeRange
	for word := range strings.FieldsSeq(line) {
		lo, hi, ranged := strings.Cut(word, "-")
		if !ranged {
			hi = lo
		}
		out = append(out, runeRange{hexRune(lo), hexRune(hi)})
	}
	tables[name] = setOf(out)
	return tables[name]
}

// lowercases maps a character to what Rust's char::to_lowercase makes of it, where that is something else.
var lowercases = sync.OnceValue(func() map[rune]string {
	m := map[rune]string{}
	for word := range strings.FieldsSeq(unicodeLines()["lowers"]) {
		span, step, _ := strings.Cut(word, "/")
		lo, hi, _ := strings.Cut(span, "-")
		at := strings.IndexAny(step, "+-")
		by, err := strconv.Atoi(step[:at])
		if err != nil {
			panic("unicode.txt: " + err.Error())
		}
		d, err := strconv.Atoi(step[at:])
		if err != nil {
			panic("unicode.txt: " + err.Error())
		}
		for r := hexRune(lo); r <= hexRune(hi); r += rune(by) {
			m[r] = string(r + rune(d))
		}
	}
	words := strings.Fields(unicodeLines()["lower"]) // the one that becomes two characters
	var to strings.Builder
	for _, w := range words[1:] {
		to.WriteRune(hexRune(w))
	}
	m[hexRune(words[0])] = to.String()
	return m
})

// lowercase is char::to_lowercase of each character: no final sigma, nothing that a language changes.
func lowercase(s string) string {
	m := lowercases()
	var out strings.Builder
	out.Grow(len(s))
	for _, r := range s {
		if r < 0x80 {
			if r >= 'A' && r <= 'Z' {
				r += 'a' - 'A'
			}
			out.WriteByte(byte(r))
		} else if l, ok := m[r]; ok {
			out.WriteString(l)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// isWhite is Rust's char::is_whitespace: the property White_Space.
func isWhite(r rune) bool {
	if r < 0x80 {
		return r == ' ' || r >= '\t' && r <= '\r'
	}
	return r == 0x85 || r == 0xa0 || r == 0x1680 || r >= 0x2000 && r <= 0x200a || r == 0x2028 || r == 0x2029 ||
		r == 0x202f || r == 0x205f || r == 0x3000
}

// mostMarks is how many marks in a row x/text leaves alone; after them it puts a joiner (UAX #15, Stream-Safe Text),
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
	inert := table("inert")
	return func(s string) string {
		if ascii(s) {
			return s
		}
		var out strings.Builder
		from := 0
		for i, r := range s {
			if r < inert.ranges[0].lo || !inert.has(r) {
				continue
			}
			out.WriteString(part(s[from:i]))
			out.WriteRune(r)
			from = i + len(string(r))
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

// slowly normalizes as UAX #15 says, sections 1.2 and 3.11: decompose, put marks in order of their classes, compose.
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
