package jinja

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/text/cases"
)

var fold = cases.Fold()

var (
	percentForm = regexp.MustCompile(`^%(?:\(([^)]*)\))?([-+ 0#]*)(\d{0,3})(?:\.(\d{0,3}))?([a-zA-Z%])`)
	braceForm   = regexp.MustCompile(`^\{([A-Za-z_]\w*|\d{0,9})((?:\.\w+|\[[^\]{}]+\])*)(![rs])?(?::([^{}]*))?\}`)
	specForm    = regexp.MustCompile(`^(?:\.(\d{1,2})f)?$`)
)

// field is what a field of a format is looked for in: none is longer.
func field(s string) string { return s[:min(len(s), 200)] }

// percent is Python's text % values.
func (r *run) percent(s string, v Value) Value {
	r.reading(s)
	values := []Value{v}
	if l, ok := v.(*List); ok && l.Tuple {
		values = l.Items
	}
	var b strings.Builder
	at := 0
	for i := 0; i < len(s); {
		if s[i] != '%' {
			b.WriteByte(s[i])
			i++
			continue
		}
		r.work(1)
		m := percentForm.FindStringSubmatch(field(s[i:]))
		if m == nil {
			r.fail("the format %s is not supported", r.shown(s))
		}
		i += len(m[0])
		if m[5] == "%" {
			b.WriteByte('%')
			continue
		}
		var x Value
		if strings.HasPrefix(m[0], "%(") {
			d, ok := v.(*Dict)
			if !ok {
				r.fail("the format %s wants a mapping", m[0])
			}
			if x, ok = d.Get(m[1]); !ok {
				r.fail("the format %s has no value", m[0])
			}
			at = len(values)
		} else {
			if at >= len(values) {
				r.fail("the format %s has too few values", r.shown(s))
			}
			x = values[at]
			at++
		}
		form := "%" + m[2] + m[3]
		if strings.Contains(m[0], ".") {
			form += "." + m[4]
		}
		n, f, isInt, isNum := num(x)
		out := ""
		switch m[5] {
		case "s":
			out = fmt.Sprintf(strings.ReplaceAll(form, "0", "")+"s", r.str(x))
			if strings.Contains(m[2]+m[3]+m[4], "0") {
				out = fmt.Sprintf(form+"s", r.str(x))
			}
		case "r":
			var q strings.Builder
			r.repr(&q, x)
			out = fmt.Sprintf(form+"s", q.String())
		case "d", "i", "x", "X", "o":
			if !isNum || !isInt && m[5] != "d" && m[5] != "i" {
				r.fail("the format %s wants a whole number, not %s", m[0], r.shown(x))
			}
			if !isInt {
				n = int64(f)
			}
			out = fmt.Sprintf(form+strings.Replace(m[5], "i", "d", 1), n)
		case "f", "F", "e", "E":
			if !isNum {
				r.fail("the format %s wants a number, not %s", m[0], r.shown(x))
			}
			out = fmt.Sprintf(form+m[5], f)
		default:
			r.fail("the format %s is not supported", m[0])
		}
		r.room(len(out))
		b.WriteString(out)
	}
	if _, isDict := v.(*Dict); at < len(values) && !isDict {
		r.fail("the format %s has too many values", r.shown(s))
	}
	r.room(b.Len())
	return b.String()
}

// braces is Python's str.format.
func braces(r *run, s string, a *args) Value {
	r.reading(s)
	var b strings.Builder
	next := 0
	for i := 0; i < len(s); {
		if strings.HasPrefix(s[i:], "{{") || strings.HasPrefix(s[i:], "}}") {
			b.WriteByte(s[i])
			i += 2
			continue
		}
		if s[i] == '}' {
			r.fail("a single '}' stands in the format %s", r.shown(s))
		}
		if s[i] != '{' {
			b.WriteByte(s[i])
			i++
			continue
		}
		r.work(1)
		m := braceForm.FindStringSubmatch(field(s[i:]))
		if m == nil || m[2] != "" {
			r.fail("the format %s is not supported", r.shown(s))
		}
		i += len(m[0])
		var x Value
		k, err := strconv.Atoi(m[1])
		if m[1] == "" {
			k, err = next, nil
			next++
		}
		if err == nil {
			if k >= len(a.values) {
				r.fail("the format %s has too few values", r.shown(s))
			}
			x = a.values[k]
		} else {
			var ok bool
			if x, ok = a.named.Get(m[1]); !ok {
				r.fail("the format %s has no value for %s", r.shown(s), m[1])
			}
		}
		spec := specForm.FindStringSubmatch(m[4])
		_, f, _, isNum := num(x)
		out := ""
		switch {
		case spec == nil || m[4] != "" && (!isNum || m[3] != ""):
			r.fail("the format %s is not supported", m[0])
		case m[4] != "":
			n, _ := strconv.Atoi(spec[1])
			out = strconv.FormatFloat(f, 'f', n, 64)
		case m[3] == "!r":
			var q strings.Builder
			r.repr(&q, x)
			out = q.String()
		default:
			out = r.str(x)
		}
		r.room(len(out))
		b.WriteString(out)
	}
	r.room(b.Len())
	return b.String()
}
