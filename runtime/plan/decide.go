package plan

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// decide chooses what to do with a block. A result that the state records under the block's recipe is up to date if its
// bytes are as recorded. Else a result of the recipe anywhere on disk is taken, else a checkpoint; only then is the
// block run from its start. An error says that something could not be read, which is no reason to make it again.
func (f *Fold) decide(ctx context.Context, a *Action) error {
	a.Recipe = f.recipe(a)
	a.id = a.Recipe
	a.Course = f.course(a)
	if a.task() == nil {
		a.Verb = Ready
		return nil
	}
	old := f.world.State.Blocks[a.Addr.String()]
	found, damage, err := f.Look(ctx, a, old)
	if err != nil {
		return err
	}
	again, why := matches(f.choice.replace, a.Addr), "-replace asks for it"
	a.Triggers = f.triggers(a)
	if t := a.triggered(old); t != "" && !again {
		again, why = true, t+" changed, which replace_triggered_by names"
	}
	if again {
		if found, err = f.replacement(ctx, a, old); err != nil {
			return err
		}
	}
	a.again = again && found == nil
	before := f.MadeBefore(a)
	first, made := f.making[a.Recipe]
	switch {
	case a.again && a.imported() == nil:
		a.Verb, a.Why = Run, why
	case a.again:
		f.bringIn(a, why)
	case made && a.Shareable() && (found == nil || !found.Done):
		a.Verb, a.Why, a.After = Same, "the same as "+first.String(), first
	case found == nil && a.imported() != nil:
		f.bringIn(a, importReason(a.imported(), old, damage))
	case found == nil:
		if err := f.runOrExtend(ctx, a, old, damage); err != nil {
			return err
		}
	case !found.Done:
		a.Verb, a.FromStep, a.Found = Resume, found.Step, found
		why := "it was interrupted"
		if before != "" && damage != nil {
			why = f.reason(a, old, damage)
		}
		a.Why = fmt.Sprintf("%s; the checkpoint at step %d of %d is %s", why, found.Step, a.stepped().NumSteps(),
			whereabouts(found))
		f.takeOver(a, old)
	default:
		a.Verb, a.Found, a.id = UpToDate, found, found.ID
		a.Warn(blocks.Diagnosis(found.Values))
		if f.takeOver(a, old); a.Why == "" {
			a.Why, _ = found.Values[blocks.Ended].(string)
		}
	}
	if before != "" && a.Verb != UpToDate {
		a.id = before // the same bits will come, so blocks made from it stay up to date
	}
	if w := a.writer(); w != nil {
		f.decideWriter(a, w)
	}
	a.pending, a.ownStep = a.Verb.Works() || a.Verb == Same, a.FromStep
	switch {
	case a.Verb == Run || a.Verb == Extend || a.Verb == Import:
		a.Losses, err = f.losses(a)
	case a.stepped() != nil && a.Found != nil:
		a.Removes, err = f.surplus(a)
	}
	return err
}

// whereabouts says where a checkpoint is that can be gone on from.
func whereabouts(f *results.Found) string {
	if f.Away == nil {
		return "intact"
	}
	return fmt.Sprintf("in %s, %s to fetch", f.Away.Where, dsl.FormatBytes(f.Away.Bytes))
}

// replacement returns the latest intact checkpoint of a run that -replace began and that was interrupted; nil if there
// is none.
func (f *Fold) replacement(ctx context.Context, a *Action, old *state.Block) (*results.Found, error) {
	if old == nil || old.Status == state.Done || old.Recipe != a.Recipe || old.Earlier == "" || a.stepped() == nil {
		return nil, nil
	}
	from := f.lies(a.Addr)
	finds, err := f.Disk.Finds(from, a.Recipe)
	if err != nil {
		return nil, err
	}
	return f.firstIntact(ctx, a, slices.DeleteFunc(finds, func(x *results.Found) bool {
		return x.Done || x.Block != results.Folder(from)
	}))
}

// firstIntact returns the first of some results and checkpoints of a block that is intact; nil if there is none.
func (f *Fold) firstIntact(ctx context.Context, a *Action, list []*results.Found) (*results.Found, error) {
	for _, x := range list {
		switch err := f.Disk.Intact(ctx, x, a.task().Files(x.Done)); {
		case err == nil:
			return x, nil
		case !results.IsDamage(err):
			return nil, err
		}
	}
	return nil, nil
}

// decideWriter looks into the folder that a block writes to.
func (f *Fold) decideWriter(a *Action, w blocks.Writer) {
	if a.Verb == UpToDate {
		if err := w.Holds(a.Recipe); err != nil {
			was := a.Found.Attrs["path"]
			a.Verb, a.Why, a.Found, a.Moved = Run, err.Error(), nil, ""
			if was != a.Attrs["path"] && w.Empty() {
				a.Why = fmt.Sprintf("path was %s, is %s", was, a.Attrs["path"])
			}
		}
	}
	if a.Verb == Run {
		a.Replaces = w.Replaces(f.world.State, a.Recipe)
	}
}

// MadeBefore returns the content id of what a block's recipe made before on this kind of processor, as far as is known:
// making it again gives the same bits. It returns "" if no such result is known.
func (f *Fold) MadeBefore(a *Action) string {
	content := func(b *state.Block) string {
		switch {
		case b == nil || b.Recipe != a.Recipe || b.Device != "" && b.Device != f.world.Caps.Name:
			return ""
		case b.Status == state.Done:
			return b.Content
		}
		return b.Earlier
	}
	all := f.world.State.Blocks
	if c := content(all[a.Addr.String()]); c != "" {
		return c
	}
	first, made := "", ""
	for name, b := range all { // of a block that was renamed, or of one like it
		if c := content(b); c != "" && (first == "" || name < first) {
			first, made = name, c
		}
	}
	return made
}

// surplus lists the steps of the checkpoints beyond keep of a block that has ended or resumes.
func (f *Fold) surplus(a *Action) ([]int, error) {
	root := filepath.Join(f.Disk.Path, a.Found.Block)
	running, ended := a.stepped().Keeps()
	if a.Found.Done {
		return results.Surplus(root, a.Found.Leaf, ended)
	}
	steps, err := checkpoint.Steps(root)
	steps = slices.DeleteFunc(steps, func(s int) bool { return s > a.FromStep })
	return steps[min(running, len(steps)):], err
}

// Look finds the best intact result or checkpoint of an action's recipe; nil if there is none. old is the state's entry
// of the block. damage says what is wrong with a result or checkpoint that should have been intact.
func (f *Fold) Look(ctx context.Context, a *Action, old *state.Block) (found *results.Found, damage, err error) {
	found, damage, err = f.lookAgain(ctx, a, old, 20)
	if err != nil || found != nil && found.Done {
		return found, damage, err
	}
	away, err := f.lookElsewhere(ctx, a, old)
	if away != nil && (found == nil || away.Done || away.Step > found.Step) {
		return away, damage, err
	}
	return found, damage, err
}

// lookElsewhere is Look for what is not on this disk.
func (f *Fold) lookElsewhere(ctx context.Context, a *Action, old *state.Block) (*results.Found, error) {
	list, err := f.Disk.Further(ctx, f.lies(a.Addr), a.Recipe)
	if err != nil {
		return nil, err
	}
	return f.firstIntact(ctx, a, slices.DeleteFunc(list, func(x *results.Found) bool {
		other := old != nil && old.Recipe == a.Recipe && old.Status == state.Done && x.Done && x.ID != old.Content
		return other || !x.Done && a.stepped() == nil
	}))
}

// lookAgain is Look. It starts over, at most again times, if another process removed a folder after it was listed.
func (f *Fold) lookAgain(ctx context.Context, a *Action, old *state.Block, again int) (found *results.Found, damage,
	err error) {
	warned := len(a.Warnings)
	finds, err := f.Disk.Finds(f.lies(a.Addr), a.Recipe)
	if err != nil {
		return nil, nil, err
	}
	recorded := old != nil && old.Recipe == a.Recipe && old.Status == state.Done
	if recorded && !slices.ContainsFunc(finds, func(x *results.Found) bool { return x.Dir() == old.Dir }) {
		damage = f.Disk.Check(ctx, old.Dir).Err
		if damage == nil {
			damage = fmt.Errorf("%w: %s holds something else", checkpoint.ErrDamaged, filepath.Join(f.Disk.Path, old.Dir))
		}
		if !results.IsDamage(damage) {
			return nil, nil, damage
		}
	}
	for _, x := range finds {
		if !x.Done && a.stepped() == nil {
			continue
		}
		err := f.Disk.Intact(ctx, x, a.task().Files(x.Done))
		if results.IsDamage(err) && again > 0 && f.Disk.Gone(x.Dir()) {
			a.Warnings = a.Warnings[:warned]
			f.Disk.Changed(x.Block)
			return f.lookAgain(ctx, a, old, again-1)
		}
		if err == nil && recorded && x.Dir() == old.Dir && x.ID != old.Content {
			err = fmt.Errorf("%w: %s is not what the state recorded", checkpoint.ErrDamaged, filepath.Join(f.Disk.Path, x.Dir()))
		}
		switch {
		case err == nil:
			return x, damage, nil
		case !results.IsDamage(err):
			return nil, nil, err
		case !x.Done:
			a.Warn(fmt.Sprintf("the checkpoint at step %d is not used: %v", x.Step, err))
		}
		if damage == nil {
			damage = err
		}
	}
	return nil, damage, nil
}

// takeOver notes where a result or checkpoint was found, if that is not where the state has it.
func (f *Fold) takeOver(a *Action, old *state.Block) {
	x, own := a.Found, results.Folder(a.Addr)
	if x.Block != own {
		a.Moved = x.Address
		for name := range f.world.State.Blocks { // its address now, if it was moved before
			if at, err := addr.Parse(name); err == nil && results.Folder(at) == x.Block {
				a.Moved = name
			}
		}
		if from := f.lies(a.Addr); results.Folder(from) == x.Block {
			a.Moved = from.String()
		}
	}
	if a.Verb != UpToDate {
		return
	}
	switch {
	case x.Block != own && a.Moved != a.Addr.String():
		a.Why = "moved from " + a.Moved
	case x.Block != own:
		a.Why = "it was set aside when another result took its place, and is put back"
	case x.Away != nil:
		a.Why = fmt.Sprintf("in %s, %s to fetch if something needs it", x.Away.Where, dsl.FormatBytes(x.Away.Bytes))
	case old == nil || old.Status != state.Done || old.Recipe != x.Recipe || old.Dir != x.Dir():
		a.Why = "found by its recipe, not by the state"
	}
}

// warnGone gives a block that is to run the reason that its recorded folder is missing, and warns of the steps to be
// trained again.
func (f *Fold) warnGone(a *Action, old *state.Block) {
	if old == nil || old.Recipe != a.Recipe {
		return
	}
	dir := old.Dir
	if old.Status != state.Done {
		if dir = results.Folder(f.lies(a.Addr)); old.Step == 0 { // nothing was saved
			return
		}
	}
	dir = filepath.Join(f.Disk.Path, dir)
	if _, err := os.Lstat(dir); !results.IsDamage(checkpoint.Damage(err)) {
		return
	}
	a.Why = dir + " is gone"
	if a.stepped() != nil {
		a.Warn(fmt.Sprintf("%s is gone: %d steps will be trained again. If it is on a disk that is not mounted, mount "+
			"that first",
			dir, old.Step))
	}
}

// bringIn decides that a block's result is imported.
func (f *Fold) bringIn(a *Action, why string) {
	a.Verb, a.Why = Import, why
	if x, ok := a.Block.(blocks.Picky); ok && x.Refuse(f.world.Caps) != nil {
		a.Warn(fmt.Sprintf("apply would refuse this: %v", x.Refuse(f.world.Caps)))
	}
}

// importReason returns why a result is imported.
func importReason(im *state.Import, old *state.Block, damage error) string {
	switch why := "it comes from " + im.ID; {
	case damage != nil:
		return fmt.Sprintf("%s, and what was imported is gone or damaged: %v", why, damage)
	case old == nil || old.Import == nil:
		return why
	case old.Import.ID != im.ID:
		return fmt.Sprintf("%s, and came from %s", why, old.Import.ID)
	case old.Import.Files != im.Files:
		return why + ", whose files have changed"
	default:
		return why + ", and its model, precision or tokenizer has changed"
	}
}

// reason returns why a block runs from its start.
func (f *Fold) reason(a *Action, old *state.Block, damage error) string {
	switch {
	case damage != nil:
		return fmt.Sprintf("what it made is gone or damaged: %v", damage)
	case old == nil:
		return "it has not run yet"
	case old.Recipe != a.Recipe:
		return f.difference(a, old)
	case a.stepped() != nil && old.Step > 0:
		return fmt.Sprintf("it was at step %d of %d, and its checkpoints are gone or damaged", old.Step, old.Steps)
	case a.stepped() != nil:
		return "it was started and has no checkpoint yet"
	}
	return "it was started and did not end"
}
