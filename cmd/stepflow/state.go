package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/runtime/state/remote"
	"stepflow/runtime/words"
)

// state opens the state of the pipeline that -dir names, for reading.
func (a *app) state() (*state.Dir, error) {
	path, err := a.statePath()
	if err != nil {
		return nil, err
	}
	if err := a.follow(a.dir); err != nil && (!errors.Is(err, remote.ErrUnreachable) || !isFile(filepath.Join(path,
		state.FileName))) {
		return nil, err
	} else if err != nil {
		a.warn(fmt.Errorf("%w. This is what the folder remembers", err))
	}
	d, err := state.Read(path)
	if err == nil && d.Lost {
		return nil, fmt.Errorf("%s is lost, though there are results beside it: \"stepflow state rebuild\" makes it "+
			"again; so does apply",
			filepath.Join(path, state.FileName))
	}
	return d, err
}

// statePath is the folder of the state that -state-dir or -dir names.
func (a *app) statePath() (string, error) { return a.stateOf(a.dir) }

// stateOf is the folder of the state that -state-dir names, or else that of a pipeline.
func (a *app) stateOf(dir string) (string, error) {
	if a.stateDir != "" {
		return a.stateDir, nil
	}
	st, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("the pipeline's folder: %w", err)
	}
	if !st.IsDir() {
		dir = filepath.Dir(dir)
	}
	return state.Default(dir)
}

// stateAction is a row of the table of what stepflow state does.
type stateAction struct {
	name, args  string
	least, most int // arguments
	run         func(a *app, o *stateFlags, args []string) int
}

// stateFlags are the flags of stepflow state that not all its actions have.
type stateFlags struct{ remove, dryRun, approve, force bool }

var stateActions = []stateAction{
	{"list", "", 0, 0, (*app).listState},
	{"check", "", 0, 0, (*app).checkState},
	{"mv", " [-dry-run] FROM TO", 2, 2, (*app).rename},
	{"rm", " [-delete] ADDR …", 1, 100, (*app).forget},
	{"gc", " [-dry-run] [CONFIG …]", 0, 100, (*app).collect},
	{"pull", "", 0, 0, (*app).pull},
	{"push", " [-force] [FILE]", 0, 1, (*app).push},
	{"rebuild", "", 0, 0, (*app).rebuild},
}

// stateUsage lists what stepflow state does, with words before each and between the last two.
func stateUsage(before, between, last string) string {
	var list []string
	for _, x := range stateActions {
		list = append(list, before+x.name+x.args)
	}
	n := len(list) - 1
	return strings.Join(list[:n], between) + last + list[n]
}

func stateCommand() command {
	var o stateFlags
	return command{name: "state", args: stateUsage("", " | ", " | "), most: 101,
		flags: func(a *app, f *flag.FlagSet) {
			inspectFlags(a, f)
			planning(a, f)
			locking(a, f)
			f.BoolVar(&o.remove, "delete", false, "rm: delete the files of the blocks too")
			f.BoolVar(&o.dryRun, "dry-run", false, "mv, gc: only say what would be done")
			f.BoolVar(&o.force, "force", false, "push: replace a state that is newer, or of another pipeline")
			f.BoolVar(&o.approve, "auto-approve", false, "gc: do not ask before anything is deleted")
		},
		short: "Lists, checks or changes what the state records.",
		synopsis: "list: the blocks in the state. check: compares results with what the state recorded. mv: gives a " +
			"block another address, with its files. rm: forgets blocks; their files stay, and a block with their " +
			"recipe finds them again, unless -delete deletes them. gc: deletes the results and checkpoints that no " +
			"configuration reaches, and says how many bytes that frees; CONFIG is a pipeline's folder or a plan saved " +
			"by plan -out, by default the folder of -dir. pull: prints the state as JSON, from where it lies. push: " +
			"puts the state of this folder, or of FILE (- for the standard input), to where -backend says. rebuild: " +
			"makes a lost or damaged state again from the results on disk.",
		example: "stepflow state list -dir pipelines/quickstart\n" +
			"stepflow state rm -delete -dir pipelines/quickstart evaluate.perplexity.final\n" +
			"stepflow state gc -dry-run -dir pipelines/quickstart",
		run: func(a *app, args []string) int {
			for _, x := range stateActions {
				if n := len(args) - 1; n >= x.least && n <= x.most && args[0] == x.name {
					return x.run(a, &o, args[1:])
				}
			}
			hint := ""
			if len(args) == 2 {
				hint = aFolder(args[1])
			}
			return a.misuse("stepflow state: write %s%s", stateUsage("state ", ", ", " or "), hint)
		}}
}

// listState prints the addresses in the state.
func (a *app) listState(*stateFlags, []string) int {
	d, err := a.state()
	if err != nil {
		return a.fail(err)
	}
	if a.json {
		a.line(append([]string{}, d.State.Names()...))
		return exitOK
	}
	for _, n := range d.State.Names() {
		fmt.Fprintln(a.stdout, n)
	}
	return exitOK
}

// checkState compares all results with what the state recorded of them.
func (a *app) checkState(*stateFlags, []string) int {
	d, err := a.state()
	if err != nil {
		return a.fail(err)
	}
	disk := results.NewDisk(d.Path)
	if disk.Elsewhere, err = a.elsewhere(a.dir); err == nil {
		err = disk.CheckState(a.ctx, d)
	}
	if err != nil {
		return a.fail(err)
	}
	if a.json {
		a.line(map[string]any{"blocks": len(d.State.Blocks), "sound": true})
	} else {
		fmt.Fprintf(a.stdout, "%s, all as recorded.\n", words.Plural(len(d.State.Blocks), "block"))
	}
	return exitOK
}

// rebuild makes the state again from what is on disk. What the state file held before is kept beside it.
func (a *app) rebuild(*stateFlags, []string) int {
	path, err := a.statePath()
	if err != nil {
		return a.fail(err)
	}
	if _, err := os.Stat(path); err != nil {
		return a.fail(fmt.Errorf("there is no state to rebuild: %w", err))
	}
	access, err := a.access("state rebuild", path)
	if err != nil {
		return a.fail(err)
	}
	d, kept, err := access.Replace(a.ctx, path)
	if err != nil {
		return a.fail(err)
	}
	skipped, err := results.Rebuild(d)
	if err == nil {
		err = d.Save()
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return a.fail(err)
	}
	if a.json {
		a.line(map[string]any{"blocks": append([]string{}, d.State.Names()...),
			"left_out": append([]string{}, skipped...), "kept": kept})
		return exitOK
	}
	for _, n := range d.State.Names() {
		a.printStatus(n, d.State.Blocks[n])
	}
	for _, s := range skipped {
		fmt.Fprintf(a.stderr, "%s left out %s\n", a.paint(yellow, "Warning:"), s)
	}
	fmt.Fprintf(a.stdout, "The state has %s again. Outputs come back with the next apply.\n",
		words.Plural(len(d.State.Blocks), "block"))
	if kept != "" {
		fmt.Fprintf(a.stdout, "What the state file held is kept in %s.\n", kept)
	}
	return exitOK
}
