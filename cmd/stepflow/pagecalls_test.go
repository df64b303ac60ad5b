package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mvdan.cc/sh/v3/syntax"
)

// TestPagesCall wants what pages call to be there: the subcommands and flags of stepflow, with values that they take,
// and the targets of make. So commands that cannot run in a test stay right.
func TestPagesCall(t *testing.T) {
	for _, p := range readPages(t) {
		for _, b := range p.blocks {
			var lines string
			switch b.lang {
			case "sh", "test":
				lines = b.text
			case "console":
				steps, _ := steps(page{name: p.name, blocks: []block{b}})
				for _, s := range steps {
					lines += s.text
				}
			}
			for _, err := range checkCalls(lines) {
				t.Errorf("%s:%d: %v", p.name, b.line, err)
			}
		}
		for _, s := range p.spans {
			if err := checkMention(s); err != nil {
				t.Errorf("%s: `%s`: %v", p.name, s, err)
			}
		}
	}
}

// TestCallsAreChecked shows what is found wrong in commands.
func TestCallsAreChecked(t *testing.T) {
	for line, wrong := range map[string]bool{
		"stepflow plan -var steps=2 -device-memory 24GiB p":        false,
		"STEPFLOW_LOG=debug bin/stepflow -chdir=p apply | tee log": false,
		`echo "$(stepflow output -raw loss)"`:                      false,
		"stepflow data stat docs.jsonl && make test":               false,
		"stepflow plna":                       true,
		"stepflow plan -devise cpu":           true,
		"stepflow profile -steps many":        true,
		`echo "$(stepflow output -row loss)"`: true,
		"stepflow data count docs.jsonl":      true,
		"stepflow version one two":            true,
		"make tset":                           true,
		"stepflow plan 'p":                    true,
	} {
		if errs := checkCalls(line); (errs != nil) != wrong {
			t.Errorf("%s: %v", line, errs)
		}
	}
	for span, wrong := range map[string]bool{
		"stepflow plan [-json] [-verbose]": false,
		"stepflow data stat|head SOURCE":   false,
		"stepflow COMMAND -help":           false,
		"stepflow plan -jsno":              true,
		"stepflow paln":                    true,
		"bin/stepflow plan -jsno":          true,
		"-device-memory 24GiB":             false,
		"-devise-memory 24GiB":             true,
		"make test CAMPAIGN=\"-seed 7\"":   false,
		"make tset":                        true,
	} {
		if err := checkMention(span); (err != nil) != wrong {
			t.Errorf("%s: %v", span, err)
		}
	}
}

// checkCalls says what is wrong with commands.
func checkCalls(lines string) (errs []error) {
	file, err := syntax.NewParser().Parse(strings.NewReader(lines), "")
	if err != nil {
		return []error{err}
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		call, ok := n.(*syntax.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		var words []string
		for _, w := range call.Args {
			words = append(words, literal(w))
		}
		switch {
		case path.Base(words[0]) == "stepflow":
			err = checkCall(words[1:])
		case words[0] == "make":
			err = checkMake(words[1:])
		default:
			return true
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", strings.Join(words, " "), err))
		}
		return true
	})
	return errs
}

// literal is a word of a command; 1 stands for what only a shell knows.
func literal(w *syntax.Word) string {
	var b strings.Builder
	var add func(parts []syntax.WordPart)
	add = func(parts []syntax.WordPart) {
		for _, p := range parts {
			switch p := p.(type) {
			case *syntax.Lit:
				b.WriteString(p.Value)
			case *syntax.SglQuoted:
				b.WriteString(p.Value)
			case *syntax.DblQuoted:
				add(p.Parts)
			default:
				b.WriteString("1")
			}
		}
	}
	add(w.Parts)
	return b.String()
}

// checkCall checks the words after stepflow.
func checkCall(words []string) error {
	if len(words) > 0 && strings.HasPrefix(words[0], "-chdir=") {
		words = words[1:]
	}
	if len(words) == 0 || words[0] == "help" {
		return nil
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == words[0] })
	if i < 0 {
		return fmt.Errorf("there is no command %s", words[0])
	}
	c := &commands[i]
	args, err := parseFlags(c.flagSet(&app{}), words[1:])
	if err != nil {
		return err
	}
	if len(args) > c.most {
		return fmt.Errorf("%s takes at most %d arguments", c.name, c.most)
	}
	if verbs := verbsOf(c); len(args) > 0 && verbs != nil && !slices.Contains(verbs, args[0]) {
		return fmt.Errorf("%s takes one of %s", c.name, strings.Join(verbs, ", "))
	}
	return nil
}

// verbsOf lists the words that a command wants first, such as stat and head of data.
func verbsOf(c *command) []string {
	var verbs []string
	for _, w := range strings.FieldsFunc(regexp.MustCompile(`\[[^\]]*\]`).ReplaceAllString(c.args, ""), func(r rune) bool { return r == ' ' || r == '|' }) {
		if w[0] >= 'a' && w[0] <= 'z' {
			verbs = append(verbs, w)
		}
	}
	return verbs
}

// checkMake checks the words after make.
func checkMake(words []string) error {
	text, err := os.ReadFile(repository + "/Makefile")
	if err != nil {
		return err
	}
	for _, w := range words {
		if !strings.Contains(w, "=") && !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(w)+`:`).Match(text) {
			return fmt.Errorf("the Makefile has no target %s", w)
		}
	}
	return nil
}

// bareFlag is a flag that a sentence names without its command.
var bareFlag = regexp.MustCompile(`^-([a-z][a-z-]+|[a-z])(?:$|[ =])`)

// others are mentions of something else: flags of all commands and of go test, the name of a span.
var others = []string{"-chdir", "-help", "-update", "make vocabulary"}

// checkMention checks a call of stepflow in a sentence, where brackets, bars and words in capitals stand for what varies.
func checkMention(span string) error {
	if slices.Contains(others, span) {
		return nil
	}
	if rest, ok := strings.CutPrefix(span, "make "); ok {
		target, _, _ := strings.Cut(rest, " ")
		return checkMake([]string{target})
	}
	if name := bareFlag.FindStringSubmatch(span); name != nil &&
		!slices.ContainsFunc(commands, func(c command) bool { return c.flagSet(&app{}).Lookup(name[1]) != nil }) {
		return fmt.Errorf("no command has a flag -%s", name[1])
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(span, "bin/"), "stepflow ")
	if !ok {
		return nil
	}
	words := strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune(" []|`", r) })
	if len(words) > 0 && strings.HasPrefix(words[0], "-chdir") {
		words = words[1:]
	}
	if len(words) == 0 || words[0] == "help" || strings.ToUpper(words[0]) == words[0] {
		return nil
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == words[0] })
	if i < 0 {
		return errors.New("there is no such command")
	}
	flags := commands[i].flagSet(&app{})
	for _, w := range words[1:] {
		name, _, _ := strings.Cut(strings.TrimLeft(w, "-"), "=")
		if strings.HasPrefix(w, "-") && name != "" && name != "help" && flags.Lookup(name) == nil {
			return fmt.Errorf("%s has no flag -%s", words[0], name)
		}
	}
	return nil
}
