package lsp

import (
	"bytes"
	"sort"
	"unicode/utf16"
	"unicode/utf8"
)

// The encodings in which the characters of a line are counted.
const (
	inUTF8  = "utf-8"
	inUTF16 = "utf-16"
)

// span is a part of a text, in bytes.
type span struct{ start, end int }

// holds reports whether a place is in a span, or at its end.
func (s span) holds(at int) bool { return s.start <= at && at <= s.end }

// in returns the text of a span.
func (s span) in(src []byte) string { return string(src[s.start:s.end]) }

// text is the text of a file, with what is needed to find places in it. It does not change.
type text struct {
	src      []byte
	lines    []int // where each line starts
	encoding string
}

func newText(src []byte, encoding string) *text {
	t := &text{src: src, lines: []int{0}, encoding: encoding}
	for i, c := range src {
		if c == '\n' || c == '\r' && (i+1 == len(src) || src[i+1] != '\n') {
			t.lines = append(t.lines, i+1)
		}
	}
	return t
}

// line returns a line without its end.
func (t *text) line(n int) span {
	s := span{t.lines[n], len(t.src)}
	if n+1 < len(t.lines) {
		s.end = t.lines[n+1]
	}
	s.end = s.start + len(bytes.TrimRight(t.src[s.start:s.end], "\r\n"))
	return s
}

// offset returns the byte of a position. A position beyond the end of its line, or of the text, is that end.
func (t *text) offset(p Position) int {
	if p.Line < 0 {
		return 0
	}
	if p.Line >= len(t.lines) {
		return len(t.src)
	}
	line := t.line(p.Line)
	at := line.start
	for units := 0; at < line.end && units < p.Character; {
		r, n := utf8.DecodeRune(t.src[at:line.end])
		if units += t.units(r, n); units > p.Character {
			break // in the middle of a character: before it
		}
		at += n
	}
	return at
}

// units returns how much a character of n bytes counts in a position.
func (t *text) units(r rune, n int) int {
	if t.encoding == inUTF8 {
		return n
	}
	return max(1, utf16.RuneLen(r))
}

// position returns the position of a byte.
func (t *text) position(at int) Position {
	at = min(max(at, 0), len(t.src))
	line := sort.SearchInts(t.lines, at+1) - 1
	p := Position{Line: line}
	for i := t.lines[line]; i < at; {
		r, n := utf8.DecodeRune(t.src[i:])
		p.Character += t.units(r, n)
		i += n
	}
	return p
}

// rangeOf returns the range of a span.
func (t *text) rangeOf(s span) Range { return Range{t.position(s.start), t.position(s.end)} }

// replace returns the text with a part of it replaced; nil for all of it.
func (t *text) replace(r *Range, with string) *text {
	if r == nil {
		return newText([]byte(with), t.encoding)
	}
	s := span{t.offset(r.Start), t.offset(r.End)}
	s.end = max(s.start, s.end)
	src := make([]byte, 0, len(t.src)-(s.end-s.start)+len(with))
	src = append(append(append(src, t.src[:s.start]...), with...), t.src[s.end:]...)
	return newText(src, t.encoding)
}
