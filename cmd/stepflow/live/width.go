package live

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// styled are the sequences that colour text.
var styled = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Width returns how many columns a text takes at most: some terminals draw characters that belong together, such as the
// parts of an emoji, in the room of one.
func Width(s string) (n int) {
	for _, r := range styled.ReplaceAllString(s, "") {
		n += runewidth.RuneWidth(r)
	}
	return n
}

// broken returns in how many rows a terminal of so many columns breaks a line.
func broken(s string, columns int) int {
	rows, x := 1, 0
	for _, r := range styled.ReplaceAllString(s, "") {
		w := runewidth.RuneWidth(r)
		if x += w; x > columns {
			rows, x = rows+1, w
		}
	}
	return rows
}

// cut cuts a text to a width, with an ellipsis where something is missing. Its colours end as they do in the whole.
func cut(s string, width int) string {
	if Width(s) <= width {
		return s
	}
	width -= runewidth.RuneWidth('…')
	var b strings.Builder
	n, full := 0, false
	for s != "" {
		if at := styled.FindStringIndex(s); at != nil && at[0] == 0 {
			b.WriteString(s[:at[1]])
			s = s[at[1]:]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		if w := runewidth.RuneWidth(r); !full && n+w <= width {
			b.WriteRune(r)
			n += w
		} else if !full {
			full = true
			b.WriteString("…")
		}
		s = s[size:]
	}
	return b.String()
}

// cutLeft cuts the begin of a text without colours, so that it has a width.
func cutLeft(s string, width int) string {
	if Width(s) <= width {
		return s
	}
	room := width - runewidth.RuneWidth('…')
	from := len(s)
	for from > 0 {
		r, size := utf8.DecodeLastRuneInString(s[:from])
		if room -= runewidth.RuneWidth(r); room < 0 {
			break
		}
		from -= size
	}
	return "…" + s[from:]
}
