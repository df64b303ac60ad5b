package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/artifacts"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
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
	return a.closed(d, a.collectFrom(d, configs, o))
}

// collectFrom is collect with the state open.
func (a *app) collectFrom(d *state.Dir, configs []string, o *stateFlags) int {
	r := &reach{map[string]bool{}, map[string]bool{}}
	for _, c := range configs {
		if !a.reachedBy(d.Path, c, r) {
			return exitError
		}
	}
	waste, err := results.Unreached(d.Path, r.folders)
	if err != nil {
		return a.fail(err)
	}
	away, err := a.wasteAway(d, r)
	if err != nil {
		return a.fail(err)
	}
	for _, n := range d.State.Names() { // of blocks that are elsewhere alone
		x, err := addr.Parse(n)
		dir := results.Folder(x)
		if err == nil && away != nil && !r.folders[dir] && results.NewDisk(d.Path).Gone(dir) {
			waste = append(waste, results.Holding{Folder: dir})
		}
	}
	if !o.dryRun {
		if err := a.free(d, waste, away, o.approve); err != nil {
			return a.fail(err)
		}
	}
	a.printFreed(waste, away, o.dryRun)
	return exitOK
}

// reach is what configurations reach: folders of blocks in the state's, and recipes.
type reach struct{ folders, recipes map[string]bool }

// reachedBy adds what a configuration reaches, which is given by a pipeline's folder or by a saved plan. It reports
// whether that could be found out; if not, it has said why.
func (a *app) reachedBy(stateDir, config string, r *reach) bool {
	one := *a
	saved, err := one.savedPlan([]string{config})
	if err != nil {
		a.fail(err)
		return false
	}
	path := config
	if saved != nil {
		path = saved.Path
	}
	one.stateDir, one.selection = stateDir, plan.Selection{} // also what the plan leaves out or replaces is reached
	p, ok := one.plan([]string{path}, false)
	if !ok {
		return false
	}
	a.files, a.secrets = one.files, one.secrets
	for _, x := range p.Actions {
		if x.Verb == plan.Deferred {
			a.fail(fmt.Errorf("what %s reaches is known only after other blocks have run: apply %s first. Nothing "+
				"was deleted", x.Addr, config))
			return false
		}
	}
	maps.Copy(r.folders, p.Reached())
	p.Recipes(r.recipes)
	return true
}

// awayWaste is what no configuration reaches of what a state has in its place of artifacts.
type awayWaste struct {
	*artifacts.Waste
	store *artifacts.Store
	place string
}

// wasteAway returns what no configuration reaches of what the state has in its place of artifacts; nil if it has none.
// What lies in a folder that is reached is reached there too.
func (a *app) wasteAway(d *state.Dir, r *reach) (*awayWaste, error) {
	place, err := a.artifactsOf(d.Path)
	if err != nil || place == nil {
		return nil, err
	}
	recipes, err := results.Recipes(d.Path, r.folders)
	if err != nil {
		return nil, err
	}
	maps.Copy(recipes, r.recipes)
	for _, n := range d.State.Names() {
		b := d.State.Blocks[n]
		if x, err := addr.Parse(n); err == nil && (r.folders[results.Folder(x)] || b.Protected) {
			recipes[b.Recipe] = true
		}
	}
	store := place.For(d.State.Lineage)
	w, err := store.Unreached(a.ctx, func(recipe string) bool { return recipes[recipe] })
	if err != nil || w.Empty() {
		return nil, err
	}
	return &awayWaste{w, store, place.String()}, nil
}

// free deletes folders, and what is elsewhere, after a question.
func (a *app) free(d *state.Dir, waste []results.Holding, away *awayWaste, approve bool) error {
	var lost, folders []string
	for _, w := range waste {
		folders = append(folders, w.Folder)
		lost = append(lost, held([]results.Holding{w}))
	}
	if away != nil {
		lost = append(lost, fmt.Sprintf("%s in %s", away, away.place))
	}
	if len(lost) == 0 {
		return nil
	}
	lost = []string{"this would delete " + strings.Join(lost, "; ")}
	if err := results.CheckProtected(d.State, folders); err != nil {
		return err
	}
	if !approve {
		err := a.ask(lost, "deleted", "Use -auto-approve to allow it, or -dry-run to see what it frees")
		if err != nil {
			return err
		}
	}
	if a.ctx.Err() != nil {
		return errors.New("nothing was deleted")
	}
	if away != nil {
		if err := away.store.Free(a.ctx, away.Waste); err != nil {
			return err
		}
	}
	return results.Free(d, folders)
}

// printFreed says what was deleted, or would be.
func (a *app) printFreed(waste []results.Holding, away *awayWaste, dryRun bool) {
	total := int64(0)
	for _, w := range waste {
		total += w.Bytes
	}
	if a.json {
		m := map[string]any{"freed": append([]results.Holding{}, waste...), "bytes": total, "dry_run": dryRun}
		if away != nil {
			m["artifacts"] = map[string]any{"place": away.place, "freed": away.Entries, "bytes": away.Bytes}
		}
		a.line(m)
		return
	}
	for _, w := range waste {
		fmt.Fprintf(a.stdout, "- %s\n", held([]results.Holding{w}))
	}
	verb := "Freed"
	if dryRun {
		verb = "Would free"
	}
	if away != nil {
		fmt.Fprintf(a.stdout, "%s %s in %s.\n", verb, away, away.place)
	}
	if len(waste) == 0 {
		if away == nil {
			fmt.Fprintln(a.stdout, "Nothing to free: the configuration reaches all that the state holds.")
		}
		return
	}
	fmt.Fprintf(a.stdout, "%s %s in %s.\n", verb, dsl.FormatBytes(total), words.Plural(len(waste), "folder"))
}
