// Package live draws a run at the foot of a terminal while it goes on: what has become of its blocks, below the text
// that scrolls.
package live

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Terminal is where a foot is drawn.
type Terminal struct {
	Write func([]byte)               // bytes as they are
	Size  func() (columns, rows int) // now; 0 if it is not known
	// Reflows reports whether the terminal wraps lines again when its window becomes narrower. Others cut them off.
	Reflows bool
	// Foreground reports whether the process may draw: it is not in the background of a shell.
	Foreground func() bool
}

// Foot is lines that stay at the bottom of a terminal and are drawn again where they change. The cursor rests below
// them and stays visible, so that a process that dies leaves a terminal that can be worked in.
type Foot struct {
	terminal Terminal
	draw     func(columns, rows int) []string

	mu      sync.Mutex
	shown   []string // the lines on the screen
	drawn   time.Time
	took    time.Duration // to draw them
	columns int           // of the window that they were drawn for
	rows    int
	closed  bool
	stop    chan struct{}
	stopped chan struct{}
}

// Frames come at most so often.
const frameEvery = 100 * time.Millisecond

// Lines that take longer than slow to draw are drawn for text in one of drawing parts of the time at most; others always
// say what the text says.
const (
	slow    = time.Millisecond
	drawing = 10
)

// The terminal shows what is between these at once, if it knows them.
const syncBegin, syncEnd = "\x1b[?2026h", "\x1b[?2026l"

const (
	below  = "\x1b[J" // clears from the cursor to the end of the screen
	behind = "\x1b[K" // and to the end of the line
)

// NewFoot draws lines, which draw returns for a size of the window, until Close.
func NewFoot(t Terminal, draw func(columns, rows int) []string) *Foot {
	f := &Foot{terminal: t, draw: draw, stop: make(chan struct{}), stopped: make(chan struct{})}
	resumed, quiet := continued()
	go func() {
		defer close(f.stopped)
		defer quiet()
		tick := time.NewTicker(frameEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f.Text(nil)
			case <-resumed:
				f.forget()
			case <-f.stop:
				return
			}
		}
	}()
	return f
}

// forget leaves the lines where they are: others have written below them.
func (f *Foot) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shown = nil
}

// Text writes text above the lines, and draws those that have changed.
func (f *Foot) Text(text []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	columns, rows := f.terminal.Size()
	var lines []string
	switch {
	case f.closed || columns <= 0 || !f.terminal.Foreground():
	case len(text) > 0 && len(f.shown) > 0 && columns == f.columns && rows == f.rows && f.took > slow && time.Since(f.drawn) < drawing*f.took:
		lines = f.shown // much text at once does not draw a large run for each of its lines
	default:
		lines = f.lines(columns, rows)
	}
	f.frame(text, lines, columns, rows)
}

// lines draws the lines for a window.
func (f *Foot) lines(columns, rows int) []string {
	began := time.Now()
	lines := f.draw(columns, rows)
	f.drawn = time.Now()
	f.took = f.drawn.Sub(began)
	lines = lines[:min(len(lines), max(rows-1, 0))] // the cursor is below
	for i, l := range lines {
		// One column is left for a character that the terminal shows wider than it is said to be.
		lines[i] = cut(l, columns-1)
	}
	return lines
}

// frame puts text and lines in the place of the lines on the screen, in one write.
func (f *Foot) frame(text []byte, lines []string, columns, rows int) {
	same := columns == f.columns && rows == f.rows
	if len(text) == 0 && same && slices.Equal(lines, f.shown) {
		return
	}
	var b bytes.Buffer
	b.WriteString(syncBegin + "\r")
	if n := f.height(columns); n > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", n)
	}
	if same = same && len(text) == 0; !same {
		b.WriteString(below)
	}
	b.Write(text)
	if len(text) > 0 && text[len(text)-1] != '\n' {
		b.WriteByte('\n')
	}
	for i, l := range lines {
		if same && i < len(f.shown) && f.shown[i] == l {
			b.WriteByte('\n')
			continue
		}
		b.WriteString(l + behind + "\n")
	}
	b.WriteString(below + syncEnd) // also what was typed
	f.shown, f.columns, f.rows = lines, columns, rows
	f.terminal.Write(b.Bytes())
}

// height is how many rows the lines on the screen take in a window of so many columns.
func (f *Foot) height(columns int) int {
	if !f.terminal.Reflows || columns >= f.columns || columns <= 0 {
		return len(f.shown)
	}
	n := 0
	for _, l := range f.shown {
		n += broken(l, columns)
	}
	return n
}

// Close takes the lines away. What is written through the foot from then on is text alone.
func (f *Foot) Close() {
	close(f.stop)
	<-f.stopped
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.Text(nil)
}
