package tokenizer

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// piece is a part of a text on its way to the model. The first origin bytes of it stand for the text's first character.
type piece struct {
	s      string
	origin int
}

// part is s[from:to] as a piece.
func (p piece) part(from, to int) piece {
	return piece{p.s[from:to], min(max(p.origin-from, 0), to-from)}
}

// finder visits what a pattern matches in a text, in order.
type finder func(text string, visit func(from, to int)) error

// pattern is a text to be found as it is, or an expression.
type pattern struct {
	String *string `json:"String"`
	Regex  *string `json:"Regex"`
}

// mayBeEmpty reports whether a match may be empty.
func (p pattern) mayBeEmpty() bool {
	if p.Regex == nil {
		return p.String != nil && *p.String == ""
	}
	e, err := compile(*p.Regex)
	return err == nil && e.first == nil
}

func (p pattern) finder() (finder, error) {
	switch {
	case p.Regex != nil:
		e, err := compile(*p.Regex)
		if err != nil {
			return nil, err
		}
		return e.each, nil
	case p.String != nil:
		return literal(*p.String), nil
	}
	return nil, errors.New("the pattern is neither String nor Regex")
}

func literal(find string) finder {
	return func(text string, visit func(from, to int)) error {
		if find == "" { // it is found before each character and at the end
			for i := range text {
				visit(i, i)
			}
			visit(len(text), len(text))
			return nil
		}
		for at := 0; ; {
			i := strings.Index(text[at:], find)
			if i < 0 {
				return nil
			}
			visit(at+i, at+i+len(find))
			at += i + len(find)
		}
	}
}

// eachRune finds every character for which is holds.
func eachRune(is func(rune) bool) finder {
	return func(text string, visit func(from, to int)) error {
		for i, r := range text {
			if is(r) {
				visit(i, i+utf8.RuneLen(r))
			}
		}
		return nil
	}
}

// behavior is what a text is cut into at the matches of a pattern.
type behavior uint8

const (
	removed behavior = iota
	isolated
	mergedWithPrevious
	mergedWithNext
	contiguous
)

var behaviors = map[string]behavior{"Removed": removed, "Isolated": isolated, "MergedWithPrevious": mergedWithPrevious,
	"MergedWithNext": mergedWithNext, "Contiguous": contiguous}

// cut cuts p at what find finds, or, if invert is set, between.
func cut(out []piece, p piece, find finder, how behavior, invert bool) ([]piece, error) {
	if p.s == "" {
		return out, nil
	}
	from, to, have, was := 0, 0, false, false // the part not appended yet, and whether the last was a match
	flush := func() {
		if have && to > from {
			out = append(out, p.part(from, to))
		}
		have = false
	}
	event := func(a, b int, match bool) {
		match = match != invert
		join := false
		switch how {
		case removed:
			if flush(); match {
				return
			}
		case mergedWithPrevious:
			join = match && !was
		case mergedWithNext:
			join = was && !match
		case contiguous:
			join = match == was
		}
		if was = match; join && have {
			to = b
			return
		}
		flush()
		from, to, have = a, b, true
	}
	last := 0
	err := find(p.s, func(a, b int) {
		if a > last {
			event(last, a, false)
		}
		event(a, b, true)
		last = b
	})
	if last < len(p.s) {
		event(last, len(p.s), false)
	}
	flush()
	return out, err
}
