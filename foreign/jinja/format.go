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

// percent is Python's text % values.
func (r *run) percent(s string, v Value) Value {
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
		m := percentForm.FindStringSubmatch(s[i:])
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
		m := braceForm.FindStringSubmatch(s[i:])
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

// RegexReplace is lm-evaluation-harness's filter regex_replace: Python's re.sub. What Go's regular expressions lack,
// such as (?=…) and \1 in a pattern, is an error; they take linear time in return.
func RegexReplace(c *Call) Value {
	a := c.Args("string pattern repl count?")
	s, ok := a[0].(string)
	pattern, ok2 := a[1].(string)
	by, ok3 := a[2].(string)
	if !ok || !ok2 || !ok3 {
		c.Fail("it takes texts")
	}
	if len(pattern) > 4096 {
		c.Fail("the pattern has more than 4096 bytes")
	}
	if strings.Contains(pattern, "$") && strings.HasSuffix(s, "\n") {
		c.Fail("the pattern %q has a $, which in Python also matches before a newline at the end, and the text ends with one", pattern)
	}
	if isASCII := strings.IndexFunc(s, func(c rune) bool { return c >= 0x80 }) < 0; !isASCII && strings.Contains(strings.ToLower(pattern), `\b`) {
		c.Fail(`the pattern %q has \b, which here knows ASCII only, and the text has other characters`, pattern)
	}
	re, err := regexp.Compile(pythonPattern(pattern))
	if err != nil {
		c.Fail("the pattern %q is not supported: %v", pattern, err)
	}
	n, limited := a[3].(int64)
	parts := replacement(c, by, re)
	var b strings.Builder
	last := 0
	for i, m := range re.FindAllStringSubmatchIndex(s, -1) {
		if limited && n > 0 && int64(i) >= n {
			break
		}
		b.WriteString(s[last:m[0]])
		for _, p := range parts {
			t := p.text
			if p.group >= 0 && m[2*p.group] >= 0 {
				t = s[m[2*p.group]:m[2*p.group+1]]
			}
			c.Room(len(t))
			b.WriteString(t)
		}
		last = m[1]
	}
	b.WriteString(s[last:])
	c.Room(b.Len())
	return b.String()
}

// pythonPattern writes a pattern of Python's re for Go's regexp: \w, \d, \s and \b know all of Unicode in Python.
func pythonPattern(p string) string {
	var b strings.Builder
	class := false
	for i := 0; i < len(p); i++ {
		switch {
		case p[i] == '\\' && i+1 < len(p):
			i++
			if in, ok := map[byte]string{'w': `\pL\pN_`, 'd': `\p{Nd}`, 's': `\s\v\x1c-\x1f\x85\p{Z}`}[p[i]]; ok {
				if class {
					b.WriteString(in)
				} else {
					b.WriteString("[" + in + "]")
				}
			} else if in, ok := map[byte]string{'W': `[^\pL\pN_]`, 'D': `\P{Nd}`, 'S': `[^\s\v\x1c-\x1f\x85\p{Z}]`}[p[i]]; ok && (!class || p[i] == 'D') {
				b.WriteString(in)
			} else if p[i] == 'Z' {
				b.WriteString(`\z`)
			} else {
				b.WriteString(p[i-1 : i+1])
			}
		case p[i] == '[' && !class:
			class = true
			b.WriteByte('[')
			if strings.HasPrefix(p[i+1:], "^") {
				i++
				b.WriteByte('^')
			}
			if strings.HasPrefix(p[i+1:], "]") {
				i++
				b.WriteString(`\]`)
			}
		case p[i] == '[':
			b.WriteString(`\[`)
		case p[i] == ']' && class:
			class = false
			b.WriteByte(']')
		case p[i] == '$' && !class:
			b.WriteString(`\z`)
		default:
			b.WriteByte(p[i])
		}
	}
	return b.String()
}

type replacePart struct {
	text  string
	group int // -1: none
}

var replaceForm = regexp.MustCompile(`^\\(?:(\d{1,2})|g<(\w+)>|([nrt\\]))`)

func replacement(c *Call, by string, re *regexp.Regexp) (parts []replacePart) {
	for i := 0; i < len(by); {
		if by[i] != '\\' {
			j := strings.IndexByte(by[i:], '\\')
			if j < 0 {
				j = len(by) - i
			}
			parts = append(parts, replacePart{by[i : i+j], -1})
			i += j
			continue
		}
		m := replaceForm.FindStringSubmatch(by[i:])
		if m == nil {
			c.Fail("the replacement %q is not supported", by)
		}
		i += len(m[0])
		if m[3] != "" {
			parts = append(parts, replacePart{map[string]string{"n": "\n", "r": "\r", "t": "\t", `\`: `\`}[m[3]], -1})
			continue
		}
		g := re.SubexpIndex(m[2])
		if n, err := strconv.Atoi(m[1] + m[2]); err == nil {
			g = n
		}
		if g < 0 || g > re.NumSubexp() || m[1] != "" && m[1][0] == '0' {
			c.Fail("the replacement %q names a group that the pattern does not have", by)
		}
		parts = append(parts, replacePart{"", g})
	}
	return parts
}
