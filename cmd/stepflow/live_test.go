//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"

	"stepflow/cmd/stepflow/live/livetest"
)

// watched is a program on a pseudo-terminal with a screen, whose frames are looked at while it runs.
type watched struct {
	t      *testing.T
	file   *os.File
	cmd    *exec.Cmd
	screen *livetest.Screen
	frames int
}

// watch runs stepflow in a folder on a terminal of this width, and calls frame after each frame.
func watch(t *testing.T, dir string, columns int, frame func(w *watched, n int), args ...string) *watched {
	t.Helper()
	const rows = 24
	w := &watched{t: t, cmd: exec.Command("stepflow", args...), screen: livetest.New(columns, rows)}
	w.cmd.Dir = dir
	w.cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "TERM=xterm-256color", "STEPFLOW_CLI_ARGS=", "COLUMNS=",
		"NO_COLOR=", "XTERM_VERSION=", "STY=")
	f, err := pty.StartWithSize(w.cmd, &pty.Winsize{Rows: rows, Cols: uint16(columns)})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w.file = f
	w.screen.Frame = func() {
		w.frames++
		w.looks(columns)
		frame(w, w.frames)
	}
	late := time.AfterFunc(2*time.Minute, func() { w.cmd.Process.Kill() })
	defer late.Stop()
	for b := make([]byte, 4096); ; {
		n, err := f.Read(b)
		w.screen.Write(b[:n])
		if err != nil {
			break // the program has closed the terminal
		}
	}
	w.cmd.Wait()
	if err := w.screen.Err(); err != nil {
		t.Errorf("what it wrote: %v", err)
	}
	return w
}

// ofFrame are lines that are drawn and not written: a mark and a block, or the whole run.
var ofFrame = regexp.MustCompile(`^([ >✓✗-] (stage|tokenizer|evaluate|export|…)[^:]*|p  .*|\d+/\d+ .*|.*blocks done.*)$`)

// looks looks at a frame: its lines are at the bottom, each once and none broken.
func (w *watched) looks(columns int) {
	w.t.Helper()
	seen := map[string]bool{}
	lines := w.screen.Text()
	for i := len(lines) - 1; i >= 0 && ofFrame.MatchString(lines[i]); i-- {
		block := strings.Join(strings.Fields(lines[i] + " x")[:2], " ")
		if seen[block] {
			w.t.Errorf("the frame has %q twice:\n%s", block, strings.Join(lines, "\n"))
		}
		seen[block] = true
	}
	if y, x := w.screen.Cursor(); x != 0 || y != len(lines) {
		w.t.Errorf("the cursor is in line %d, column %d, of\n%s", y, x, strings.Join(lines, "\n"))
	}
}

// debris returns the lines on the screen that were drawn and not taken away.
func (w *watched) debris() (list []string) {
	after := false
	for _, l := range w.screen.Whole() {
		after = after || strings.HasPrefix(l, "Plan: ")
		if after && ofFrame.MatchString(l) {
			list = append(list, l)
		}
	}
	return list
}

// wants wants lines that match, in this order and next to each other, at the end of the screen.
func (w *watched) wants(patterns ...string) {
	w.t.Helper()
	lines := w.screen.Whole()
	at := len(lines) - len(patterns)
	for i, p := range patterns {
		if at < 0 || !regexp.MustCompile("^(?:"+p+")$").MatchString(lines[at+i]) {
			w.t.Errorf("no line %q in\n%s", p, strings.Join(lines[max(0, at-10):], "\n"))
			return
		}
	}
	if list := w.debris(); len(list) > 0 {
		w.t.Errorf("there are still %q", list)
	}
}

// tinyPipeline makes a folder with the pipeline of testdata/tiny.hcl, in p.
func tinyPipeline(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/tiny.hcl")
	if err == nil {
		err = os.Mkdir(filepath.Join(dir, "p"), 0o755)
	}
	if err == nil {
		text = bytes.Replace(text, []byte("every_steps = 2"), []byte("every_steps = 100000"), 1) // they take long
		err = os.WriteFile(filepath.Join(dir, "p", "main.hcl"), text, 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "p", "d.jsonl"), []byte(tinyDocuments(20)), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestApplyOnATerminal: in any width, frames are whole and of one line each, all that stays is text, and the end says
// what was made and what can be done next.
func TestApplyOnATerminal(t *testing.T) {
	for _, columns := range []int{40, 60, 100} {
		dir := tinyPipeline(t)
		w := watch(t, dir, columns, func(w *watched, n int) {
			for _, l := range w.screen.Window() {
				if ofFrame.MatchString(l) && len([]rune(l)) >= columns {
					t.Errorf("%d columns: %q", columns, l)
				}
			}
		}, "apply", "-var", "steps=200", "p")
		if code := w.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%d columns: exit code %d", columns, code)
		}
		if w.frames < 5 {
			t.Errorf("%d columns: %d frames", columns, w.frames)
		}
		if list := w.debris(); len(list) > 0 {
			t.Errorf("%d columns: there are still %q", columns, list)
		}
		text := strings.Join(strings.Fields(strings.Join(w.screen.Whole(), " ")), " ")
		for _, p := range []string{
			`stage\.one: done in \S+; held_out_documents \d+, loss \S+, .* stage\.two: grown from 2 to 3 layers`,
			`Ran 5 blocks in \S+\. Device memory: 227 KiB at most, as planned\. Loss in nats a token: stage\.two \d\.\d{4}, ` +
				`evaluate\.perplexity\.p \d\.\d{4}\. Exported to p?/?out\. Apply complete\. layers = 3 loss = \S+ Next: ` +
				`stepflow report p writes the run as a page stepflow output -dir p prints the outputs again$`,
		} {
			if !regexp.MustCompile(p).MatchString(text) {
				t.Errorf("%d columns: no %q in\n%s", columns, p, strings.Join(w.screen.Whole(), "\n"))
			}
		}
		if strings.Contains(text, ": running") {
			t.Errorf("%d columns: the text says what the frames show", columns)
		}
	}
}

// TestResizedTerminal: a window that changes its size while a run goes on has no line twice.
func TestResizedTerminal(t *testing.T) {
	sizes := []struct{ columns, rows int }{{50, 24}, {120, 24}, {40, 12}, {100, 30}}
	w := watch(t, tinyPipeline(t), 100, func(w *watched, n int) {
		switch {
		case n%4 != 0:
		case n/4 <= len(sizes):
			s := sizes[n/4-1]
			w.screen.Resize(s.columns, s.rows, true)
			if err := pty.Setsize(w.file, &pty.Winsize{Rows: uint16(s.rows), Cols: uint16(s.columns)}); err != nil {
				t.Error(err)
			}
		case n/4 == len(sizes)+1:
			w.file.WriteString("\x03")
		}
	}, "apply", "-var", "steps=200000", "p")
	w.wants(`Error: stage\.one: interrupted at step \d+ of 200000`, `Run apply again to go on from there\.`)
}

// TestInterruptedTerminal: after Ctrl-C the run is shown until it has saved; then text says how to go on. A run may have saved
// before a frame is due, so it is interrupted until one is seen.
func TestInterruptedTerminal(t *testing.T) {
	for ending, runs := 0, 0; ending == 0; runs++ {
		if runs == 5 {
			t.Fatal("no frame says that the run ends")
		}
		w := watch(t, tinyPipeline(t), 100, func(w *watched, n int) {
			if n == 6 {
				w.file.WriteString("\x03")
			}
			if strings.Contains(strings.Join(w.screen.Window(), "\n"), "  ending") {
				ending++
			}
		}, "apply", "-var", "steps=200000", "p")
		if code := w.cmd.ProcessState.ExitCode(); code != exitInterrupted {
			t.Errorf("exit code %d", code)
		}
		w.wants(`Interrupted: finishing the step and saving a checkpoint\. Once more stops at once\.`,
			`Stopped after .*, with 1 block done\..*`, `Error: stage\.one: interrupted at step \d+ of 200000.*`, `Run apply again to go on from there\.`)
	}
}

// TestKilledTerminal: a process that dies leaves the cursor below what it drew, and a terminal that shows its cursor.
func TestKilledTerminal(t *testing.T) {
	w := watch(t, tinyPipeline(t), 70, func(w *watched, n int) {
		if n == 6 {
			w.cmd.Process.Signal(syscall.SIGKILL)
		}
	}, "apply", "-var", "steps=200000", "p")
	lines := w.screen.Text()
	if y, x := w.screen.Cursor(); x != 0 || y != len(lines) || !strings.Contains(lines[len(lines)-1], "of 5 blocks done") {
		t.Errorf("the cursor is in line %d, column %d, of\n%s", y, x, strings.Join(lines, "\n"))
	}
}

// TestFailedTerminal: after a failure nothing of the frames stays, and text says what failed and how to go on.
func TestFailedTerminal(t *testing.T) {
	w := watch(t, tinyPipeline(t), 70, func(*watched, int) {}, "apply", "-var", "lr=1e30", "p")
	if code := w.cmd.ProcessState.ExitCode(); code != exitError {
		t.Errorf("exit code %d", code)
	}
	text := strings.Join(w.screen.Whole(), "\n")
	if !strings.Contains(text, "Error: stage.one: step ") || !strings.Contains(text, "Not run: stage.two") {
		t.Errorf("it does not say what failed:\n%s", text)
	}
	w.wants(`What has ended is kept: run apply again to go on, once this is mended\.`)
}

// TestQuestionOnATerminal: what is asked is not drawn over.
func TestQuestionOnATerminal(t *testing.T) {
	dir := tinyPipeline(t)
	x := onTerminal(t, dir, 80, "stepflow", "apply", "p")
	x.waits(`Apply complete`)
	x.cmd.Wait()
	x = onTerminal(t, dir, 80, "stepflow", "apply", "-var", "lr=0.5", "p")
	text := x.waits(`Go on\? Only "yes" is taken: `)
	if strings.Contains(text, "blocks done") {
		t.Errorf("there are frames before the answer: %q", text)
	}
	x.sends("yes\n")
	x.waits(`Apply complete`)
}

// TestErrorsInAFile: colours are for the terminal, and not for the file that takes the errors beside it.
func TestErrorsInAFile(t *testing.T) {
	dir := tinyPipeline(t)
	x := onTerminal(t, dir, 80, "sh", "-c", "stepflow apply -var lr=1e30 p 2>err; echo ended")
	x.waits(`ended`)
	text, err := os.ReadFile(filepath.Join(dir, "err"))
	if err != nil || bytes.Contains(text, []byte("\x1b")) || !bytes.HasPrefix(text, []byte("Error: stage.one: step ")) {
		t.Errorf("the file has %q, %v", text, err)
	}
}

// TestDumbTerminal: a terminal that cannot move its cursor gets plain lines.
func TestDumbTerminal(t *testing.T) {
	var out bytes.Buffer
	c := exec.Command("stepflow", "apply", "p")
	c.Dir = tinyPipeline(t)
	c.Env = append(os.Environ(), "HOME="+t.TempDir(), "TERM=dumb", "STEPFLOW_CLI_ARGS=")
	f, err := pty.StartWithSize(c, &pty.Winsize{Rows: 24, Cols: 200})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out.ReadFrom(f) // it ends with an error where the terminal is closed
	c.Wait()
	if text := out.String(); strings.Contains(text, "\x1b") || !strings.Contains(text, "stage.one: step 4/4") {
		t.Errorf("it wrote %q", text)
	}
}
