package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// longestPage is how long the commands of a page may take. It only ends those that hang.
const longestPage = 8 * time.Minute

// TestPagesRun runs the commands in the console blocks of each page, and compares what they print with what the page
// shows. With -update, it writes what they print into the page where it differs.
func TestPagesRun(t *testing.T) {
	sample := filepath.Join(t.TempDir(), "sample") // for pages that do not show how it is made
	stepflow(t, "sample", "go-docs", "-o", sample)
	for _, p := range readPages(t) {
		if !slices.ContainsFunc(p.blocks, func(b block) bool { return b.lang == "console" }) {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			problems, updated := runPage(t, p, "SAMPLE="+sample)
			if *update && updated != string(p.text) {
				if err := os.WriteFile(filepath.Join(repository, p.name), []byte(updated), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, problem := range problems {
				t.Error(problem)
			}
		})
	}
}

// step is what the test does at a place of a page: it writes a file, or runs a command.
type step struct {
	file, text string
	line       int
	output     string // that the page shows
	at         int    // where it starts in the page
	measured   bool
}

// fails reports whether the command is to fail: then the page shows its error.
func (s *step) fails() bool {
	return regexp.MustCompile(`(?m)^(Error|stepflow)\b.*:`).MatchString(s.output)
}

// steps lists what is to be done with a page.
func steps(p page) (steps []step, problems []string) {
	for _, b := range p.blocks {
		switch {
		case b.file != "":
			steps = append(steps, step{file: b.file, text: b.text, line: b.line})
		case b.lang == "test":
			steps = append(steps, step{text: b.text, line: b.line})
		case b.lang == "console":
			line, at := b.line, b.at
			inCommand := false
			for l := range strings.Lines(b.text) {
				command, isCommand := strings.CutPrefix(l, "$ ")
				more, isMore := strings.CutPrefix(l, "> ")
				last := len(steps) - 1
				switch {
				case isCommand:
					steps = append(steps, step{text: command, line: line, at: at + len(l), measured: b.measured})
				case line == b.line:
					problems = append(problems, fmt.Sprintf("%s:%d: a console block begins with a command: $ COMMAND", p.name, line))
					return nil, problems
				case inCommand && isMore:
					steps[last].text += more
					steps[last].at += len(l)
				default:
					steps[last].output += l
				}
				inCommand = isCommand || inCommand && isMore
				line++
				at += len(l)
			}
		}
	}
	return steps, problems
}

// mark stands in the output before that of each step, and at the end.
const mark = "\x01"

// script is what bash is to run.
func script(steps []step, dir string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "set -e\ntrap 'printf \"\\1end %%d\\1\" $?; kill $(jobs -p) 2>/dev/null' EXIT\n")
	for i, s := range steps {
		fmt.Fprintf(&b, "printf '\\1%%d\\1' %d\n", i)
		switch {
		case s.file != "":
			source := filepath.Join(dir, strconv.Itoa(i))
			if err := os.WriteFile(source, []byte(s.text), 0o644); err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "mkdir -p '%s' && cp '%s' '%s'\n", filepath.Dir(s.file), source, s.file)
		case s.fails():
			fmt.Fprintf(&b, "if\n%s\nthen printf '\\1passed\\1'; exit 1; fi\n", s.text)
		default:
			fmt.Fprintf(&b, "%s\n", s.text)
		}
	}
	return b.String(), nil
}

// runPage runs the commands of a page in a folder of its own, and says in what it differs from what they print. The
// page with what they print in its place is updated. env has further variables for them.
func runPage(t *testing.T, p page, env ...string) (problems []string, updated string) {
	t.Helper()
	steps, problems := steps(p)
	if problems != nil {
		return problems, string(p.text)
	}
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	text, err := script(steps, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	absolute, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), longestPage)
	defer cancel()
	c := exec.CommandContext(ctx, "bash", "-c", text)
	c.Dir, c.Stdout, c.Stderr = home, out, out
	c.Env = append(env, "PATH="+os.Getenv("PATH"), "HOME="+home, "TMPDIR="+t.TempDir(), "REPOSITORY="+absolute,
		"NO_COLOR=1", "HF_HUB_OFFLINE=1", "AWS_EC2_METADATA_DISABLED=true")
	if isa, ok := os.LookupEnv("STEPFLOW_CPU_ISA"); ok {
		c.Env = append(c.Env, "STEPFLOW_CPU_ISA="+isa)
	}
	c.Run() // what the script wrote says what came of it
	if ctx.Err() != nil {
		problems = append(problems, fmt.Sprintf("%s: its commands were ended after %v", p.name, longestPage))
	}
	all, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(all), mark) // "", "0", output, "1", output, …, "end 0", ""; or in the end "passed", "", "end 1"
	updated = string(p.text)
	for i := len(steps) - 1; i >= 0; i-- {
		s := &steps[i]
		if 2*i+3 >= len(parts) {
			continue // an earlier one failed
		}
		got := plain(parts[2*i+2], home)
		at := fmt.Sprintf("%s:%d: %s", p.name, s.line, strings.TrimSpace(s.text))
		next := parts[2*i+3]
		if code, ended := strings.CutPrefix(next, "end "); ended && (i < len(steps)-1 || code != "0") {
			problems = append(problems, fmt.Sprintf("%s\nended with exit code %s:\n%s", at, code, got))
			continue
		}
		if next == "passed" {
			problems = append(problems, fmt.Sprintf("%s\ndid not fail, and the page shows an error:\n%s", at, got))
			continue
		}
		if s.output != "" && !matches(s.output, got, s.measured) {
			problems = append(problems, fmt.Sprintf("%s\nprints\n%s\nand the page shows\n%s", at, got, s.output))
			updated = updated[:s.at] + got + updated[s.at+len(s.output):]
		}
	}
	slices.Reverse(problems)
	return problems, updated
}

// shownHome stands on pages for the folder in which their commands run.
const shownHome = "/home/me"

// plain is an output as a page may show it.
func plain(output, home string) string {
	output = strings.Trim(strings.ReplaceAll(output, home, shownHome), "\n")
	var b strings.Builder
	for line := range strings.Lines(output) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// TestPageIsTested shows what is found wrong with a page.
func TestPageIsTested(t *testing.T) {
	for name, x := range map[string]struct{ text, wrong string }{
		"files, folders and variables last": {"```hcl file=p/main.hcl\noutput \"v\" { value = var.v }\nvariable \"v\" { default = 1 }\n```\n\n```console\n$ cd p\n$ export STEPFLOW_VAR_v=2\n```\n\n" +
			"```console\n$ stepflow console -eval var.v\n\"2\"\n$ pwd\n/home/me/p\n```\n", ""},
		"a comment runs, unseen":          {"<!-- test:\necho 1 >f\n-->\n\n```console\n$ cat f\n1\n```\n", ""},
		"a command of several lines":      {"```console\n$ for i in 1 2\n> do echo $i; done\n1\n2\n```\n", ""},
		"a command that is to fail":       {"```console\n$ stepflow plna\nstepflow: there is no command \"plna\". …\n$ echo on\non\n```\n", ""},
		"output that is not shown":        {"```console\n$ echo 1\n$ echo 2\n2\n```\n", ""},
		"other output":                    {"Text.\n\n```console\n$ echo 1\n2\n```\n", "page:4: echo 1\nprints\n1\n"},
		"a failure":                       {"```console\n$ echo no; false\nno\n```\n", "page:2: echo no; false\nended with exit code 1:\nno\n"},
		"a failure in a comment":          {"<!-- test: false -->\n\n```console\n$ echo 1\n```\n", "page:1: false\nended with exit code 1"},
		"success instead of an error":     {"```console\n$ echo Error: no\nError: no\n```\n", "page:2: echo Error: no\ndid not fail"},
		"a block that is not a command":   {"```console\nstepflow plan\n```\n", "begins with a command"},
		"no command after one that fails": {"```console\n$ false\n$ echo 1\n2\n```\n", "page:2: false"},
	} {
		problems, _ := runPage(t, parsePage("page", []byte(x.text)))
		if got := strings.Join(problems, "\n"); x.wrong == "" && got != "" || !strings.Contains(got, x.wrong) || len(problems) > 1 {
			t.Errorf("%s: %q", name, got)
		}
	}
	p := parsePage("page", []byte("```console\n$ echo 1\n2\n$ echo 3\n…\n$ echo 4; echo 5\n4\n```\n"))
	if _, updated := runPage(t, p); updated != "```console\n$ echo 1\n1\n$ echo 3\n…\n$ echo 4; echo 5\n4\n5\n```\n" {
		t.Errorf("the page becomes %q", updated)
	}
}
