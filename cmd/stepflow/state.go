package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"stepflow/dsl"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// state opens the state of the pipeline that -dir names, for reading.
func (a *app) state() (*state.Dir, error) {
	path, err := a.statePath()
	if err != nil {
		return nil, err
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
func (a *app) statePath() (string, error) {
	if a.stateDir != "" {
		return a.stateDir, nil
	}
	dir := a.dir
	st, err := os.Stat(dir)
	if err != nil {
		return "", fmt.Errorf("the pipeline's folder: %w", err)
	}
	if !st.IsDir() {
		dir = filepath.Dir(dir)
	}
	return state.Default(dir)
}

// inspectFlags are those of commands whose argument is something else than the pipeline.
func inspectFlags(a *app, f *flag.FlagSet) {
	f.BoolVar(&a.json, "json", false, "write JSON for machines")
	f.StringVar(&a.stateDir, "state-dir", "",
		"folder of state, checkpoints and caches (default: .stepflow in the pipeline's folder)")
	f.StringVar(&a.dir, "dir", ".", "folder of the pipeline")
}

func stateCommand() command {
	return command{name: "state", args: "list | check | rebuild | rm ADDR …", most: 100, flags: inspectFlags,
		short: "Lists, checks or forgets the blocks in the state.",
		synopsis: "Lists the blocks in the state, checks the state, makes a lost or damaged state again from the " +
			"results on disk, or forgets blocks: their files are removed and they run again.",
		example: "stepflow state list -dir pipelines/quickstart\n" +
			"stepflow state rm -dir pipelines/quickstart evaluate.perplexity.final",
		run: func(a *app, args []string) int {
			switch {
			case len(args) == 1 && args[0] == "list":
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
			case len(args) == 1 && args[0] == "check":
				d, err := a.state()
				if err != nil {
					return a.fail(err)
				}
				if err := results.CheckState(d); err != nil {
					return a.fail(err)
				}
				if a.json {
					a.line(map[string]any{"blocks": len(d.State.Blocks), "sound": true})
				} else {
					fmt.Fprintf(a.stdout, "%s, all as recorded.\n", plural(len(d.State.Blocks), "block"))
				}
				return exitOK
			case len(args) == 1 && args[0] == "rebuild":
				return a.rebuild()
			case len(args) >= 2 && args[0] == "rm":
				return a.forget(args[1:])
			}
			hint := ""
			if len(args) == 2 {
				hint = aFolder(args[1])
			}
			return a.misuse("stepflow state: write state list, state check, state rebuild or state rm ADDR …%s", hint)
		}}
}

// rebuild makes the state again from what is on disk. What the state file held before is kept beside it.
func (a *app) rebuild() int {
	path, err := a.statePath()
	if err != nil {
		return a.fail(err)
	}
	if _, err := os.Stat(path); err != nil {
		return a.fail(fmt.Errorf("there is no state to rebuild: %w", err))
	}
	d, kept, err := state.Replace(path)
	if err != nil {
		return a.fail(err)
	}
	defer d.Close()
	skipped, err := results.Rebuild(d)
	if err == nil {
		err = d.Save()
	}
	if err != nil {
		return a.fail(err)
	}
	if a.json {
		a.line(map[string]any{"blocks": append([]string{}, d.State.Names()...),
			"left_out": append([]string{}, skipped...), "kept": kept})
		return exitOK
	}
	for _, n := range d.State.Names() {
		b := d.State.Blocks[n]
		fmt.Fprintf(a.stdout, "%s: %s", n, b.Status)
		if b.Steps > 0 {
			fmt.Fprintf(a.stdout, ", step %d of %d", b.Step, b.Steps)
		}
		fmt.Fprintln(a.stdout)
	}
	for _, s := range skipped {
		fmt.Fprintf(a.stderr, "%s left out %s\n", a.paint(yellow, "Warning:"), s)
	}
	fmt.Fprintf(a.stdout, "The state has %s again. Outputs come back with the next apply.\n",
		plural(len(d.State.Blocks), "block"))
	if kept != "" {
		fmt.Fprintf(a.stdout, "What the state file held is kept in %s.\n", kept)
	}
	return exitOK
}

// forget checks all names before it removes the first.
func (a *app) forget(names []string) int {
	read, err := a.state()
	if err != nil {
		return a.fail(err)
	}
	missing := func(s *state.State) error {
		for _, n := range names {
			if s.Blocks[n] == nil {
				return fmt.Errorf("the state has no block %s.%s Nothing was removed", n, dsl.Suggest(n, s.Names()))
			}
		}
		return nil
	}
	if err := missing(read.State); err != nil {
		return a.fail(err)
	}
	d, err := state.Open(read.Path)
	if err != nil {
		return a.fail(err)
	}
	defer d.Close()
	if err := missing(d.State); err != nil { // another process may have removed one meanwhile
		return a.fail(err)
	}
	if err := results.Forget(d, names); err != nil {
		return a.fail(err)
	}
	if a.json {
		a.line(map[string]any{"removed": names})
		return exitOK
	}
	for _, n := range names {
		fmt.Fprintf(a.stdout, "removed %s\n", n)
	}
	return exitOK
}
