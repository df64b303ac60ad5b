package runtime

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"stepflow/dsl/addr"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

func isDamage(err error) bool { return errors.Is(err, checkpoint.ErrDamaged) }

// runs reports whether a block has something to run; others are configuration.
func (a *Action) runs() bool {
	return a.Stage != nil || a.Evaluate != nil || a.Export != nil || a.Token != nil && a.Token.path == ""
}

// decide sets what is to be done with a block. What the state recorded under its recipe is up to date if its bytes are as
// recorded; else whatever is on disk of the recipe is taken, a result before a checkpoint, wherever it lies; only then is the
// block run from its start. An error says that something could not be read, which is no reason to make it again.
func (p *planner) decide(a *Action) error {
	a.Recipe = p.recipe(a)
	p.ids[a.Addr] = a.Recipe
	if !a.runs() {
		a.Verb = Ready
		return nil
	}
	old := p.state.Blocks[a.Addr.String()]
	found, damage, err := p.look(a, old)
	if err != nil {
		return err
	}
	before := p.madeBefore(a)
	first, made := p.making[a.Recipe]
	switch {
	case made && a.shareable() && (found == nil || !found.Done):
		a.Verb, a.Why = Same, "the same as "+first.String()
	case found == nil:
		a.Verb, a.Why = Run, p.reason(a, old, damage)
		if dir := p.gone(a, old); dir != "" {
			a.Why = dir + " is gone"
			if a.Stage != nil {
				a.Warnings = append(a.Warnings, fmt.Sprintf("%s is gone: %d steps will be trained again. If it lies on a disk that is not there at the moment, bring that back first", dir, old.Step))
			}
		}
	case !found.Done:
		a.Verb, a.FromStep, a.found = Resume, found.Step, found
		why := "it was interrupted"
		if before != "" && damage != nil {
			why = p.reason(a, old, damage)
		}
		a.Why = fmt.Sprintf("%s; the checkpoint at step %d of %d is intact", why, found.Step, a.Stage.Steps)
		p.takeOver(a, old)
	default:
		a.Verb, a.found = UpToDate, found
		p.ids[a.Addr] = found.id
		if s := diagnosisOf(found.Values); s != "" {
			a.Warnings = append(a.Warnings, s)
		}
		p.takeOver(a, old)
	}
	if before != "" && a.Verb != UpToDate {
		p.ids[a.Addr] = before // what stands on it is not asked about
	}
	if a.Export != nil && a.Verb == UpToDate {
		if err := a.Export.check(a.Recipe); err != nil {
			a.Verb, a.Why, a.found, a.Moved = Run, err.Error(), nil, ""
			if was := found.Attrs["path"]; was != a.Attrs["path"] && a.Export.holds.Manifest == nil {
				a.Why = fmt.Sprintf("path was %s, is %s", was, a.Attrs["path"])
			}
		}
	}
	if a.Export != nil && a.Verb == Run {
		a.Replaces = a.Export.replaces(p.state, a.Recipe)
	}
	p.pending[a.Addr] = a.Verb == Run || a.Verb == Resume || a.Verb == Same
	switch {
	case a.Verb == Run:
		a.Losses, err = p.losses(a)
	case a.Stage != nil && a.found != nil:
		a.Removes, err = p.surplus(a)
	}
	if (a.Verb == Run || a.Verb == Resume) && a.shareable() && p.making != nil {
		p.making[a.Recipe] = a.Addr
	}
	return err
}

// madeBefore is the content of what a block's recipe made once, on this kind of processor as far as is known: making it again gives
// the same bits. It is empty where nothing is known to have been made.
func (p *planner) madeBefore(a *Action) string {
	content := func(b *state.Block) string {
		switch {
		case b == nil || b.Recipe != a.Recipe || b.Device != "" && b.Device != p.caps.Name:
			return ""
		case b.Status == state.Done:
			return b.Content
		}
		return b.Earlier
	}
	if c := content(p.state.Blocks[a.Addr.String()]); c != "" {
		return c
	}
	for _, name := range slices.Sorted(maps.Keys(p.state.Blocks)) { // of a block that was renamed, or of one like it
		if c := content(p.state.Blocks[name]); c != "" {
			return c
		}
	}
	return ""
}

// shareable reports whether a block of the same recipe takes over what this one makes: not an export, which writes to its own path,
// nor a block whose values are not kept.
func (a *Action) shareable() bool {
	for _, hidden := range a.hidden {
		if hidden {
			return false
		}
	}
	return a.Export == nil
}

// surplus are the steps of the checkpoints beyond keep of a stage that has ended or goes on.
func (p *planner) surplus(a *Action) ([]int, error) {
	root := filepath.Join(p.stateDir, a.found.block)
	if a.found.Done {
		return surplus(root, a.found.leaf, a.Stage.KeepEnded)
	}
	steps, err := checkpoint.Steps(root)
	steps = slices.DeleteFunc(steps, func(s int) bool { return s > a.FromStep })
	return steps[min(a.Stage.Keep, len(steps)):], err
}

// surplus are the steps of the checkpoints in a block's folder that are more than keep, of which the result is one.
func surplus(root, result string, keep int) ([]int, error) {
	steps, err := checkpoint.Steps(root)
	steps = slices.DeleteFunc(steps, func(s int) bool { return filepath.Base(checkpoint.StepDir(root, s)) == result })
	return steps[min(max(keep-1, 0), len(steps)):], err
}

// look finds the best that is on disk of an action's recipe; nil if there is nothing whole. damage says what is wrong with
// what should have been there.
func (p *planner) look(a *Action, old *state.Block) (found *onDisk, damage, err error) {
	return p.lookAgain(a, old, 20)
}

// lookAgain is look, which begins again, at most so many times, where a run that goes on removed what was listed a moment ago.
func (p *planner) lookAgain(a *Action, old *state.Block, again int) (found *onDisk, damage, err error) {
	warned := len(a.Warnings)
	finds, err := p.finds(a)
	if err != nil {
		return nil, nil, err
	}
	recorded := old != nil && old.Recipe == a.Recipe && old.Status == state.Done
	if recorded && !slices.ContainsFunc(finds, func(f *onDisk) bool { return f.dir() == old.Dir }) {
		damage = p.check(old.Dir).err
		if damage == nil {
			damage = fmt.Errorf("%w: %s holds something else", checkpoint.ErrDamaged, filepath.Join(p.stateDir, old.Dir))
		}
		if !isDamage(damage) {
			return nil, nil, damage
		}
	}
	for _, f := range finds {
		if !f.Done && a.Stage == nil {
			continue
		}
		err := p.intact(a, f)
		if isDamage(err) && again > 0 && p.removed(f) {
			a.Warnings = a.Warnings[:warned]
			p.changed(f.block)
			return p.lookAgain(a, old, again-1)
		}
		if err == nil && recorded && f.dir() == old.Dir && f.id != old.Content {
			err = fmt.Errorf("%w: %s is not what the state recorded", checkpoint.ErrDamaged, filepath.Join(p.stateDir, f.dir()))
		}
		switch {
		case err == nil:
			return f, damage, nil
		case !isDamage(err):
			return nil, nil, err
		case !f.Done:
			a.Warnings = append(a.Warnings, fmt.Sprintf("the checkpoint at step %d is not used: %v", f.Step, err))
		}
		if damage == nil {
			damage = err
		}
	}
	return nil, damage, nil
}

// takeOver notes where what was found lies, if that is not where the state has it.
func (p *planner) takeOver(a *Action, old *state.Block) {
	f := a.found
	if f.block != a.Dir() {
		a.Moved = f.Address
		for name := range p.state.Blocks { // what it is called now, if it was moved before
			if x, err := addr.Parse(name); err == nil && BlockDir(x) == f.block {
				a.Moved = name
			}
		}
	}
	if a.Verb != UpToDate {
		return
	}
	switch {
	case f.block != a.Dir() && a.Moved != a.Addr.String():
		a.Why = "moved from " + a.Moved
	case f.block != a.Dir():
		a.Why = "it was set aside when another took its place, and comes back"
	case old == nil || old.Status != state.Done || old.Recipe != f.Recipe || old.Dir != f.dir():
		a.Why = "found by its recipe, not by the state"
	}
}

// gone is the folder of what the state records under the block's recipe, if it is not there; else "".
func (p *planner) gone(a *Action, old *state.Block) string {
	if old == nil || old.Recipe != a.Recipe {
		return ""
	}
	dir := old.Dir
	if old.Status != state.Done {
		if dir = a.Dir(); old.Step == 0 { // nothing was saved
			return ""
		}
	}
	dir = filepath.Join(p.stateDir, dir)
	if _, err := os.Lstat(dir); !isDamage(checkpoint.Damage(err)) {
		return ""
	}
	return dir
}

// reason says why a block runs from its start.
func (p *planner) reason(a *Action, old *state.Block, damage error) string {
	switch {
	case damage != nil:
		return fmt.Sprintf("what it made is gone or damaged: %v", damage)
	case old == nil:
		return "it has not run yet"
	case old.Recipe != a.Recipe:
		return p.difference(a, old)
	case a.Stage != nil && old.Step > 0:
		return fmt.Sprintf("it was at step %d of %d, and its checkpoints are gone or damaged", old.Step, old.Steps)
	case a.Stage != nil:
		return "it was started and has no checkpoint yet"
	}
	return "it was started and did not end"
}

// settle looks at all actions together: what one of them takes from another's folder is not lost when that one runs, and what
// two of them are made of is not moved.
func (p *planner) settle(actions []*Action) {
	taken := map[string]bool{}
	for _, a := range actions {
		if a.Moved == "" {
			continue
		}
		taken[a.found.block] = true
		if from, err := addr.Parse(a.Moved); err == nil {
			if other := p.done[from]; other != nil && other != a && other.Recipe == a.Recipe {
				a.Why, a.Removes = "the same as "+a.Moved, nil // the other keeps its own
			}
		}
	}
	for _, a := range actions {
		a.Losses = slices.DeleteFunc(a.Losses, func(l Loss) bool { return taken[l.Folder] })
	}
}

// stale reports whether the state's entry of an up-to-date block says something else than the block does now.
func stale(a *Action, b *state.Block) bool {
	return b == nil || b.Recipe != a.Recipe || b.Status != state.Done && a.found.Done || b.Dir != filepath.Join(a.Dir(), a.found.leaf) && a.found.Done ||
		!maps.Equal(b.Attrs, a.Attrs) || !maps.Equal(b.Inputs, a.Inputs)
}
