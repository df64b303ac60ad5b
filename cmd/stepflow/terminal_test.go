//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"

	"github.com/creack/pty"
)

// terminal is a program on a pseudo-terminal.
type terminal struct {
	t    *testing.T
	file *os.File
	cmd  *exec.Cmd
	got  chan []byte
	text bytes.Buffer // what it wrote
}

// onTerminal starts a program in a folder on a pseudo-terminal of this width.
func onTerminal(t *testing.T, dir string, width uint16, name string, args ...string) *terminal {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "HOME="+t.TempDir(), "TERM=xterm", "STEPFLOW_CLI_ARGS=")
	f, err := pty.StartWithSize(c, &pty.Winsize{Rows: 40, Cols: width})
	if err != nil {
		t.Fatal(err)
	}
	x := &terminal{t: t, file: f, cmd: c, got: make(chan []byte)}
	go func() {
		defer close(x.got)
		for {
			b := make([]byte, 4096)
			n, err := f.Read(b)
			if err != nil {
				return
			}
			x.got <- b[:n]
		}
	}()
	t.Cleanup(func() {
		c.Process.Kill()
		for range x.got { // until it has no terminal
		}
		c.Wait()
		f.Close()
	})
	return x
}

// sends types keys.
func (x *terminal) sends(keys string) {
	x.t.Helper()
	if _, err := x.file.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

// codes are the escape sequences of terminals.
var codes = regexp.MustCompile("\x1b\\[[0-9;?>]*[a-zA-Z]|\x1b\\][^\x07]*\x07|\x1b[=>()][0B]?|\r")

// waits returns what the program wrote up to a match, without escape sequences.
func (x *terminal) waits(pattern string) string {
	x.t.Helper()
	end := regexp.MustCompile(pattern)
	late := time.After(30 * time.Second)
	for {
		text := codes.ReplaceAllString(x.text.String(), "")
		if at := end.FindStringIndex(text); at != nil {
			x.text.Reset()
			x.text.WriteString(text[at[1]:])
			return text[:at[1]]
		}
		select {
		case b, ok := <-x.got:
			if !ok {
				x.t.Fatalf("it ended, and wrote %q without %q", text, pattern)
			}
			x.text.Write(b)
		case <-late:
			x.t.Fatalf("it wrote %q, and never %q", text, pattern)
		}
	}
}

// TestConsoleOnATerminal types into the console as a person does.
func TestConsoleOnATerminal(t *testing.T) {
	const up, left, ctrlD = "\x1b[A", "\x1b[D", "\x04"
	for _, c := range []struct {
		name  string
		width uint16
		typed string
		want  string // in what it writes, in this order
		ends  bool   // the console ends
	}{
		{"the arrow keys go through earlier lines", 80, "1+1\r" + "2+2\r" + up + up + "\r", `(?s)^2$.*^4$.*^2$`, false},
		{"and to the left", 80, "23" + left + left + "1\r", `^123$`, false},
		{"Ctrl-C drops a line", 80, "nope\x03" + "1+1\r", `^2$`, false},
		{"and the lines before that", 80, "[1,\r" + "2\x03" + "5\r", `^5$`, false},
		{"and an open bracket", 80, "(\r" + "\x03" + "5\r", `^5$`, false},
		{"and ends where nothing was typed", 80, "\x03", ``, true},
		{"Ctrl-D ends", 80, ctrlD, ``, true},
		{"Ctrl-D does not end within a line", 80, "12" + left + ctrlD + "\r", `^1$`, false},
		{"Ctrl-D ends within brackets and says so", 80, "(\r" + ctrlD, `(?s)Missing expression.*`, true},
		{"exit ends", 80, "exit\r", ``, true},
		{"several lines", 80, "[1,\r" + "2]\r", `^\[1, 2\]$`, false},
		{"Tab completes a name", 80, "var.l\t\r", `^1$`, false},
		{"and one in brackets", 80, "[var.l\t]\r", `^\[1\]$`, false},
		{"and keys with spaces and quotes", 80, "optimizer.adamw.o[\"a\t.add\t\r", `^"optimizer.adamw.o\[\\"a b\\"\]"$`, false},
		{"and lists them", 30, "optimizer.adamw.o\t", `(?s)  optimizer.adamw.o$.*^  optimizer.adamw.o\["q\\"q"\]$`, false},
		{"and what the console has besides", 80, "plan[\"optimizer.adamw.o[\\\"it\t.verb\r",
			`plan\["optimizer.adamw.o\[\\"it's\\"\]"\].verb`, false},
		{"what is pasted is evaluated", 80, "\x1b[200~1+1\r\x1b[201~2\r", `(?s)^2$.*^2$`, false},
		{"a narrow terminal", 12, "\"a long text\"\r", `(?s)^"a long te$.*^xt"$.*^"a long text"$`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := onTerminal(t, shellsDir(t), c.width, "stepflow", "console", "my pipe")
			x.waits(`> `)
			x.sends(c.typed)
			x.waits(`(?m)` + c.want)
			if c.ends {
				for b := range x.got {
					x.text.Write(b)
				}
				if err := x.cmd.Wait(); err != nil {
					t.Error(err)
				}
				return
			}
			x.sends("\x15\"the \" == \"end\"\r") // it goes on
			x.waits(`(?m)^false`)
		})
	}
}
