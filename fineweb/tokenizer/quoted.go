package tokenizer

import (
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Range is a part of a text, in bytes.
type Range struct{ Start, End int }

// Specials are the special tokens, in the order of their names.
func (t *Tokenizer) Specials() []string { return slices.Sorted(maps.Keys(t.added.special)) }

// EncodeQuoted is Encode, except that special tokens which touch one of the quoted parts of the text, in order, are taken
// for text.
func (t *Tokenizer) EncodeQuoted(ids []int32, text string, quoted []Range) ([]int32, error) {
	if len(quoted) == 0 {
		return t.Encode(ids, text)
	}
	touches := func(from, to int) bool {
		return slices.ContainsFunc(quoted, func(q Range) bool { return q.Start < to && from < q.End })
	}
	_, first := utf8.DecodeRuneInString(text)
	whole := piece{text, first}
	var failed error
	t.added.cut(text, t.added.raw, func(from, to int) bool { return t.asText || touches(from, to) }, func(id int32, from, to int) {
		switch {
		case failed != nil:
		case id >= 0:
			ids = append(ids, id)
		case touches(from, to):
			ids, failed = t.Plain().rest(ids, whole.part(from, to), nil)
		default:
			ids, failed = t.rest(ids, whole.part(from, to), nil)
		}
	}, nil)
	return ids, failed
}

// Ends are the positions in a text at which its tokens end, in bytes; ok is false where that is not known, since the
// tokenizer rewrites the text. A token of a part of a character ends where its bytes do.
func (t *Tokenizer) Ends(text string, ids []int32) (ends []int, ok bool) {
	at := 0
	for i, id := range ids {
		s, added := t.Token(id), false
		if _, added = t.added.byID[id]; !added {
			s = t.joined(t.spell, ids[i:i+1], false)
			if i > 0 { // decoders cut a blank from the first token of a text
				s = t.joined(t.spell, []int32{ids[i-1], id}, false)[len(t.joined(t.spell, ids[i-1:i], false)):]
			}
		}
		rest := text[at:]
		if added {
			rest = strings.TrimLeftFunc(rest, isWhite)
			if strings.HasPrefix(text[at:], s) {
				rest = text[at:]
			}
		}
		switch cut, blank := strings.CutPrefix(s, " "); {
		case strings.HasPrefix(rest, s):
			at = len(text) - len(rest) + len(s)
		case blank && strings.HasPrefix(rest, cut): // put before the text, or after a special token
			at = len(text) - len(rest) + len(cut)
		default:
			return nil, false
		}
		if a := t.added.byID[id]; added && a.RStrip {
			at = len(text) - len(strings.TrimLeftFunc(text[at:], isWhite))
		}
		ends = append(ends, at)
	}
	return ends, at == len(text)
}

// Begin returns the ids of the beginning of a text: with the tokens that the template puts before it, and none after it.
func (t *Tokenizer) Begin(text string) ([]int32, error) {
	return t.Encode(append([]int32(nil), t.before...), text)
}
