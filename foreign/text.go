package foreign

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// acts reports whether a terminal or a page may obey a character instead of showing it: controls (C0, C1), line and
// paragraph separators, and format characters, which reorder text or cannot be seen. The joiners that scripts and
// emoji are written with stay.
func acts(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return r != nonJoiner && r != joiner && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

// Shown is text from elsewhere as it may be printed on one line: what would act stands there as an escape, such as
// \x1b or \u202e, and so do bytes that are not UTF-8.
func Shown(s string) string { return show(s, "") }

// ShownStart is Shown of the first characters of s, of up to most bytes, with an ellipsis where there are more.
func ShownStart(s string, most int) string {
	if len(s) <= most {
		return Shown(s)
	}
	end := most
	for end > 0 && end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return Shown(s[:end]) + "…"
}

// ShownText is Shown for text of several lines: line feeds and tabs stay.
func ShownText(s string) string { return show(s, "\n\t") }

func show(s, keep string) string {
	clean := func(r rune) bool { return !acts(r) || strings.ContainsRune(keep, r) }
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case clean(r):
			b.WriteString(s[i : i+n])
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += n
	}
	return b.String()
}

// ShownJSON is a JSON text with the same value in which characters that would act are written as JSON's escapes.
func ShownJSON(text []byte) []byte {
	if bytes.IndexFunc(text, func(r rune) bool { return r >= 0x7f && acts(r) }) < 0 {
		return text
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		switch {
		case r < 0x7f || !acts(r): // below, JSON itself allows none inside a string
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return b.Bytes()
}
