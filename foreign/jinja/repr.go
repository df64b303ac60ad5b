package jinja

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// str is Python's str.
func (r *run) str(v Value) string {
	switch v := v.(type) {
	case string:
		return v
	case *undefined:
		r.lenient(v)
		return ""
	}
	var b strings.Builder
	r.repr(&b, v)
	return b.String()
}

// repr writes Python's repr.
func (r *run) repr(b *strings.Builder, v Value) {
	defer r.deeper()()
	r.work(1)
	put := func(s string) {
		r.room(len(s))
		b.WriteString(s)
	}
	all := func(open string, items []Value, closing string) {
		put(open)
		for i, x := range items {
			if i > 0 {
				put(", ")
			}
			r.repr(b, x)
		}
		put(closing)
	}
	switch v := v.(type) {
	case nil:
		put("None")
	case bool:
		if v {
			put("True")
		} else {
			put("False")
		}
	case int64:
		put(strconv.FormatInt(v, 10))
	case large:
		put(string(v))
	case float64:
		put(reprFloat(v))
	case string:
		r.room(len(v))
		put(reprString(v))
	case *List:
		switch {
		case !v.Tuple:
			all("[", v.Items, "]")
		case len(v.Items) == 1:
			all("(", v.Items, ",)")
		default:
			all("(", v.Items, ")")
		}
	case *Dict:
		put("{")
		for i, k := range v.keys {
			if i > 0 {
				put(", ")
			}
			r.repr(b, k)
			put(": ")
			r.repr(b, v.values[i])
		}
		put("}")
	case *view:
		all(v.name+"([", v.items, "])")
	case rangeOf:
		put(fmt.Sprintf("range(%d, %d", v.start, v.stop))
		if v.step != 1 {
			put(fmt.Sprintf(", %d", v.step))
		}
		put(")")
	case *undefined:
		put("Undefined")
	default:
		r.fail("a value of type %s has no text: printing it is not supported", pythonType(v))
	}
}

// reprFloat is the shortest text that reads back as the number, in the form that Python gives it.
func reprFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func reprString(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteByte(quote)
	for _, c := range s {
		switch {
		case c == rune(quote) || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		case c < 0x100:
			escape(&b, 'x', 2, c)
		case c < 0x10000:
			escape(&b, 'u', 4, c)
		default:
			escape(&b, 'U', 8, c)
		}
	}
	b.WriteByte(quote)
	return b.String()
}

// escape writes a character as so many hexadecimal digits after a backslash and a letter.
func escape(b *strings.Builder, letter byte, digits int, c rune) {
	b.WriteByte('\\')
	b.WriteByte(letter)
	for i := 4 * (digits - 1); i >= 0; i -= 4 {
		b.WriteByte("0123456789abcdef"[c>>i&15])
	}
}

// shown is a value in a message.
func (r *run) shown(v Value) string {
	switch v := v.(type) {
	case nil, bool, int64, float64, string, *List, *Dict:
		var b strings.Builder
		r.repr(&b, v)
		if b.Len() > 60 {
			return strings.ToValidUTF8(b.String()[:60], "") + "…"
		}
		return b.String()
	}
	return "of type " + pythonType(v)
}
