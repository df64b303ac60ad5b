package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/foreign"
	"stepflow/gpu"
	"stepflow/gpu/group"
	"stepflow/runtime/apply"
	"stepflow/runtime/plan"
	"stepflow/runtime/words"
)

// Exit codes. exitCodes explains them.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 1
	exitChanges     = 2
	exitUnreadable  = 2
	exitUnformatted = 3
	exitInterrupted = 130
)

// exitCodes is what scripts may rely on.
var exitCodes = []struct {
	code int
	when string
}{
	{exitOK, "done; of plan -detailed-exitcode: nothing is to run"},
	{exitError, "an error, a mistake in the flags or arguments, or trained work that nobody agreed to throw away"},
	{exitChanges, "of plan -detailed-exitcode: something is to run"},
	{exitUnreadable, "of fmt: a file is not valid HCL or cannot be written, and was left as it is"},
	{exitUnformatted, "of fmt -check alone: files are not in canonical form"},
	{exitInterrupted, "ended by Ctrl-C, SIGTERM or SIGHUP; apply goes on from its checkpoint"},
}

// app is one call of the program.
type app struct {
	ctx            context.Context // ends when the program is asked to
	cancel         func()          // ends ctx
	interrupt      *interrupt
	env            []string
	stdin          io.Reader
	stdout, stderr io.Writer

	json, noColor    bool
	device, stateDir string
	deviceMemory     string
	backend          string        // where the state lies besides its folder, as -backend or a saved plan says
	artifacts        string        // where results and checkpoints are kept too
	lock             bool          // take the backend's lock
	lockTimeout      time.Duration // to wait for locks
	capability       string        // of the card to plan for
	dir              string        // of the pipeline, for commands that only read its state
	chdir            string        // the flag -chdir as it was given; "" for none
	threads          int
	parallelism      int                  // blocks that run at once
	imagined         int                  // ranks that a plan is for, though they are not there; 0 for none
	ui               string               // address to serve the run at
	cache            *fineweb.Cache       // of remote data; nil for one of the usual size
	opened           gpu.Device           // the device, once it was needed
	ranks            *group.Group         // that run together; nil for a process alone
	wanted           int                  // ranks to start; 0 for none
	allowMixed       bool                 // ranks may be of different kinds
	world            group.World          // as the launcher tells it
	host             string               // of a rank other than 0
	mine             *rankOutput          // for problems of a rank other than 0
	launched         *launched            // the stepflow that started this rank; nil for none
	group            int                  // its process group
	together         bool                 // all ranks end with the same
	failed           error                // the last error
	given            []dsl.Flag           // -var and -var-file, in their order
	selection        plan.Selection       // -target, -exclude and -replace
	lifecycle        bool                 // the command holds to what lifecycle blocks say
	secrets          *dsl.Secrets         // of the pipeline, once it was read
	files            map[string]*hcl.File // of the pipeline, for showing where problems are
}

// command is a row of the table of commands.
type command struct {
	name     string
	args     string
	short    string // a line of the list of commands
	synopsis string // the help of the command
	example  string
	flags    func(a *app, f *flag.FlagSet)
	most     int // positional arguments at most
	run      func(a *app, args []string) int
}

var commands []command

func init() {
	commands = []command{
		validateCommand(), fmtCommand(), planCommand(), fitsCommand(), applyCommand(), renderCommand(), testCommand(), graphCommand(), showCommand(),
		outputCommand(), consoleCommand(), stateCommand(), reportCommand(), watchCommand(), profileCommand(),
		devicesCommand(), benchCommand(), schemaCommand(), lspCommand(), dataCommand(), forceUnlockCommand(),
		sampleCommand(), generateCommand(), chatCommand(), completionCommand(), versionCommand(),
	}
}

func run(in *interrupt, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{interrupt: in, env: env, stdin: stdin, stdout: stdout, stderr: stderr}
	a.ctx, a.cancel = context.WithCancel(in.ctx)
	defer a.cancel()
	// For what goes wrong before flags are read.
	a.json = slices.ContainsFunc(args, func(s string) bool { return s == "-json" || s == "--json" })
	a.beRank()
	if len(args) > 0 && args[0] == completeWord {
		return a.complete(args[1:])
	}
	if len(args) == 2 && args[0] == apply.RunBlock {
		return a.runBlock(args[1])
	}
	rest, err := changeDir(args)
	if err != nil {
		return a.misuse("stepflow: %v", err)
	}
	if len(rest) < len(args) {
		a.chdir = args[0]
	}
	args = rest
	if len(args) == 0 || args[0] == "help" && (len(args) == 1 || args[1] == "help") ||
		args[0] == "-h" || args[0] == "-help" || args[0] == "--help" {
		usage(stdout)
		return exitOK
	}
	if args[0] == "-version" || args[0] == "--version" {
		args[0] = "version"
	}
	if args[0] == "help" {
		args = []string{args[1], "-help"}
	}
	for i := range commands {
		if commands[i].name != args[0] {
			continue
		}
		given, err := environmentArgs(args[0])
		if err != nil {
			return a.misuse("stepflow %s: %v", args[0], err)
		}
		return a.dispatch(&commands[i], append(given, args[1:]...))
	}
	hint := dsl.Suggest(args[0], commandNames())
	if h, ok := elsewhere[args[0]]; ok {
		hint = " " + h
	}
	return a.misuse("stepflow: there is no command %q.%s Run stepflow help for the list.", args[0], hint)
}

// misuse reports what is wrong with the command line.
func (a *app) misuse(format string, args ...any) int {
	text := fmt.Sprintf(format, args...)
	if a.json {
		a.problemLine("error", text)
	} else {
		fmt.Fprintln(a.stderr, text)
	}
	return exitUsage
}

func commandNames() (names []string) {
	for _, c := range commands {
		names = append(names, c.name)
	}
	return names
}

// flagSet returns the flags of a command, which set what a holds.
func (c *command) flagSet(a *app) *flag.FlagSet {
	f := flag.NewFlagSet(c.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.BoolVar(&a.noColor, "no-color", false, "no colours")
	if c.flags != nil {
		c.flags(a, f)
	}
	return f
}

// dispatch runs a command with its flags and arguments.
func (a *app) dispatch(c *command, args []string) int {
	asked := a.json
	f := c.flagSet(a)
	rest, err := parseFlags(f, args)
	if errors.Is(err, flag.ErrHelp) {
		c.help(a.stdout, f)
		return exitOK
	}
	if err != nil {
		a.json = asked
		return a.misuse("stepflow %s: %v.%s Run stepflow %s -help for its flags.", c.name, err, flagLike(f, err), c.name)
	}
	if len(rest) > c.most {
		return a.misuse("stepflow %s: it takes at most %s, not %d. Usage: stepflow %s",
			c.name, words.Plural(c.most, "argument"), len(rest),
			strings.TrimSpace(c.name+" "+c.args))
	}
	if s := os.Getenv(fineweb.CacheSizeVariable); s != "" {
		n, err := dsl.ParseBytes(s)
		if err != nil {
			return a.fail(fmt.Errorf("%s: %w", fineweb.CacheSizeVariable, err))
		}
		a.cache = fineweb.NewCache(n)
	}
	code := a.asked(c.run(a, rest))
	// A run counts, even where its output is lost.
	if o, ok := a.stdout.(*output); ok && code == exitOK && c.name != "apply" {
		if err := o.failed(); err != nil && !errors.Is(err, syscall.EPIPE) {
			return a.fail(fmt.Errorf("writing the output: %w", err))
		}
	}
	return code
}

// asked is the exit code of a run that may have been asked to end: that of an interrupt, whatever came of it.
func (a *app) asked(code int) int {
	if code == exitError && a.interrupt.ctx.Err() != nil && a.interrupt.held() == "" {
		return exitInterrupted
	}
	return code
}

// flagLike suggests a flag for one that there is not; "" for other errors.
func flagLike(f *flag.FlagSet, err error) string {
	given, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return ""
	}
	var names []string
	f.VisitAll(func(x *flag.Flag) { names = append(names, "-"+x.Name) })
	return dsl.Suggest("-"+given, names)
}

func (c *command) help(w io.Writer, f *flag.FlagSet) {
	fmt.Fprintf(w, "Usage: stepflow %s %s\n\n%s\n\nFlags:\n", c.name, c.args, c.synopsis)
	f.VisitAll(func(x *flag.Flag) {
		def := ""
		if x.DefValue != "" && x.DefValue != "false" && x.DefValue != "0" {
			def = " (default " + x.DefValue + ")"
		}
		fmt.Fprintf(w, "  -%-18s %s%s\n", x.Name, x.Usage, def)
	})
	if c.example != "" {
		fmt.Fprintf(w, "\nExample:\n  %s\n", strings.ReplaceAll(c.example, "\n", "\n  "))
	}
}

func usage(w io.Writer) {
	fmt.Fprint(w, "stepflow trains language models in little memory, from pipelines written in HCL.\n\n"+
		"Usage: stepflow [-chdir=DIR] COMMAND [flags] [DIR]\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-12s %s\n", c.name, c.short)
	}
	fmt.Fprint(w, "\nExit codes:\n")
	for _, c := range exitCodes {
		fmt.Fprintf(w, "  %-12d %s\n", c.code, c.when)
	}
	fmt.Fprint(w, "\nDIR is a folder of *.hcl files, or one such file; default: the current folder. -chdir=DIR goes into "+
		"a folder\nfirst. STEPFLOW_CLI_ARGS holds flags of every command, STEPFLOW_CLI_ARGS_plan those of plan, and so "+
		"on.\n"+
		"stepflow COMMAND -help lists a command's flags and gives an example.\n")
}

func (a *app) inputs() dsl.Inputs {
	return dsl.Inputs{Env: a.env, Flags: a.given}
}

// aFolder says how a folder is given to commands whose arguments are something else; "" if the argument is not a
// folder.
func aFolder(arg string) string {
	if st, err := os.Stat(arg); err != nil || !st.IsDir() {
		return ""
	}
	return fmt.Sprintf(" The folder of the pipeline is given by -dir %s.", foreign.Shown(arg))
}

func dirArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return "."
}

// plan makes a plan and prints what is wrong; ok is false if apply could not go on. patient waits for servers of
// data as long as a run does. That nothing refers to a block which the user asks about is not said.
func (a *app) plan(args []string, patient bool, asked ...addr.Addr) (p *plan.Plan, ok bool) {
	caps, err := a.caps()
	if err != nil {
		a.fail(err)
		return nil, false
	}
	o := a.options(args)
	if err := a.follow(o.Path); err != nil {
		a.fail(err)
		return nil, false
	}
	elsewhere, err := a.elsewhere(o.Path)
	if err != nil {
		a.fail(err)
		return nil, false
	}
	o.Elsewhere = elsewhere
	o.Caps, o.Patient = caps, patient
	p, diags := plan.New(a.ctx, o)
	a.files, a.secrets = p.Config.Files, p.Config.Secrets
	if a.ctx.Err() != nil { // then it is not a whole plan
		a.fail(apply.ErrInterrupted)
		return nil, false
	}
	for _, b := range p.Config.Blocks {
		if slices.ContainsFunc(asked, func(x addr.Addr) bool { return x.Block() == b.Addr }) {
			diags = slices.DeleteFunc(diags,
				func(d *hcl.Diagnostic) bool { return d.Summary == dsl.UnusedBlock && *d.Subject == b.DeclRange })
		}
	}
	a.diagnostics(diags, p.Config.Files)
	return p, !diags.HasErrors()
}

// options are what the flags say to plan.
func (a *app) options(args []string) plan.Options {
	return plan.Options{Path: dirArg(args), Inputs: a.inputs(), StateDir: a.stateDir, Hashing: a.hashing,
		Cache: a.cache, Peak: a.peak, Select: a.selection, Lifecycle: a.lifecycle,
		Machine: a.machine(), Ranks: max(a.imagined, a.ranks.Count()), Rank: a.ranks.Number()}
}

// peak measures the device's rate, of one that is there; 0 for one that was described.
func (a *app) peak(t gpu.DType) float64 {
	kind, _, err := a.which()
	if err != nil || kind != "cpu" && a.opened == nil {
		return 0
	}
	d, err := a.openDevice()
	if err != nil || !d.Caps().Supports(t) {
		return 0
	}
	return d.PeakFLOPs(t)
}

// hashing says what a plan is doing when it takes long.
func (a *app) hashing(file string, bytes int64) {
	if !a.json {
		fmt.Fprintf(a.stderr, "Hashing %s (%s). The hash is kept until the file changes.\n",
			foreign.Shown(file), dsl.FormatBytes(bytes))
	}
}

// fail prints an error that is not the user's text. Of ranks, rank 0 prints those of all.
func (a *app) fail(err error) int {
	if a.ranks.Lost() != nil { // which was printed, and of which this error comes
		return exitError
	}
	if a.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = apply.ErrInterrupted
	}
	a.failed = err
	if a.ranks.Number() == 0 || !a.ranks.Watched() && !a.together {
		a.print(err)
	}
	if errors.Is(err, apply.ErrInterrupted) {
		return exitInterrupted
	}
	return exitError
}

// print prints an error.
func (a *app) print(err error) {
	var left *apply.LeftOutError
	if errors.As(err, &left) {
		err = left.Err
	}
	for _, e := range parts(err) {
		var diags hcl.Diagnostics
		if errors.As(e, &diags) { // of a block that was planned on the way
			a.diagnostics(diags, a.files)
		} else if e = a.secrets.Error(e); a.json {
			a.problemLine("error", e.Error())
		} else {
			fmt.Fprintf(a.stderr, "%s %v\n", a.paint(red, "Error:"), e)
		}
	}
	var more []string
	if remedy := fullDisk(err); remedy != "" {
		more = append(more, remedy)
	}
	if left != nil {
		more = append(more, left.NotRun())
	}
	for _, text := range more {
		if a.json {
			a.problemLine("error", text)
		} else {
			fmt.Fprintln(a.stderr, text)
		}
	}
}

// tell says what is going on, where the output is for people.
func (a *app) tell(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.stderr, format+"\n", args...)
	}
}

// fullDisk says what to do about an error of a disk that takes nothing more, which names the file; "" for other errors.
func fullDisk(err error) string {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return ""
	}
	return "The disk of that file is full, or your share of it. Free some of it (stepflow state gc shows what no block needs), and run " +
		"the command again: what is done is kept, and a stage goes on from its last checkpoint."
}

// parts returns the errors that were joined to one: those of several blocks.
func parts(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
