package jinja

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// runes is Python's len of a text.
func runes(s string) int { return utf8.RuneCountInString(s) }

// Python maps case as Unicode says in full: "ß" becomes "SS".
func upper(s string) string { return cases.Upper(language.Und).String(s) }

func lower(s string) string { return cases.Lower(language.Und, cases.HandleFinalSigma(true)).String(s) }

// capitalize is Python's: the first character in title case, the others in lower case.
func capitalize(s string) string {
	for i := range s {
		if i > 0 {
			return titleOf(s[:i]) + strings.TrimPrefix(lower(s), lower(s[:i]))
		}
	}
	return titleOf(s)
}

func titleOf(s string) string {
	if s == "" {
		return ""
	}
	return cases.Title(language.Und, cases.NoLower).String(s)
}

// title is the filter of Jinja: what follows blanks, hyphens and opening brackets begins with a capital.
func title(s string) string {
	var b strings.Builder
	start := 0
	separates := func(c rune) bool { return c == '-' || isSpace(c) || strings.ContainsRune("({[<", c) }
	flush := func(to int) {
		if part := s[start:to]; part != "" {
			for i := range part {
				if i > 0 {
					b.WriteString(upper(part[:i]) + lower(part[i:]))
					return
				}
			}
			b.WriteString(upper(part))
		}
	}
	for i, c := range s {
		if separates(c) {
			flush(i)
			b.WriteRune(c)
			start = i + len(string(c))
		}
	}
	flush(len(s))
	return b.String()
}

// titleMethod is Python's str.title: what follows a character without case begins with a capital.
func titleMethod(s string) string {
	var b strings.Builder
	inWord := false
	start := 0
	flush := func(to int) {
		for i := range s[start:to] {
			if i > 0 {
				b.WriteString(titleOf(s[start:start+i]) + strings.TrimPrefix(lower(s[start:to]), lower(s[start:start+i])))
				return
			}
		}
		b.WriteString(titleOf(s[start:to]))
	}
	for i, c := range s {
		cased := unicode.IsUpper(c) || unicode.IsLower(c) || unicode.IsTitle(c)
		if cased && !inWord {
			start = i
		} else if !cased {
			if inWord {
				flush(i)
			}
			b.WriteRune(c)
		}
		inWord = cased
	}
	if inWord {
		flush(len(s))
	}
	return b.String()
}

// strip cuts white space, or the characters that are given, from the ends.
func strip(r *run, s string, chars Value, left, right bool) Value {
	cut := isSpace
	if chars != (absent{}) && chars != nil {
		set := textOf(r, chars)
		r.work(len(set))
		in := map[rune]bool{}
		for _, c := range set {
			in[c] = true
		}
		cut = func(c rune) bool { return in[c] }
	}
	if left {
		s = strings.TrimLeftFunc(s, cut)
	}
	if right {
		s = strings.TrimRightFunc(s, cut)
	}
	return s
}

func replace(r *run, s, old, by string, n int64) Value {
	found := int64(strings.Count(s, old))
	if n >= 0 {
		found = min(n, found)
	}
	r.room(len(s) + max(0, int(found))*max(0, len(by)-len(old)))
	return strings.Replace(s, old, by, int(found))
}

// pad fills a text up to a width.
func pad(r *run, s string, width int64, fill, where string) Value {
	n := int(min(width, 1<<31)) - runes(s)
	if n <= 0 {
		return s
	}
	if runes(fill) != 1 {
		r.fail("a text is filled up with exactly one character")
	}
	r.room(len(s) + n*len(fill))
	left, right := 0, 0
	switch where {
	case "ljust":
		right = n
	case "rjust":
		left = n
	default: // as CPython rounds
		left = n/2 + (n & int(width) & 1)
		right = n - left
	}
	return strings.Repeat(fill, left) + s + strings.Repeat(fill, right)
}

// splitlines is Python's: it knows more ends of lines than the newline.
func splitlines(s string, keep bool) []string {
	var out []string
	start := 0
	for i := 0; i < len(s); {
		c, size := utf8.DecodeRuneInString(s[i:])
		next := i + size
		switch c {
		case '\r':
			if next < len(s) && s[next] == '\n' {
				next++
			}
		case '\n', '\v', '\f', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029:
		default:
			i = next
			continue
		}
		if keep {
			out = append(out, s[start:next])
		} else {
			out = append(out, s[start:i])
		}
		i, start = next, next
	}
	if start < len(s) {
		out = append(out, s[start:])
	}
	return out
}

// split is Python's str.split and rsplit.
func split(r *run, s string, sep Value, most int64, fromRight bool) Value {
	var parts []string
	if sep == (absent{}) || sep == nil {
		parts = fields(s, most, fromRight)
	} else {
		by := textOf(r, sep)
		if by == "" {
			r.fail("a text cannot be split at an empty text")
		}
		switch {
		case most < 0:
			r.items(strings.Count(s, by))
			parts = strings.Split(s, by)
		case !fromRight:
			parts = strings.SplitN(s, by, int(min(most, 1<<31)+1))
		default:
			for rest := s; ; {
				i := strings.LastIndex(rest, by)
				if i < 0 || most == 0 {
					parts = append([]string{rest}, parts...)
					break
				}
				r.work(1 + len(parts)/16)
				parts = append([]string{rest[i+len(by):]}, parts...)
				rest, most = rest[:i], most-1
			}
		}
	}
	return texts(r, parts)
}

func texts(r *run, parts []string) *List {
	r.items(len(parts))
	l := &List{Items: make([]Value, len(parts))}
	for i, p := range parts {
		l.Items[i] = p
	}
	return l
}

// fields splits at white space.
func fields(s string, most int64, fromRight bool) []string {
	if most < 0 {
		return strings.FieldsFunc(s, isSpace)
	}
	var parts []string
	if !fromRight {
		for s = strings.TrimLeftFunc(s, isSpace); s != ""; s = strings.TrimLeftFunc(s, isSpace) {
			i := strings.IndexFunc(s, isSpace)
			if most == 0 || i < 0 {
				return append(parts, s)
			}
			parts, s, most = append(parts, s[:i]), s[i:], most-1
		}
		return parts
	}
	for s = strings.TrimRightFunc(s, isSpace); s != ""; s = strings.TrimRightFunc(s, isSpace) {
		i := strings.LastIndexFunc(s, isSpace)
		if most == 0 || i < 0 {
			parts = append(parts, s)
			break
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		parts, s, most = append(parts, s[i+size:]), s[:i], most-1
	}
	slices.Reverse(parts)
	return parts
}

func indent(r *run, a []Value) Value {
	var by string
	if s, ok := a[1].(string); ok {
		by = s
	} else if n := intOr(r, a[1], 4); n >= 0 {
		r.room(int(min(n, 1<<31)))
		by = strings.Repeat(" ", int(n))
	}
	s := textOf(r, a[0])
	r.scanCharacters(len(s))
	ls := splitlines(s+"\n", false)
	r.room(len(s) + len(by)*(len(ls)+1))
	for i, l := range ls {
		if i > 0 && (l != "" || boolOr(r, a[3], false)) {
			ls[i] = by + l
		}
	}
	out := strings.Join(ls, "\n")
	if boolOr(r, a[2], false) {
		out = by + out
	}
	return out
}

// wordcount counts runs of what Python's \w matches.
func wordcount(r *run, s string) Value {
	r.scanCharacters(len(s))
	n, in := int64(0), false
	for _, c := range s {
		w := c == '_' || unicode.IsLetter(c) || unicode.IsNumber(c)
		if w && !in {
			n++
		}
		in = w
	}
	return n
}
