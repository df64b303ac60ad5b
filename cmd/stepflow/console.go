package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"golang.org/x/term"

	"stepflow/dsl"
	"stepflow/runtime/plan"
)

func consoleCommand() command {
	var texts []string
	return command{name: "console", args: "[flags] [DIR]", most: 1,
		short: "Evaluates expressions over the pipeline and its state.",
		synopsis: "Evaluates expressions, one a line or until its brackets are closed, over variables, locals, blocks as " +
			"they are planned, and outputs. plan[\"ADDR\"] is what plan -json shows of a block, state[\"ADDR\"] what the " +
			"state holds of it. On a terminal, Tab completes names and the arrow keys go through earlier lines; exit or " +
			"Ctrl-D ends. Nothing is run and nothing is changed. From a pipe, the first error ends with 1.",
		example: "stepflow console pipelines/quickstart\n" +
			"stepflow console -eval 'plan[\"stage.seed\"].stage.peak_bytes / 1024' pipelines/quickstart",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			f.Func("eval", "evaluate this expression and end; can be repeated", func(s string) error {
				texts = append(texts, s)
				return nil
			})
		},
		run: func(a *app, args []string) int {
			p, ok := a.plan(args, false)
			if !ok {
				return exitError
			}
			c, err := p.NewConsole(map[string]any{"plan": figures(p), "state": stateJSON(p.State)["blocks"]})
			if err != nil {
				return a.fail(err)
			}
			in, terminal := a.stdin.(*os.File)
			switch {
			case len(texts) > 0:
				if slices.ContainsFunc(texts, func(s string) bool { return !a.evaluate(c, s) }) {
					return exitError
				}
				return exitOK
			case terminal && isTerminal(in) && a.moves():
				return a.converse(c, p, in)
			}
			return a.evaluateAll(c, lines(a.stdin))
		}}
}

// lines returns a function that reads the next line of r, and fails with io.EOF after the last.
func lines(r io.Reader) func(bool) (string, error) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, dsl.MaxSource)
	return func(bool) (string, error) {
		if s.Scan() {
			return s.Text(), nil
		}
		switch err := s.Err(); {
		case err == nil:
			return "", io.EOF
		case errors.Is(err, bufio.ErrTooLong):
			return "", errors.New("an expression is longer than " + dsl.FormatBytes(dsl.MaxSource))
		default:
			return "", err
		}
	}
}

// expression reads lines until no bracket is open. next reads a line, and is told whether it goes on from others.
func expression(next func(more bool) (string, error)) (string, error) {
	text, err := next(false)
	for open := dsl.Opens(text); err == nil && open > 0 && len(text) <= dsl.MaxSource; {
		line, e := next(true)
		if e == io.EOF {
			break // the parser says what is missing
		}
		err, open, text = e, open+dsl.Opens(line), text+"\n"+line
	}
	return text, err
}

// evaluateAll evaluates expressions up to the first error.
func (a *app) evaluateAll(c *plan.Console, next func(bool) (string, error)) int {
	for {
		line, err := expression(next)
		switch {
		case err == io.EOF:
			return exitOK
		case err != nil:
			return a.fail(err)
		case strings.TrimSpace(line) == "exit":
			return exitOK
		case !a.evaluate(c, line):
			return exitError
		}
	}
}

// evaluate prints the value of an expression, and reports whether it has one.
func (a *app) evaluate(c *plan.Console, text string) bool {
	if strings.TrimSpace(text) == "" {
		return true
	}
	v, file, diags := c.Eval(text)
	a.diagnostics(diags, map[string]*hcl.File{dsl.ConsoleName: file})
	if diags.HasErrors() {
		return false
	}
	if a.json {
		known, _ := dsl.Plain(v)
		a.line(known)
	} else {
		fmt.Fprintln(a.stdout, dsl.Show(v))
	}
	return true
}

// tamer writes text to a terminal as it may be shown.
type tamer struct{ to io.Writer }

func (t tamer) Write(p []byte) (int, error) {
	_, err := t.to.Write(tamed(p))
	return len(p), err
}

// converse evaluates what is typed at a terminal.
func (a *app) converse(c *plan.Console, p *plan.Plan, in *os.File) int {
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return a.fail(err)
	}
	restore := func() { term.Restore(int(in.Fd()), before) }
	defer restore()
	a.interrupt.atExit(restore)
	screen := a.stdout.(*output)
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, screen.file}, "> ")
	if width, height, err := term.GetSize(int(screen.file.Fd())); err == nil && width > 0 {
		t.SetSize(width, height)
	}
	t.AutoCompleteCallback = tabbed(t, p)
	stdout, stderr := a.stdout, a.stderr
	a.stdout, a.stderr = tamer{t}, tamer{t}
	defer func() { a.stdout, a.stderr = stdout, stderr }()
	next := func(more bool) (string, error) {
		t.SetPrompt(map[bool]string{false: "> ", true: "  "}[more])
		return t.ReadLine()
	}
	for {
		line, err := expression(next)
		if err != nil || strings.TrimSpace(line) == "exit" {
			return exitOK // also at Ctrl-C and Ctrl-D
		}
		a.evaluate(c, line)
	}
}

// partOfName are the characters of a name that can be completed, and those between its parts.
const partOfName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.[]\""

// tabbed completes the name before the cursor at Tab: as far as it is clear, else it lists what the name may be.
func tabbed(t *term.Terminal, p *plan.Plan) func(line string, pos int, key rune) (string, int, bool) {
	return func(line string, pos int, key rune) (string, int, bool) {
		if key != '\t' {
			return "", 0, false
		}
		at := strings.LastIndexFunc(line[:pos], func(r rune) bool { return !strings.ContainsRune(partOfName, r) }) + 1
		start := line[at:pos]
		names := p.Config.Complete(start)
		if len(names) == 0 {
			return line, pos, true
		}
		common := names[0]
		for _, n := range names[1:] {
			for !strings.HasPrefix(n, common) {
				common = common[:len(common)-1]
			}
		}
		if common == start && len(names) > 1 {
			fmt.Fprintln(t, wrapped("  "+strings.Join(names, " "), 80))
		}
		return line[:at] + common + line[pos:], at + len(common), true
	}
}
