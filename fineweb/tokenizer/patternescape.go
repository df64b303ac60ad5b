package tokenizer

import (
	"fmt"
	"strconv"
	"strings"

	"stepflow/foreign"
)

// escape reads what follows a backslash that has the same meaning in a class and outside: a set, or a character where
// the set is nil.
func (p *patternParser) escape(inClass bool) (*runeSet, rune, error) {
	for _, x := range []struct {
		letter, name string
	}{{"d", "[:digit:]"}, {"w", "[:word:]"}, {"s", "[:space:]"}, {"h", "[:xdigit:]"}} {
		not := p.take(strings.ToUpper(x.letter))
		if !not && !p.take(x.letter) {
			continue
		}
		s := table(x.name)
		if x.letter == "w" && !inClass {
			s = words()
		}
		if not {
			s = s.not()
		}
		return s, 0, nil
	}
	switch c := p.next(); c {
	case 'p', 'P':
		if !p.take("{") {
			return nil, c, nil
		}
		s, err := p.property(c)
		return s, 0, err
	case 'b':
		if inClass {
			return nil, '\b', nil
		}
		return nil, 'b', nil
	case 'u':
		return p.number(16, 4, 4, lastRune)
	case 'x':
		if p.take("{") {
			s, r, err := p.number(16, 1, 8, lastRune)
			if err == nil && !p.take("}") {
				err = unsupported(`this \x{`)
			}
			return s, r, err
		}
		return p.number(16, 1, 2, 0x7f) // beyond that it is a byte, not a character
	case '0', '1', '2', '3', '4', '5', '6', '7':
		if c == '0' && (p.s == "" || p.s[0] < '0' || p.s[0] > '7') {
			return nil, 0, nil
		}
		if c != '0' {
			return nil, 0, unsupported(`\%c`, c)
		}
		return p.number(8, 1, 2, 0x7f)
	case 'c', 'C', 'M', 'o', 'U':
		return nil, 0, unsupported(`\%c`, c)
	default:
		if r, ok := controls[c]; ok {
			return nil, r, nil
		}
		return nil, c, nil
	}
}

// controls are the characters that letters after a backslash stand for.
var controls = map[rune]rune{'t': '\t', 'n': '\n', 'r': '\r', 'f': '\f', 'v': '\v', 'a': '\a', 'e': 0x1b}

// property reads the name of a set of characters, from after \p{ or \P{ on.
func (p *patternParser) property(c rune) (*runeSet, error) {
	name, after, ok := strings.Cut(p.s, "}")
	if !ok {
		return nil, fmt.Errorf(`\%c{ without its }`, c)
	}
	p.s = after
	not := c == 'P'
	if strings.HasPrefix(name, "^") {
		name, not = name[1:], !not
	}
	s := property(name)
	if s == nil {
		return nil, unsupported(`\p{%s}`, foreign.ShownStart(name, 40))
	}
	if not {
		s = s.not()
	}
	return s, nil
}

// number reads the digits of a character.
func (p *patternParser) number(base, least, most int, last rune) (*runeSet, rune, error) {
	i := 0
	for i < most && i < len(p.s) &&
		strings.IndexByte("0123456789abcdefABCDEF"[:map[int]int{8: 8, 16: 22}[base]], p.s[i]) >= 0 {
		i++
	}
	n, err := strconv.ParseUint(p.s[:i], base, 32)
	if err != nil || i < least || rune(n) > last || n > lastRune || n >= 0xd800 && n < 0xe000 {
		return nil, 0, unsupported("the character of number %q", p.s[:i])
	}
	p.s = p.s[i:]
	return nil, rune(n), nil
}
