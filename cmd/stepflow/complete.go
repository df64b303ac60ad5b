package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/mattn/go-shellwords"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/gpu/cuda"
	"stepflow/runtime/state"
)

// completeWord is the command by which the scripts of completion ask what a word may be.
const completeWord = "__complete"

// filesToo is the line that asks the shell to complete names of files.
const filesToo = ":files"

// completer finds what the last word of a command line may be.
type completer struct {
	app     *app
	command *command
	flags   *flag.FlagSet
	args    []string // positional arguments before the word
}

// flagWords and argWords list what the value of a flag and the arguments of a command may be; for others, files.
var flagWords = map[string]func(*completer) []string{
	"target": (*completer).selectable, "exclude": (*completer).selectable, "replace": (*completer).instances,
	"var": (*completer).variables, "stage": (*completer).stages, "eval": (*completer).nothing,
	"filter":  (*completer).tests,
	"backend": (*completer).nothing, "lock-timeout": (*completer).nothing, "device": oneOf("cpu", "cuda"),
	"cards": cardNames, "ui": (*completer).nothing, "prompt": (*completer).nothing, "system": (*completer).nothing,
	"stop-strings": (*completer).nothing, "precision": oneOf("auto", "fp32", "bf16"),
}

var argWords = map[string]func(*completer) []string{
	"show": (*completer).recorded, "output": (*completer).outputs, "profile": (*completer).stages,
	"generate": (*completer).stages, "chat": (*completer).stages,
	"completion": oneOf("bash", "zsh", "fish"), "sample": oneOf("go-docs"), "version": (*completer).nothing,
	"devices": (*completer).nothing, "schema": (*completer).nothing, "bench": (*completer).nothing,
	"lsp":   (*completer).nothing,
	"state": (*completer).stateWords, "data": (*completer).dataWords,
}

// alsoFiles are the commands whose arguments may be files beside what argWords lists.
var alsoFiles = map[string]bool{"show": true, "data": true, "state gc": true, "generate": true, "chat": true}

// takesFiles reports whether the word may be a file beside what argWords lists.
func (c *completer) takesFiles() bool {
	return alsoFiles[c.command.name] || len(c.args) > 0 && alsoFiles[c.command.name+" "+c.args[0]]
}

func cardNames(*completer) (list []string) {
	for _, m := range cuda.Models {
		list = append(list, m.Name)
	}
	return list
}

func oneOf(list ...string) func(*completer) []string {
	return func(*completer) []string { return list }
}

// complete prints what the last of the words of a command line may be, a line each, with what it is after a tab. The
// words are quoted as they were typed.
func (a *app) complete(line []string) int {
	list, files := a.completions(line)
	for _, w := range list {
		fmt.Fprintln(a.stdout, w)
	}
	if files {
		fmt.Fprintln(a.stdout, filesToo)
	}
	return exitOK
}

// completions lists what the last word may be, and whether it may be a file.
func (a *app) completions(line []string) (list []string, files bool) {
	stderr := a.stderr
	a.stderr = io.Discard
	defer func() { a.stderr = stderr }()
	if len(line) == 0 {
		return nil, false
	}
	for i := range line {
		line[i] = unquoted(line[i])
	}
	last := line[len(line)-1]
	line = append(joined(line[:len(line)-1]), last)
	if len(line) == 1 && strings.HasPrefix(line[0], "-chdir=") {
		return nil, true
	}
	line, err := changeDir(line)
	if err != nil || len(line) == 0 {
		return nil, err != nil
	}
	if len(line) == 1 {
		for i := range commands {
			list = append(list, commands[i].name+"\t"+commands[i].short)
		}
		return starting(last, "", append(list, "help\tExplains a command.", "-chdir=\tgo into a folder first")), false
	}
	at := slices.IndexFunc(commands, func(c command) bool { return c.name == line[0] })
	if at < 0 {
		return starting(last, "", commandNames()), false
	}
	c := &completer{app: a, command: &commands[at], flags: commands[at].flagSet(a)}
	before := line[1 : len(line)-1]
	c.args, _ = parseFlags(c.flags, before) // an error ends what can be read

	if a.dir == "" { // commands without -dir take the folder as an argument
		a.dir = dirArg(c.args)
	}
	if name, value := c.flag(before, last); name != "" {
		return c.values(name, value, strings.TrimSuffix(last, value))
	}
	if strings.HasPrefix(last, "-") {
		c.flags.VisitAll(func(x *flag.Flag) { list = append(list, "-"+x.Name+"\t"+x.Usage) })
		return starting(strings.Replace(last, "--", "-", 1), "", list), false
	}
	more := argWords[c.command.name]
	if more == nil {
		return nil, true
	}
	return starting(last, "", more(c)), c.takesFiles()
}

// unquoted returns a word as a command would get it, also if its last quote is not closed yet.
func unquoted(word string) string {
	for _, end := range []string{"", `"`, `'`, `\`} {
		if list, err := shellwords.Parse(word + end); err == nil && len(list) == 1 {
			return list[0]
		}
	}
	return word
}

// joined puts the parts of -flag=value together, which bash splits.
func joined(line []string) (list []string) {
	for _, w := range line {
		n := len(list)
		if n > 0 && (w == "=" || strings.HasSuffix(list[n-1], "=")) && strings.HasPrefix(list[n-1], "-") {
			list[n-1] += w
			continue
		}
		list = append(list, w)
	}
	return list
}

// flag returns the name of the flag whose value the last word is, and as much of the value as is typed; "" if the word
// is not a value.
func (c *completer) flag(before []string, last string) (name, value string) {
	if n := len(before); !strings.HasPrefix(last, "-") && n > 0 && strings.HasPrefix(before[n-1], "-") {
		name, _, given := strings.Cut(strings.TrimLeft(before[n-1], "-"), "=")
		x := c.flags.Lookup(name)
		switch end := strings.HasSuffix(before[n-1], "="); {
		case x == nil || given && !end:
			return "", ""
		case given: // bash splits -flag=value, and the word is the value
			return name, strings.TrimPrefix(last, "=")
		}
		if b, ok := x.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() && last != "=" {
			return "", ""
		}
		return name, strings.TrimPrefix(last, "=")
	}
	if name, value, given := strings.Cut(last, "="); given && strings.HasPrefix(last, "-") {
		return strings.TrimLeft(name, "-"), value
	}
	return "", ""
}

// values lists the values of a flag that start with a text, each after what stands before it in the word.
func (c *completer) values(name, start, before string) (list []string, files bool) {
	if before == "=" {
		before = ""
	}
	more := flagWords[name]
	if more == nil {
		return nil, true
	}
	return starting(start, before, more(c)), false
}

// starting returns those of a list that start with a text, each after what stands before it in the word.
func starting(text, before string, list []string) (found []string) {
	for _, w := range list {
		if strings.HasPrefix(w, text) {
			found = append(found, before+w)
		}
	}
	return found
}

func (c *completer) nothing() []string { return nil }

// config loads the pipeline that the command line names, as far as it can be read.
func (c *completer) config() *dsl.Config {
	in := c.app.inputs()
	in.Open = true
	cfg, _ := dsl.Load(c.app.dir, in)
	return cfg
}

// instances lists the blocks and modules of the pipeline, and the instances of those that are repeated.
func (c *completer) instances() (list []string) {
	cfg := c.config()
	for _, m := range cfg.Modules() {
		list = append(list, m.Instances()...)
	}
	scope := cfg.NewScope()
	for _, b := range cfg.Blocks {
		list = append(list, b.Addr.String())
		if b.Count == nil && b.ForEach == nil {
			continue
		}
		each, diags := scope.Instances(b)
		if diags.HasErrors() {
			continue
		}
		for _, e := range each {
			list = append(list, b.Instance(e).String())
		}
	}
	return list
}

// selectable lists what -target and -exclude take: also what only the state has, as removed blocks let it go.
func (c *completer) selectable() []string {
	list := c.instances()
	for _, name := range c.recorded() {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// stages lists the stages of the pipeline.
func (c *completer) stages() []string {
	return slices.DeleteFunc(c.instances(), func(s string) bool { return !hasKind(s, "stage") })
}

// hasKind reports whether a text is the address of a block of one of the kinds.
func hasKind(s string, kinds ...string) bool {
	a, err := addr.Parse(s)
	return err == nil && slices.Contains(kinds, a.Kind)
}

func (c *completer) variables() (list []string) {
	for name, v := range c.config().Variables {
		list = append(list, strings.TrimSuffix(name+"=\t"+v.Description, "\t"))
	}
	slices.Sort(list)
	return list
}

// tests lists the test files of the pipeline.
func (c *completer) tests() []string {
	list, err := dsl.TestFiles(dirArg(c.args), c.flags.Lookup("test-directory").Value.String())
	if err != nil {
		return nil
	}
	return list
}

// state reads the state; an empty one if it cannot be read.
func (c *completer) state() *state.State {
	path, err := c.app.statePath()
	if err != nil {
		return &state.State{}
	}
	d, err := state.Read(path) // the copy in the folder: a key that is pressed waits for no network
	if err != nil {
		return &state.State{}
	}
	return d.State
}

func (c *completer) recorded() []string { return c.state().Names() }

func (c *completer) outputs() []string { return slices.Sorted(maps.Keys(c.state().Outputs)) }

// stateWords lists what state does, and the addresses that it takes: those of the state, and where mv moves a block to,
// those of the pipeline.
func (c *completer) stateWords() (list []string) {
	if len(c.args) == 0 {
		for _, x := range stateActions {
			list = append(list, x.name)
		}
		return list
	}
	switch to := len(c.args) > 1; {
	case c.args[0] == "mv" && to:
		return c.instances()
	case c.args[0] == "mv", c.args[0] == "rm":
		return c.recorded()
	}
	return nil
}

func (c *completer) dataWords() []string {
	if len(c.args) == 0 {
		return []string{"stat", "head", "tokenize"}
	}
	return slices.DeleteFunc(c.instances(), func(s string) bool { return !hasKind(s, "data", "stage") })
}
