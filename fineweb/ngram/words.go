package ngram

import (
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// A word is what stands between white space, in lower case, without punctuation, accents and other marks, so that texts
// that differ in these alone have the same words. Chinese and Japanese put no space between words: there each ideograph
// is one.

// fold returns the letter that stands for a character in a word: a space where a word ends, 0 where it does not count.
func fold(r rune) rune {
	switch {
	case unicode.In(r, unicode.Cc, unicode.Z):
		return ' '
	case unicode.In(r, unicode.P, unicode.S, unicode.M, unicode.Cf):
		return 0
	}
	if d := norm.NFD.PropertiesString(string(r)).Decomposition(); len(d) > 0 {
		base, n := utf8.DecodeRune(d)
		marked := true
		for _, mark := range string(d[n:]) {
			marked = marked && unicode.Is(unicode.M, mark)
		}
		if marked { // not so a syllable of Hangul
			r = base
		}
	}
	return unicode.ToLower(unicode.ToUpper(r)) // the two forms of a small sigma have one capital
}

// folded holds fold of the characters that two bytes can number.
var folded = sync.OnceValue(func() *[1 << 16]uint16 {
	var t [1 << 16]uint16
	for r := range rune(len(t)) {
		t[r] = uint16(fold(r))
	}
	return &t
})

// ideograph reports whether a letter is a word.
func ideograph(r rune) bool { return r >= 0x3400 && r <= 0x9fff || r >= 0x20000 && r <= 0x3ffff }

// FNV-1a, over letters rather than bytes.
const (
	fnvBasis = 0xcbf29ce484222325
	fnvPrime = 0x100000001b3
)

// mix spreads a number over 64 bits, one to one (MurmurHash3's finalizer).
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// words hashes the words of a text that comes in parts.
type words struct {
	table *[1 << 16]uint16
	hash  uint64 // of the letters of the word at hand
	open  bool   // it has some
}

func newWords() words { return words{table: folded(), hash: fnvBasis} }

// append appends the hashes of the words that end in a part. Bytes that are not UTF-8 do not count.
func (w *words) append(to []uint64, part string) []uint64 {
	h, open := w.hash, w.open
	for i := 0; i < len(part); {
		r := rune(part[i])
		if r < utf8.RuneSelf {
			i++
			r = rune(w.table[r])
		} else {
			var n int
			r, n = utf8.DecodeRuneInString(part[i:])
			if i += n; r < 1<<16 {
				r = rune(w.table[r])
			} else {
				r = fold(r)
			}
		}
		switch {
		case r == 0:
		case r == ' ':
			if open {
				to = append(to, mix(h))
				h, open = fnvBasis, false
			}
		case r >= 0x3400 && ideograph(r):
			if open {
				to = append(to, mix(h))
				h, open = fnvBasis, false
			}
			to = append(to, mix((fnvBasis^uint64(r))*fnvPrime))
		default:
			h, open = (h^uint64(r))*fnvPrime, true
		}
	}
	w.hash, w.open = h, open
	return to
}

// end appends the hash of the last word.
func (w *words) end(to []uint64) []uint64 {
	if w.open {
		to = append(to, mix(w.hash))
	}
	w.hash, w.open = fnvBasis, false
	return to
}
