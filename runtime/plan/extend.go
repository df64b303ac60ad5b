package plan

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"

	"stepflow/runtime/blocks"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// extendable returns the block as one that can go on from where a run of another length was; nil if it cannot.
func (a *Action) extendable() blocks.Extendable {
	if x, ok := a.Block.(blocks.Extendable); ok && a.imported() == nil {
		return x
	}
	return nil
}

// course returns what a block has in common with those of another length; nil if it cannot be extended.
func (f *Fold) course(a *Action) *state.Course {
	x := a.extendable()
	if x == nil {
		return nil
	}
	id := f.hash(a, func(w io.Writer) {
		fmt.Fprintln(w, "course") // so that it is never a recipe
		x.Course(w)
	})
	return &state.Course{ID: id, Pace: x.Pace()}
}

// runOrExtend decides how a block runs if nothing of its recipe is on disk: from where a run of another length was, or
// else from its start.
func (f *Fold) runOrExtend(ctx context.Context, a *Action, old *state.Block, damage error) (err error) {
	if a.Course != nil {
		if a.Base, err = f.base(ctx, a); err != nil {
			return err
		}
	}
	a.Why = f.reason(a, old, damage)
	if a.Base == nil {
		a.Verb = Run
		f.warnGone(a, old)
		f.warnAnew(a, old)
		a.reason = a.Why
		return nil
	}
	a.Verb, a.FromStep = Extend, a.Base.Step
	of := ""
	if own := results.Folder(f.lies(a.Addr)); a.Base.Block != own && a.Base.Address != a.Addr.String() {
		of = a.Base.Address
	}
	a.reason = a.Why
	a.Why = goesOn(a, of, a.reason)
	return nil
}

// base returns the latest intact result or checkpoint of a run of another length whose steps up to there are the
// block's own; nil if there is none.
func (f *Fold) base(ctx context.Context, a *Action) (*results.Found, error) {
	x := a.extendable()
	finds, err := f.Disk.Finds(f.lies(a.Addr), a.Course.ID)
	if err != nil {
		return nil, err
	}
	away, err := f.Disk.Further(ctx, f.lies(a.Addr), a.Course.ID)
	finds = append(finds, away...)
	slices.SortStableFunc(finds, func(p, q *results.Found) int { return q.Step - p.Step })
	for _, b := range finds {
		if b.Done && x.Merges() || b.Step < 1 || !x.Shares(b.Step, b.Course.Pace) {
			continue
		}
		switch err := f.Disk.Intact(ctx, b, x.Files(b.Done)); {
		case err == nil:
			return b, nil
		case !results.IsDamage(err):
			return nil, err
		}
		a.Warn(fmt.Sprintf("it cannot go on from step %d: %v", b.Step, err))
	}
	return nil, err
}

// warnAnew says why a finished run of the block is not extended, if all that changed is how long it runs, and what
// would have saved its steps.
func (f *Fold) warnAnew(a *Action, old *state.Block) {
	x := a.extendable()
	if x == nil || old == nil || old.Status != state.Done || old.Import != nil || old.Recipe == a.Recipe {
		return
	}
	switch {
	case old.Course != nil && old.Course.ID == a.Course.ID && f.Disk.Gone(old.Dir):
		a.Warn(fmt.Sprintf("it cannot go on from the end of its %d steps: %s is gone. If it is on a disk that is not "+
			"mounted, mount that first", old.Steps, filepath.Join(f.Disk.Path, old.Dir)))
	case old.Course != nil && old.Course.ID == a.Course.ID:
		a.Warn(x.Anew(old.Course.Pace))
	case old.Course == nil && x.NumSteps() > old.Steps && onlyLonger(a, old):
		a.Warn(fmt.Sprintf("it cannot go on from the end of its %d steps: they were trained by an older stepflow, which did "+
			"not record by what schedule", old.Steps))
	}
}

// onlyLonger reports whether a block differs from its entry in the state in nothing but attributes that say the same
// in several ways, such as its length.
func onlyLonger(a *Action, old *state.Block) bool {
	others := func(attrs map[string]string) map[string]string {
		attrs = maps.Clone(attrs)
		maps.DeleteFunc(attrs, func(name, _ string) bool { return !hashes(a.Addr.Kind, name) || resolved(a.Addr.Kind, name) })
		return attrs
	}
	return maps.Equal(others(a.Attrs), others(old.Attrs)) && maps.Equal(a.Inputs, old.Inputs)
}
