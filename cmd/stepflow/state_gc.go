package main

import (
	"errors"
	"fmt"
	"maps"
	"os"

	"stepflow/dsl"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// collect deletes the results and checkpoints that no configuration reaches.
func (a *app) collect(o *stateFlags, configs []string) int {
	path, err := a.statePath()
	if err != nil {
		return a.fail(err)
	}
	if _, err := os.Stat(path); err != nil { // opening it would make it
		return a.fail(fmt.Errorf("there is no state, so nothing can be freed: %w", err))
	}
	if len(configs) == 0 {
		configs = []string{a.dir}
	}
	d, err := a.openState("state gc", path)
	if err != nil {
		return a.fail(err)
	}
	code := a.collectFrom(d, configs, o)
	return a.closed(d, code)
}

// collectFrom is collect with the state open.
func (a *app) collectFrom(d *state.Dir, configs []string, o *stateFlags) int {
	path, reached := d.Path, map[string]bool{}
	for _, c := range configs {
		folders, ok := a.reachedBy(path, c)
		if !ok {
			return exitError
		}
		maps.Copy(reached, folders)
	}
	waste, err := results.Unreached(path, reached)
	if err != nil {
		return a.fail(err)
	}
	if !o.dryRun {
		if err := a.free(d, waste, o.approve); err != nil {
			return a.fail(err)
		}
	}
	a.printFreed(waste, o.dryRun)
	return exitOK
}

// reachedBy returns the folders in a state that the configuration reaches which a pipeline's folder or a saved plan
// names. ok is false if that could not be found out, which it has said.
func (a *app) reachedBy(stateDir, config string) (folders map[string]bool, ok bool) {
	one := *a
	saved, err := one.savedPlan([]string{config})
	if err != nil {
		a.fail(err)
		return nil, false
	}
	path := config
	if saved != nil {
		path = saved.Path
	}
	one.stateDir, one.selection = stateDir, plan.Selection{} // also what the plan leaves out or replaces is reached
	p, ok := one.plan([]string{path}, false)
	if !ok {
		return nil, false
	}
	a.files, a.secrets = one.files, one.secrets
	for _, x := range p.Actions {
		if x.Verb == plan.Deferred {
			a.fail(fmt.Errorf("what %s reaches is known only after other blocks have run: apply %s first. Nothing was "+
				"deleted", x.Addr, config))
			return nil, false
		}
	}
	return p.Reached(), true
}

// free deletes folders, after a question.
func (a *app) free(d *state.Dir, waste []results.Holding, approve bool) error {
	var lost, folders []string
	for _, w := range waste {
		folders = append(folders, w.Folder)
		lost = append(lost, "this would delete "+held([]results.Holding{w}))
	}
	if len(folders) == 0 {
		return nil
	}
	if err := results.Protected(d.State, folders); err != nil {
		return err
	}
	if !approve {
		if err := a.ask(lost, "deleted", "Use -auto-approve to allow it, or -dry-run to see what it frees"); err != nil {
			return err
		}
	}
	if a.ctx.Err() != nil {
		return errors.New("nothing was deleted")
	}
	return results.Free(d, folders)
}

// printFreed says what was deleted, or would be.
func (a *app) printFreed(waste []results.Holding, dryRun bool) {
	total := int64(0)
	for _, w := range waste {
		total += w.Bytes
	}
	if a.json {
		a.line(map[string]any{"freed": append([]results.Holding{}, waste...), "bytes": total, "dry_run": dryRun})
		return
	}
	for _, w := range waste {
		fmt.Fprintf(a.stdout, "- %s\n", held([]results.Holding{w}))
	}
	verb := "Freed"
	if dryRun {
		verb = "Would free"
	}
	if len(waste) == 0 {
		fmt.Fprintln(a.stdout, "Nothing to free: the configuration reaches all that the state holds.")
		return
	}
	fmt.Fprintf(a.stdout, "%s %s in %s.\n", verb, dsl.FormatBytes(total), plural(len(waste), "folder"))
}
