package tasks

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"stepflow/fineweb"
	"stepflow/foreign"
)

// literal is Python's ast.literal_eval: templates write lists as Python shows them. Tuples are lists here.
func literal(s string) (any, error) {
	p := &literalParser{s: strings.TrimLeft(s, " \t")}
	v, err := p.value(0)
	if p.blank(); err == nil && p.s != "" {
		err = errors.New("more follows after the value")
	}
	if err != nil {
		return nil, fmt.Errorf("%q is not a value of Python: %w", foreign.ShownStart(s, 200), err)
	}
	return v, nil
}

const maxLiteral = 64 // how deep values nest

type literalParser struct{ s string }

// blank passes over white space.
func (p *literalParser) blank() { p.s = strings.TrimLeft(p.s, " \t\r\n") }

func (p *literalParser) take(prefix string) bool {
	p.blank()
	if !strings.HasPrefix(p.s, prefix) {
		return false
	}
	p.s = p.s[len(prefix):]
	return true
}

func (p *literalParser) value(depth int) (any, error) {
	if depth > maxLiteral {
		return nil, fmt.Errorf("it nests more than %d deep", maxLiteral)
	}
	p.blank()
	switch {
	case p.s == "":
		return nil, errors.New("it ends too early")
	case p.take("["):
		return p.list("]", depth)
	case p.take("("):
		return p.list(")", depth)
	case p.take("{"):
		return p.dict(depth)
	case p.s[0] == '\'' || p.s[0] == '"':
		var all strings.Builder
		for p.blank(); p.s != "" && (p.s[0] == '\'' || p.s[0] == '"'); p.blank() { // adjacent texts are one
			text, err := p.text()
			if err != nil {
				return nil, err
			}
			all.WriteString(text)
		}
		return all.String(), nil
	}
	for word, v := range map[string]any{"None": nil, "True": true, "False": false} {
		if strings.HasPrefix(p.s, word) {
			p.s = p.s[len(word):]
			return v, nil
		}
	}
	end := strings.IndexFunc(p.s, func(r rune) bool { return !strings.ContainsRune("+-0123456789.eE_", r) })
	if end < 0 {
		end = len(p.s)
	}
	word := p.s[:end]
	if n, err := strconv.ParseInt(word, 10, 64); err == nil && word == strconv.FormatInt(n, 10) {
		p.s = p.s[end:]
		return n, nil
	}
	if f, err := strconv.ParseFloat(word, 64); err == nil && strings.ContainsAny(word, ".eE") {
		p.s = p.s[end:]
		return f, nil
	}
	return nil, fmt.Errorf("%q is not a value", foreign.ShownStart(p.s, 20))
}

// list reads up to its closing bracket. One value in round brackets is that value.
func (p *literalParser) list(end string, depth int) (any, error) {
	list, comma := fineweb.List{}, false
	for !p.take(end) {
		if len(list) > 0 && !comma {
			return nil, fmt.Errorf("a , or a %s is missing", end)
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		comma = p.take(",")
	}
	if end == ")" && len(list) == 1 && !comma {
		return list[0], nil
	}
	return list, nil
}

func (p *literalParser) dict(depth int) (any, error) {
	o, comma := fineweb.Object{}, true
	for !p.take("}") {
		if !comma {
			return nil, errors.New("a , or a } is missing")
		}
		k, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		name, ok := k.(string)
		if !ok || !p.take(":") {
			return nil, errors.New("a key is not a text, or has no value")
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o = append(o, fineweb.Field{Name: name, Value: v})
		comma = p.take(",")
	}
	return o, nil
}

// text reads a quoted text.
func (p *literalParser) text() (string, error) {
	quote := p.s[0]
	var b strings.Builder
	for i := 1; i < len(p.s); i++ {
		switch c := p.s[i]; {
		case c == quote:
			p.s = p.s[i+1:]
			return b.String(), nil
		case c == '\n':
			return "", errors.New("a text holds a newline")
		case c != '\\':
			b.WriteByte(c)
		default:
			n, err := unescape(&b, p.s[i:])
			if err != nil {
				return "", err
			}
			i += n - 1
		}
	}
	return "", errors.New("a text has no end")
}

// unescape writes what stands for an escape at the beginning of s, and returns its length.
func unescape(b *strings.Builder, s string) (int, error) {
	if len(s) < 2 {
		return 0, errors.New("a text ends with a backslash")
	}
	if at := strings.IndexByte(`\'"abfnrtv`, s[1]); at >= 0 {
		b.WriteByte("\\'\"\a\b\f\n\r\t\v"[at])
		return 2, nil
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]
	if digits == 0 || len(s) < 2+digits {
		return 0, fmt.Errorf("the escape %q is not read", foreign.ShownStart(s, 4))
	}
	n, err := strconv.ParseUint(s[2:2+digits], 16, 32)
	if err != nil || n > 0x10ffff {
		return 0, fmt.Errorf("the escape %q is not read", s[:2+digits])
	}
	b.WriteRune(rune(n))
	return 2 + digits, nil
}
