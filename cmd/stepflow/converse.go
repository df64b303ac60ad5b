package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"

	"stepflow/runtime/plan"
)

// tamer writes text to a terminal as it may be shown.
type tamer struct{ to io.Writer }

func (t tamer) Write(p []byte) (int, error) {
	_, err := t.to.Write(tamed(p))
	return len(p), err
}

// errDropped ends an expression that Ctrl-C drops.
var errDropped = errors.New("dropped")

// conversation is what is typed at a terminal.
type conversation struct {
	*term.Terminal
	screen  *os.File
	names   func(start string) []string
	dropped bool // by Ctrl-C
	typed   bool // something, before that
}

// ctrlC is the key that drops a line, and drop the key in its place: at ctrlC itself the terminal would end.
const (
	ctrlC = '\x03'
	drop  = '\a'
)

// keys reads what is typed, with drop and the end of the line in place of ctrlC.
type keys struct {
	in   io.Reader
	rest []byte
}

func (k *keys) Read(p []byte) (int, error) {
	if len(k.rest) == 0 {
		b := make([]byte, len(p))
		n, err := k.in.Read(b)
		if err != nil {
			return 0, err
		}
		k.rest = bytes.ReplaceAll(b[:n], []byte{ctrlC}, []byte{drop, '\r'})
	}
	n := copy(p, k.rest)
	k.rest = k.rest[n:]
	return n, nil
}

// newConversation begins a conversation at a terminal. Its lines are read while the terminal is raw.
func (a *app) newConversation(in *os.File, names func(start string) []string) *conversation {
	screen := a.stdout.(*output).file
	t := &conversation{screen: screen, names: names, Terminal: term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{&keys{in: in}, screen}, "> ")}
	t.AutoCompleteCallback = t.key
	return t
}

// converse evaluates what is typed at a terminal.
func (a *app) converse(c *plan.Console, in *os.File) int {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return a.fail(err)
	}
	restore := func() { term.Restore(int(in.Fd()), before) }
	defer restore()
	a.interrupt.atExit(restore)
	t := a.newConversation(in, c.Complete)
	stdout, stderr := a.stdout, a.stderr
	a.stdout, a.stderr = tamer{t}, tamer{t}
	defer func() { a.stdout, a.stderr = stdout, stderr }()
	for {
		line, err := expression(t.line)
		switch {
		case err == errDropped:
		case err != nil, strings.TrimSpace(line) == "exit":
			return exitOK // also at Ctrl-D
		default:
			a.evaluate(c, line)
		}
	}
}

// width returns the number of columns of the terminal.
func (t *conversation) width() int {
	if width, height, err := term.GetSize(int(t.screen.Fd())); err == nil && width > 0 {
		t.SetSize(width, height)
		return width
	}
	return 80
}

// line reads a line. Ctrl-C drops it and the lines that it goes on from; where nothing was typed, it ends.
func (t *conversation) line(more bool) (string, error) {
	t.width() // it may have changed
	t.SetPrompt(map[bool]string{false: "> ", true: "  "}[more])
	t.dropped = false
	line, err := t.ReadLine()
	switch {
	case t.dropped && (more || t.typed):
		return "", errDropped
	case t.dropped:
		return "", io.EOF
	case err == term.ErrPasteIndicator:
		return line, nil
	}
	return line, err
}

// name is what stands before the cursor of a name that can be completed, with keys of instances.
var name = regexp.MustCompile(`(?:[\p{L}\p{N}_.-]|\["(?:[^"\\]|\\.)*"\]|\[\d+\])*(?:\["(?:[^"\\]|\\.)*"?|\[\d*)?$`)

// key handles the keys that the terminal does not. At Tab it completes the name before the cursor as far as it is
// clear, else it lists what the name may be.
func (t *conversation) key(line string, pos int, key rune) (string, int, bool) {
	switch key {
	case drop:
		t.dropped, t.typed = true, line != ""
		return "", 0, true
	case '\t':
	default:
		return "", 0, false
	}
	at := name.FindStringIndex(line[:pos])[0]
	start := line[at:pos]
	names := t.names(start)
	if len(names) == 0 {
		return line, pos, true
	}
	common := names[0]
	for _, n := range names[1:] {
		for !strings.HasPrefix(n, common) {
			_, last := utf8.DecodeLastRuneInString(common)
			common = common[:len(common)-last]
		}
	}
	if common == start && len(names) > 1 {
		fmt.Fprintln(tamer{t}, wrapped("  "+strings.Join(names, " "), t.width()))
	}
	return line[:at] + common + line[pos:], at + len(common), true
}
