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

	"stepflow/dsl"
	"stepflow/runtime/plan"
)

func consoleCommand() command {
	var texts []string
	return command{name: "console", args: "[flags] [DIR]", most: 1,
		short: "Evaluates expressions over the pipeline and its state.",
		synopsis: "Evaluates expressions, one a line or until its brackets are closed, over variables, locals, blocks as " +
			"they are planned, and outputs. plan[\"ADDR\"] is what plan -json shows of a block, state[\"ADDR\"] what the " +
			"state holds of it. On a terminal, Tab completes names, the arrow keys go through earlier lines, and " +
			"Ctrl-C drops what is typed; exit or Ctrl-D ends. Nothing is run and nothing is changed. From a pipe, the first " +
			"error ends with 1.",
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
				return a.converse(c, in)
			}
			return a.evaluateAll(c, lines(a.stdin, "an expression"))
		}}
}

// lines returns a function that reads the next line of r, and fails with io.EOF after the last. what is what a line is,
// for the error of one that is too long.
func lines(r io.Reader, what string) func(bool) (string, error) {
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
			return "", errors.New(what + " is longer than " + dsl.FormatBytes(dsl.MaxSource))
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
