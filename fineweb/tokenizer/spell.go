package tokenizer

import (
	"sort"
	"strings"
	"unicode/utf8"
)

// What bytes of a text its tokens stand for.

// Spell is Decode without special tokens and with bytes that are not UTF-8 as they are, so that tokens of half a
// character count.
func (t *Tokenizer) Spell(ids []int32) string { return t.joined(t.spell, ids, true) }

// spelledAhead bounds how far First looks into a text, in bytes.
const spelledAhead = 256

// First is the number of bytes at the start of a text that its first token stands for.
func (t *Tokenizer) First(text string, id int32) int {
	s := t.Spell([]int32{id})
	if strings.HasPrefix(text, s) {
		return len(s)
	}
	if rest, ok := strings.CutPrefix(s, " "); ok && strings.HasPrefix(text, rest) {
		return len(rest) // the space was put before the text
	}
	// A normalizer made something else of the text: the least of it that becomes what begins with the token.
	token := t.Token(id)
	for n, r := range text[:min(len(text), spelledAhead)] {
		n += utf8.RuneLen(r)
		start := text[:min(n, len(text))]
		p, err := t.normalized(piece{start, 1}, tokenLimit(start))
		if err != nil {
			break
		}
		words := []piece{p}
		for _, sp := range t.split {
			var next []piece
			for _, w := range words {
				if next, err = sp(next, w); err != nil {
					return min(len(s), len(text))
				}
			}
			words = next
		}
		var all strings.Builder
		for _, w := range words {
			all.WriteString(w.s)
		}
		if got := all.String(); strings.HasPrefix(got, token) || strings.HasPrefix(got, s) && s != "" ||
			strings.HasPrefix(toByteLevel(got), token) {
			return min(n, len(text))
		}
	}
	return min(len(s), len(text))
}

// Spelled is the number of bytes at the start of a text that its first tokens stand for.
func (t *Tokenizer) Spelled(text string, ids []int32) int {
	s := t.Spell(ids)
	if strings.HasPrefix(text, s) {
		return len(s)
	}
	if rest, ok := strings.CutPrefix(s, " "); ok && strings.HasPrefix(text, rest) {
		return len(rest) // the space was put before the text
	}
	// A normalizer made something else of the text: the least of it whose tokens spell as much.
	start := func(n int) int {
		for n > 0 && n < len(text) && !utf8.RuneStart(text[n]) {
			n--
		}
		return n
	}
	enough := func(n int) bool {
		got, err := t.Encode(nil, text[:start(n)])
		return err != nil || len(t.Spell(got)) >= len(s)
	}
	most := min(len(text), len(s)+spelledAhead)
	for most < len(text) && !enough(most) {
		most = min(2*most, len(text))
	}
	return start(sort.Search(most, enough))
}

// After is the number of bytes that a token stands for where another stands before it.
func (t *Tokenizer) After(before, id int32) int {
	return max(len(t.Spell([]int32{before, id}))-len(t.Spell([]int32{before})), 0)
}
