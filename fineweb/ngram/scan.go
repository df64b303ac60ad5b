package ngram

import "unicode/utf8"

// The hash of a run of units, which are words or tokens, is a polynomial of theirs modulo 2^64 (Karp and Rabin 1987).
// It is the difference of two prefixes, so that runs of several lengths cost a multiplication each.
const polynomial = 0x9e3779b97f4a7c15

// Most is the largest n of an n-gram.
const Most = 63

// powers are those of the polynomial's base.
var powers = func() (p [Most + 1]uint64) {
	p[0] = 1
	for i := range Most {
		p[i+1] = p[i] * polynomial
	}
	return p
}()

// run is the units of a document so far, of which the last ones can be hashed.
type run struct {
	units    int
	prefix   uint64
	prefixes [Most + 1]uint64 // the last ones
}

func (r *run) push(unit uint64) {
	r.prefix = r.prefix*polynomial + unit
	r.units++
	r.prefixes[r.units&Most] = r.prefix
}

// last hashes the last n units.
func (r *run) last(n int) uint64 {
	return mix(r.prefix - r.prefixes[(r.units-n)&Most]*powers[n] + uint64(n)<<57)
}

// reset begins a document.
func (r *run) reset() { r.units, r.prefix, r.prefixes[0] = 0, 0, 0 }

// partBytes is how much of a text is made into words at a time.
const partBytes = 1 << 14

// Scanner reads documents, each as Text or as Tokens, in as many parts as the caller likes, and then End. It serves one
// goroutine.
type Scanner struct {
	words words
	carry []byte // the beginning of a character that the next part ends
	units []uint64
	run   run
	take  func(units []uint64) // of the document at hand
	done  func()               // with it
}

// Text reads a part of a text.
func (s *Scanner) Text(part string) {
	for len(s.carry) > 0 && len(part) > 0 && !utf8.FullRune(s.carry) {
		s.carry, part = append(s.carry, part[0]), part[1:]
	}
	if len(s.carry) > 0 && utf8.FullRune(s.carry) {
		s.take(s.words.append(s.units[:0], string(s.carry)))
		s.carry = s.carry[:0]
	}
	if n := unfinished(part); n > 0 {
		s.carry = append(s.carry, part[len(part)-n:]...)
		part = part[:len(part)-n]
	}
	for len(part) > 0 {
		n := len(part)
		if n > partBytes {
			for n = partBytes; n > partBytes-utf8.UTFMax && !utf8.RuneStart(part[n]); n-- {
			}
		}
		s.units = s.words.append(s.units[:0], part[:n])
		s.take(s.units)
		part = part[n:]
	}
}

// unfinished is how many bytes at the end of a text begin a character and do not end it.
func unfinished(text string) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if tail := text[len(text)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRuneInString(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// Tokens reads a part of a document's tokens. Those that say only where it begins and ends do not count.
func (s *Scanner) Tokens(ids []int32, begin, end int32) {
	for len(ids) > 0 {
		n := min(len(ids), partBytes)
		s.units = s.units[:0]
		for _, id := range ids[:n] {
			if id != begin && id != end {
				s.units = append(s.units, mix(uint64(uint32(id))+polynomial))
			}
		}
		s.take(s.units)
		ids = ids[n:]
	}
}

// End ends a document.
func (s *Scanner) End() {
	s.carry = s.carry[:0]
	s.units = s.words.end(s.units[:0])
	s.take(s.units)
	s.done()
	s.run.reset()
}
