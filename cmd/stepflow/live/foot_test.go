package live

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"stepflow/cmd/stepflow/live/livetest"
)

// screenOf is a terminal on a screen. The foot draws only when text is written, not by time.
func screenOf(t *testing.T, s *livetest.Screen, columns, rows *int, reflows bool) Terminal {
	return Terminal{Write: func(b []byte) { s.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))) },
		Size: func() (int, int) { return *columns, *rows }, Reflows: reflows, Foreground: func() bool { return true }}
}

// still is a foot that draws when it is asked to alone.
func still(t Terminal, draw func(columns, rows int) []string) *Foot {
	return &Foot{terminal: t, draw: draw}
}

// words that names and messages may have: wide, combined, and joined characters too.
var someWords = []string{"stage.seed", "a", "损失函数", "ü", "é", "👩‍💻", "step 12/300", "…", "ﷺ", "loss 5.3"}

func someText(r *rand.Rand, most int) string {
	var list []string
	for range 1 + r.IntN(most) {
		list = append(list, someWords[r.IntN(len(someWords))])
	}
	return strings.Join(list, " ")
}

// TestFoot writes lines and text in random order, while the window changes its width: all text stays as it was written,
// and below it are the lines of now and nothing of those before.
func TestFoot(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 19))
		reflows := seed%2 == 0
		columns, rows := 20+r.IntN(100), 30
		s := livetest.New(columns, rows)
		var lines []string
		f := still(screenOf(t, s, &columns, &rows, reflows), func(int, int) []string { return slices.Clone(lines) })
		var text []string
		for range 30 {
			switch r.IntN(4) {
			case 0: // ASCII, so that a screen can break it anywhere
				text = append(text, strings.Repeat("word ", r.IntN(40))+fmt.Sprint(len(text)))
				f.Text([]byte(text[len(text)-1] + "\n"))
			case 1:
				if columns = 20 + r.IntN(100); !reflows { // what it cuts off is gone
					text = nil
				}
				s.Resize(columns, rows, reflows)
				f.Text(nil)
			default:
				lines = nil
				for range r.IntN(8) {
					lines = append(lines, "\x1b[1m"+someText(r, 12)+"\x1b[0m")
				}
				f.Text(nil)
			}
			if err := s.Err(); err != nil {
				t.Fatal(err)
			}
			got := s.Whole()
			if at, x := s.Cursor(); x != 0 || at != len(s.Text()) {
				t.Fatalf("seed %d: the cursor is in line %d, column %d, below %d lines", seed, at, x, len(s.Text()))
			}
			if reflows {
				if len(got) != len(text)+len(lines) || !slices.Equal(got[:len(text)], text) {
					t.Fatalf("seed %d: %d lines of text and %d below became\n%s", seed, len(text), len(lines),
						strings.Join(got, "\n"))
				}
			}
			frame := got[max(0, len(got)-len(lines)):]
			for i, l := range frame {
				if want := strings.TrimSuffix(strings.TrimPrefix(lines[i], "\x1b[1m"), "\x1b[0m"); l != want &&
					!(strings.HasSuffix(l, "…") && strings.HasPrefix(want, strings.TrimSuffix(l, "…"))) &&
					!strings.HasPrefix(want, strings.TrimRight(strings.TrimSuffix(l, "…"), " ")) {
					t.Fatalf("seed %d: line %q is shown as %q", seed, want, l)
				}
			}
			window := s.Text()
			if n := len(lines); n > 0 && len(window) >= n {
				for i, l := range window[len(window)-n:] {
					if l != frame[i] {
						t.Fatalf("seed %d: in %d columns, a line of the frame was broken: %q\n%s", seed, columns, frame[i], strings.Join(window, "\n"))
					}
				}
			}
		}
		lines = []string{"last"}
		f.closed = true
		f.Text(nil)
		if got := s.Whole(); reflows && !slices.Equal(got, text) {
			t.Fatalf("seed %d: after the end there are\n%s", seed, strings.Join(got, "\n"))
		}
	}
}

// TestFootWritesWhatChanged: a frame is one write, of the lines that have changed; nothing is written where none has.
func TestFootWritesWhatChanged(t *testing.T) {
	var writes []string
	lines := []string{"one", "two", "three"}
	f := still(Terminal{Write: func(b []byte) { writes = append(writes, string(b)) },
		Size: func() (int, int) { return 80, 24 }, Foreground: func() bool { return true }},
		func(int, int) []string { return slices.Clone(lines) })
	f.Text(nil)
	f.Text(nil)
	lines[1] = "2"
	f.Text(nil)
	f.Text([]byte("a line"))
	want := []string{
		syncBegin + "\r" + below + "one\x1b[K\ntwo\x1b[K\nthree\x1b[K\n" + below + syncEnd,
		syncBegin + "\r\x1b[3A\n2\x1b[K\n\n" + below + syncEnd,
		syncBegin + "\r\x1b[3A" + below + "a line\none\x1b[K\n2\x1b[K\nthree\x1b[K\n" + below + syncEnd,
	}
	if !slices.Equal(writes, want) {
		t.Errorf("it wrote %q, want %q", writes, want)
	}
}

// TestFootOfManyLines: much text at once does not draw the lines below for each of its own.
func TestFootOfManyLines(t *testing.T) {
	columns, rows, drawn := 40, 10, 0
	s := livetest.New(columns, rows)
	f := still(screenOf(t, s, &columns, &rows, true), func(int, int) []string {
		drawn++
		time.Sleep(time.Millisecond) // of a large run
		return []string{"a foot"}
	})
	const lines = 10_000
	for range lines {
		f.Text([]byte("a warning\n"))
	}
	if drawn > lines/10 {
		t.Errorf("it was drawn %d times", drawn)
	}
	if got := s.Whole(); len(got) != lines+1 || got[lines] != "a foot" {
		t.Errorf("the screen has %d lines, the last of which is %q", len(got), got[len(got)-1])
	}
	columns = 30
	s.Resize(columns, rows, true)
	n := drawn
	if f.Text([]byte("a warning\n")); drawn != n+1 {
		t.Error("a window of another width was not drawn for")
	}
}

// TestFootInTheBackground: a process that is in the background of a shell writes its text alone, and when it comes back
// it draws below what others wrote.
func TestFootInTheBackground(t *testing.T) {
	columns, rows, front := 40, 10, true
	s := livetest.New(columns, rows)
	terminal := screenOf(t, s, &columns, &rows, true)
	terminal.Foreground = func() bool { return front }
	f := still(terminal, func(int, int) []string { return []string{"a foot"} })
	f.Text(nil)
	s.Write([]byte("stopped\r\n$ bg\r\n"))
	front = false
	f.forget()
	f.Text([]byte("a line\n"))
	s.Write([]byte("$ fg\r\n"))
	front = true
	f.forget()
	f.Text(nil)
	want := []string{"a foot", "stopped", "$ bg", "a line", "$ fg", "a foot"}
	if got := s.Whole(); !slices.Equal(got, want) {
		t.Errorf("the screen has %q, want %q", got, want)
	}
}

// TestFootOfALowWindow: the foot is never higher than the window.
func TestFootOfALowWindow(t *testing.T) {
	columns, rows := 40, 4
	s := livetest.New(columns, rows)
	f := still(screenOf(t, s, &columns, &rows, true), func(int, int) []string { return make([]string, 10) })
	for i := range 20 {
		f.Text(fmt.Appendf(nil, "%d\n", i))
	}
	if len(f.shown) != rows-1 {
		t.Errorf("%d lines in a window of %d", len(f.shown), rows)
	}
	if got := s.Whole(); len(got) != 20 || got[19] != "19" {
		t.Errorf("the screen has %q", got)
	}
}
