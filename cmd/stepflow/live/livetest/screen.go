// Package livetest is a terminal for tests. It knows what this program sends to one, and takes anything else as an
// error.
package livetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// Screen is what a terminal shows, and what has scrolled out of it.
type Screen struct {
	Frame func() // is called at the end of each frame; nil for nothing

	columns, rows int
	lines         []line // those that scrolled out, then those of the window
	top           int    // the first of the window
	y, x          int    // the cursor: a line, and a column
	rest          []byte // the begin of a sequence
	syncing       bool
	errs          []error
}

// line is a row of cells; the second cell of a wide character is "".
type line struct {
	cells  []string
	broken bool // it goes on in the next
}

// New returns an empty screen.
func New(columns, rows int) *Screen {
	return &Screen{columns: columns, rows: rows, lines: make([]line, 1)}
}

// Err returns what was written that the screen does not know.
func (s *Screen) Err() error { return errors.Join(s.errs...) }

// Text returns all lines, those first that scrolled out; lines that were broken stay so.
func (s *Screen) Text() []string {
	list := make([]string, len(s.lines))
	for i, l := range s.lines {
		list[i] = l.String()
	}
	for len(list) > 0 && list[len(list)-1] == "" {
		list = list[:len(list)-1]
	}
	return list
}

// Window returns the lines that can be seen.
func (s *Screen) Window() []string {
	if t := s.Text(); len(t) > s.top {
		return t[s.top:]
	}
	return nil
}

// Whole returns all lines as they were written, without breaks.
func (s *Screen) Whole() (list []string) {
	var b strings.Builder
	for _, l := range s.lines {
		if b.WriteString(strings.Join(l.cells, "")); !l.broken {
			list = append(list, strings.TrimRight(b.String(), " "))
			b.Reset()
		}
	}
	for len(list) > 0 && list[len(list)-1] == "" {
		list = list[:len(list)-1]
	}
	return list
}

// Cursor returns the line of Text that the cursor is in, and its column.
func (s *Screen) Cursor() (y, x int) { return s.y, s.x }

func (l line) String() string { return strings.TrimRight(strings.Join(l.cells, ""), " ") }

// Write takes what a program sends.
func (s *Screen) Write(p []byte) (int, error) {
	b := append(s.rest, p...)
	s.rest = nil
	for len(b) > 0 {
		n := s.take(b)
		if n == 0 {
			s.rest = bytes.Clone(b)
			break
		}
		b = b[n:]
	}
	return len(p), nil
}

// take takes a character or a sequence, and returns how long it is; 0 if its end is missing.
func (s *Screen) take(b []byte) int {
	switch c := b[0]; {
	case c == '\r':
		s.x = 0
		return 1
	case c == '\n':
		s.down()
		return 1
	case c == '\t':
		for s.put(" ", 1); s.x%8 != 0 && s.x < s.columns; {
			s.put(" ", 1)
		}
		return 1
	case c == '\x1b':
		return s.sequence(b)
	case c < ' ' || c == 0x7f:
		s.fail("control character %q", c)
		return 1
	}
	if !utf8.FullRune(b) {
		return 0
	}
	r, n := utf8.DecodeRune(b)
	if r == utf8.RuneError && n == 1 {
		s.fail("no UTF-8: %q", b[0])
	}
	s.put(string(r), runewidth.RuneWidth(r))
	return n
}

func (s *Screen) fail(format string, args ...any) {
	s.errs = append(s.errs, fmt.Errorf(format, args...))
}

// sequence takes an escape sequence.
func (s *Screen) sequence(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	end := bytes.IndexFunc(b[2:], func(r rune) bool { return r >= '@' && r <= '~' })
	if b[1] != '[' || end > 20 {
		s.fail("escape sequence %.20q", b)
		return 1
	}
	if end < 0 {
		return 0
	}
	text := string(b[2 : 3+end])
	var up int
	switch {
	case text == "J":
		s.lines = s.lines[:s.y+1]
		s.clear()
	case text == "K":
		s.clear()
	case text == "?2026h" && !s.syncing:
		s.syncing = true
	case text == "?2026l" && s.syncing:
		s.syncing = false
		if s.Frame != nil {
			s.Frame()
		}
	case strings.HasSuffix(text, "m") && strings.Trim(text, "0123456789;m") == "": // a colour
	case strings.HasSuffix(text, "A"):
		if _, err := fmt.Sscanf(text, "%dA", &up); err != nil || up < 1 {
			s.fail("escape sequence %q", text)
		}
		s.y = max(s.top, s.y-up)
	default:
		s.fail("escape sequence %q", text)
	}
	return 3 + end
}

// clear clears a line from the cursor on.
func (s *Screen) clear() {
	l := &s.lines[s.y]
	l.cells = l.cells[:min(s.x, len(l.cells))]
	l.broken = false
}

// down moves the cursor a line down; at the bottom, the window scrolls.
func (s *Screen) down() {
	s.y++
	if s.y == len(s.lines) {
		s.lines = append(s.lines, line{})
	}
	s.top = max(s.top, s.y-s.rows+1)
}

// put writes a character, which takes so many cells.
func (s *Screen) put(c string, width int) {
	if width == 0 { // it belongs to the one before
		if l := s.lines[s.y].cells; s.x > 0 && s.x <= len(l) {
			l[s.x-1] += c
		}
		return
	}
	if s.x+width > s.columns {
		s.lines[s.y].broken = true
		s.down()
		s.x = 0
	}
	l := &s.lines[s.y]
	for len(l.cells) < s.x+width {
		l.cells = append(l.cells, " ")
	}
	l.cells[s.x] = c
	for i := 1; i < width; i++ {
		l.cells[s.x+i] = ""
	}
	s.x += width
}

// Resize changes the size of the window. A terminal that reflows wraps all lines again, another cuts off those of the
// window.
func (s *Screen) Resize(columns, rows int, reflows bool) {
	was := s.columns
	s.columns, s.rows = columns, rows
	switch {
	case columns == was:
	case reflows:
		s.reflow()
	default:
		for i := s.top; i < len(s.lines); i++ {
			l := &s.lines[i]
			l.cells, l.broken = l.cells[:min(len(l.cells), columns)], false
		}
	}
	s.x = min(s.x, columns-1)
	s.top = max(0, s.y-rows+1)
}

// reflow wraps all lines again; the cursor stays at its character.
func (s *Screen) reflow() {
	var list []line
	var whole []string
	y, x, at := 0, 0, -1 // where the cursor comes to, and its place in whole
	for i, l := range s.lines {
		if i == s.y {
			at = len(whole) + s.x
		}
		if whole = append(whole, l.cells...); l.broken {
			continue
		}
		for n := 0; n == 0 || n < len(whole); {
			end := min(n+s.columns, len(whole))
			if end < len(whole) && whole[end] == "" { // a wide character goes into the next line
				end--
			}
			list = append(list, line{cells: whole[n:end:end], broken: end < len(whole)})
			if at >= n && (at < end || end == len(whole)) {
				y, x, at = len(list)-1, at-n, -1
			}
			if n = end; end == 0 {
				break
			}
		}
		whole = nil
	}
	s.lines, s.y, s.x = list, y, x
}
