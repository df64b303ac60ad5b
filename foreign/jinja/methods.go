package jinja

import (
	"slices"
	"strings"
	"unicode"
)

// attribute finds a method or attribute that a value has in Python, or nil. One that Python has and this package does not
// is an error: a template must not find it undefined.
func (r *run) attribute(v Value, name string) Value {
	switch v := v.(type) {
	case string:
		if f, ok := stringMethods[name]; ok {
			return method("str."+name, f.parameters, func(r *run, a []Value) Value {
				r.reading(v)
				r.reading(a...)
				return f.call(r, v, a)
			})
		}
		if name == "format" {
			return &Func{"str.format", func(r *run, a *args) Value { return braces(r, v, a) }}
		}
		r.known(stringAttributes, v, name)
	case *List:
		switch name {
		case "count":
			return method("list.count", "value", func(r *run, a []Value) Value {
				n := int64(0)
				for _, x := range v.Items {
					if r.equal(x, a[0]) {
						n++
					}
				}
				return n
			})
		case "index":
			return method("list.index", "value", func(r *run, a []Value) Value {
				for i, x := range v.Items {
					if r.equal(x, a[0]) {
						return int64(i)
					}
				}
				r.fail("%s is not in the list", r.shown(a[0]))
				return nil
			})
		case "copy":
			if !v.Tuple {
				return method("list.copy", "", func(r *run, a []Value) Value { return &List{Items: v.Items} })
			}
		}
		if !v.Tuple {
			r.known(listAttributes, v, name)
		}
	case *Dict:
		switch name {
		case "items":
			return method("dict.items", "", func(r *run, a []Value) Value { return &view{"dict_items", pairs(r, v)} })
		case "keys":
			return method("dict.keys", "", func(r *run, a []Value) Value { return &view{"dict_keys", v.keys} })
		case "values":
			return method("dict.values", "", func(r *run, a []Value) Value { return &view{"dict_values", v.values} })
		case "get":
			return method("dict.get", "key default?", func(r *run, a []Value) Value {
				if x, ok := v.find(r, a[0]); ok {
					return x
				}
				if a[1] == (absent{}) {
					return nil
				}
				return a[1]
			})
		case "copy":
			return method("dict.copy", "", func(r *run, a []Value) Value { return v })
		}
		r.known(dictAttributes, v, name)
	case *loop:
		if x := v.attribute(r, name); x != nil {
			return x
		}
	case *cycler:
		if x := v.attribute(name); x != nil {
			return x
		}
	case *Func:
		if name == "name" {
			return v.name
		}
	case bool, int64, float64:
		r.known(numberAttributes, v, name)
	}
	if strings.HasPrefix(name, "__") {
		if d, ok := v.(*Dict); ok {
			if _, ok := d.Get(name); ok {
				return nil
			}
		}
		r.fail("the attribute %s is not supported: it would reach into Python", name)
	}
	return nil
}

func (r *run) known(names string, v Value, name string) {
	if slices.Contains(strings.Fields(names), name) {
		if slices.Contains(strings.Fields(changing), name) {
			r.fail("%s.%s() is not supported, since a template may not change a value: write a new list with +, or set an attribute of a namespace", pythonType(v), name)
		}
		r.fail("%s.%s is not supported", pythonType(v), name)
	}
}

// The attributes of Python's types that are not supported.
const (
	stringAttributes = "encode expandtabs format_map isidentifier istitle maketrans translate"
	listAttributes   = "append clear extend insert pop remove reverse sort"
	dictAttributes   = "clear fromkeys pop popitem setdefault update"
	numberAttributes = "as_integer_ratio bit_count bit_length conjugate denominator from_bytes imag is_integer numerator real to_bytes fromhex hex"
	changing         = listAttributes + " popitem setdefault update"
)

type stringMethod struct {
	parameters string
	call       func(r *run, s string, a []Value) Value
}

var stringMethods map[string]stringMethod

func init() {
	mapping := func(f func(s string) string) stringMethod {
		return stringMethod{"", func(r *run, s string, a []Value) Value {
			r.room(2 * len(s))
			return f(s)
		}}
	}
	// every asks each character, and that there is one.
	every := func(f func(c rune) bool) stringMethod {
		return stringMethod{"", func(r *run, s string, a []Value) Value {
			r.scanCharacters(len(s))
			return s != "" && strings.IndexFunc(s, func(c rune) bool { return !f(c) }) < 0
		}}
	}
	affix := func(has func(s, affix string) bool) stringMethod {
		return stringMethod{"prefix start? end?", func(r *run, s string, a []Value) Value {
			s = part(r, s, a[1], a[2])
			if l, ok := a[0].(*List); ok && l.Tuple {
				return slices.ContainsFunc(l.Items, func(v Value) bool { return has(s, textOf(r, v)) })
			}
			return has(s, textOf(r, a[0]))
		}}
	}
	find := func(index func(s, sub string) int, must bool) stringMethod {
		return stringMethod{"sub", func(r *run, s string, a []Value) Value {
			i := index(s, textOf(r, a[0]))
			if i < 0 && must {
				r.fail("%s is not in the text", r.shown(a[0]))
			}
			if i < 0 {
				return int64(-1)
			}
			return int64(runes(s[:i]))
		}}
	}
	partition := func(fromRight bool) stringMethod {
		return stringMethod{"sep", func(r *run, s string, a []Value) Value {
			sep := textOf(r, a[0])
			if sep == "" {
				r.fail("a text cannot be split at an empty text")
			}
			i := strings.Index(s, sep)
			if fromRight {
				i = strings.LastIndex(s, sep)
			}
			parts := []Value{s, "", ""}
			switch {
			case i >= 0:
				parts = []Value{s[:i], sep, s[i+len(sep):]}
			case fromRight:
				parts = []Value{"", "", s}
			}
			return &List{Items: parts, Tuple: true}
		}}
	}
	fill := func(where string) stringMethod {
		return stringMethod{"width fillchar?", func(r *run, s string, a []Value) Value {
			c := " "
			if a[1] != (absent{}) {
				c = textOf(r, a[1])
			}
			return pad(r, s, intOr(r, a[0], 0), c, where)
		}}
	}
	stripped := func(left, right bool) stringMethod {
		return stringMethod{"chars?", func(r *run, s string, a []Value) Value { return strip(r, s, a[0], left, right) }}
	}
	splitting := func(fromRight bool) stringMethod {
		return stringMethod{"sep? maxsplit?", func(r *run, s string, a []Value) Value {
			r.scanCharacters(len(s))
			return split(r, s, a[0], intOr(r, a[1], -1), fromRight)
		}}
	}
	number := func(c rune) bool { return unicode.Is(unicode.Nd, c) }
	cased := func(is, other func(c rune) bool) stringMethod {
		return stringMethod{"", func(r *run, s string, a []Value) Value {
			r.scanCharacters(len(s))
			return strings.IndexFunc(s, is) >= 0 && strings.IndexFunc(s, other) < 0
		}}
	}
	upperOrTitle := func(c rune) bool { return unicode.IsUpper(c) || unicode.IsTitle(c) }
	lowerOrTitle := func(c rune) bool { return unicode.IsLower(c) || unicode.IsTitle(c) }
	stringMethods = map[string]stringMethod{
		"capitalize": mapping(capitalize),
		"casefold":   mapping(func(s string) string { return fold.String(s) }),
		"center":     fill("center"),
		"count": {"sub start? end?", func(r *run, s string, a []Value) Value {
			s = part(r, s, a[1], a[2])
			r.scanCharacters(len(s))
			return int64(strings.Count(s, textOf(r, a[0])))
		}},
		"endswith": affix(strings.HasSuffix),
		"find":     find(strings.Index, false),
		"index":    find(strings.Index, true),
		"isalnum":  every(func(c rune) bool { return unicode.IsLetter(c) || unicode.IsNumber(c) }),
		"isalpha":  every(unicode.IsLetter),
		"isascii": {"", func(r *run, s string, a []Value) Value {
			return strings.IndexFunc(s, func(c rune) bool { return c >= 0x80 }) < 0
		}},
		"isdecimal": every(number),
		"isdigit":   every(number),
		"islower":   cased(unicode.IsLower, upperOrTitle),
		"isnumeric": every(unicode.IsNumber),
		"isspace":   every(isSpace),
		"isprintable": {"", func(r *run, s string, a []Value) Value {
			return strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
		}},
		"isupper": cased(unicode.IsUpper, lowerOrTitle),
		"join": {"iterable", func(r *run, s string, a []Value) Value {
			return joined(r, s, r.iterate(a[0]), func(v Value) string { return textOf(r, v) })
		}},
		"ljust":        fill("ljust"),
		"lower":        mapping(lower),
		"lstrip":       stripped(true, false),
		"partition":    partition(false),
		"removeprefix": {"prefix", func(r *run, s string, a []Value) Value { return strings.TrimPrefix(s, textOf(r, a[0])) }},
		"removesuffix": {"suffix", func(r *run, s string, a []Value) Value { return strings.TrimSuffix(s, textOf(r, a[0])) }},
		"replace": {"old new count?", func(r *run, s string, a []Value) Value {
			return replace(r, s, textOf(r, a[0]), textOf(r, a[1]), intOr(r, a[2], -1))
		}},
		"rfind":      find(strings.LastIndex, false),
		"rindex":     find(strings.LastIndex, true),
		"rjust":      fill("rjust"),
		"rpartition": partition(true),
		"rsplit":     splitting(true),
		"rstrip":     stripped(false, true),
		"split":      splitting(false),
		"splitlines": {"keepends?", func(r *run, s string, a []Value) Value {
			r.scanCharacters(len(s))
			return texts(r, splitlines(s, boolOr(r, a[0], false)))
		}},
		"startswith": affix(strings.HasPrefix),
		"strip":      stripped(true, true),
		"swapcase": mapping(func(s string) string {
			var b strings.Builder
			for _, c := range s {
				if unicode.IsUpper(c) {
					b.WriteString(lower(string(c)))
				} else {
					b.WriteString(upper(string(c)))
				}
			}
			return b.String()
		}),
		"title": mapping(titleMethod),
		"upper": mapping(upper),
		"zfill": {"width", func(r *run, s string, a []Value) Value {
			sign := ""
			if s != "" && (s[0] == '-' || s[0] == '+') {
				sign, s = s[:1], s[1:]
			}
			return sign + pad(r, s, intOr(r, a[0], 0)-int64(len(sign)), "0", "rjust").(string)
		}},
	}
}

// part is s[start:end].
func part(r *run, s string, start, end Value) string {
	if start == (absent{}) && end == (absent{}) {
		return s
	}
	g := slice{start: start, stop: end}
	if g.start == (absent{}) {
		g.start = nil
	}
	if g.stop == (absent{}) {
		g.stop = nil
	}
	return r.slice(s, g).(string)
}
