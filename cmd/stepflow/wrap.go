package main

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"

	"stepflow/cmd/stepflow/live"
)

// size returns the size of the terminal that an output is; 0 if it is none or has no size.
func (o *output) size() (columns, rows int) {
	columns, rows, err := term.GetSize(int(o.file.Fd()))
	if err != nil || columns <= 0 || rows <= 0 {
		return 0, 0
	}
	return columns, rows
}

// reflows reports whether the terminal wraps the lines on its screen again when its window becomes narrower, as most
// do. xterm, GNU screen and the console of Linux cut them off.
func reflows() bool {
	return os.Getenv("XTERM_VERSION") == "" && os.Getenv("STY") == "" && os.Getenv("TERM") != "linux"
}

// narrowest is the width in columns below which lines are not broken further.
const narrowest = 40

// columns returns how many columns the terminal of the standard output has, or what COLUMNS says; 0 if it is not a
// terminal, so that what is written into files and pipes does not depend on a width.
func (a *app) columns() int {
	o, ok := a.stdout.(*output)
	if !ok || !isTerminal(a.stdout) {
		return 0
	}
	n, err := strconv.Atoi(os.Getenv("COLUMNS"))
	if err != nil || n <= 0 {
		if n, _ = o.size(); n == 0 {
			return 0
		}
	}
	return max(n, narrowest)
}

// wrapped breaks the lines of a text that are longer than so many columns; 0 for none. A line goes on under its last
// column, which two or more spaces separate from the one before.
func wrapped(text string, columns int) string {
	if columns == 0 {
		return text
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if visible(l) > columns {
			lines[i] = broken(l, columns)
		}
	}
	return strings.Join(lines, "\n")
}

// visible returns how many columns a text takes.
func visible(s string) int { return live.Width(s) }

// broken breaks one line.
func broken(line string, columns int) string {
	plain := styles.ReplaceAllString(line, "")
	indent := len(plain) - len(strings.TrimLeft(plain, " ")) + 4
	if at := strings.LastIndex(plain, "  "); at >= 0 {
		if last := visible(plain[:at+2]); last <= columns/2 {
			indent = last
		}
	}
	var out string
	col := 0
	for i, word := range strings.Split(line, " ") {
		n := visible(word)
		switch {
		case i == 0:
		case col >= indent && word != "" && col+1+n > columns:
			out = strings.TrimRight(out, " ") + "\n" + strings.Repeat(" ", indent)
			col = indent
		default:
			out += " "
			col++
		}
		out += word
		col += n
	}
	return out
}
