package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/exportdir"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
)

// adopt puts the result or checkpoint that was found for an action in the block's place, moved or shared with a block
// of the same recipe, and records it in the state.
func (r *runner) adopt(ctx context.Context, a *plan.Action) error {
	f, own := a.Found, results.Folder(a.Addr)
	if f.Block != own {
		owner, shared := r.owner(f)
		if err := r.fold.Disk.Take(f, a.Addr, shared); err != nil {
			return err
		}
		if old := r.dir.State.Blocks[owner]; !shared && old != nil && old.Recipe == f.Recipe {
			delete(r.dir.State.Blocks, owner)
		}
	}
	for name, b := range r.dir.State.Blocks { // a run killed after a move may have left the old name
		if name == a.Addr.String() || b.Recipe != f.Recipe || b.Dir == "" || r.fold.Disk.Elsewhere != nil {
			continue
		}
		if _, err := os.Lstat(filepath.Join(r.dir.Path, b.Dir)); errors.Is(err, fs.ErrNotExist) {
			delete(r.dir.State.Blocks, name)
		}
	}
	// The process that put it there may have been killed before it was durable, and its checkpoints go once it is
	// recorded.
	if f.Away == nil {
		if err := durable.SyncDir(filepath.Join(r.dir.Path, own)); err != nil {
			return err
		}
	}
	entry := r.found(a, own)
	f.Block = own
	if err := r.record(a, entry); err != nil || entry.Status != state.Done {
		return err
	}
	return r.settled(a.Addr, entry) // a process that was killed before its record left the checkpoints behind
}

// found returns the state's entry of the result or checkpoint that was found for an action, in a folder of the block's.
func (r *runner) found(a *plan.Action, folder string) *state.Block {
	entry := a.Found.Entry(folder)
	entry.Attrs, entry.Inputs, entry.Secrets = a.Attrs, a.Inputs, r.dir.State.Seals(a.Secret)
	if old := r.dir.State.Blocks[a.Addr.String()]; old != nil && old.Recipe == a.Found.Recipe {
		entry.Started, entry.Trace, entry.TraceEnded = old.Started, old.Trace, old.TraceEnded
	}
	return entry
}

// owner returns the address of the block whose folder f lies in, "" if it was set aside, and whether that block may
// still need it there.
func (r *runner) owner(f *results.Found) (address string, shared bool) {
	for _, x := range r.plan.Actions {
		if results.Folder(x.Addr) == f.Block {
			return x.Addr.String(), x.Recipe == f.Recipe || x.Verb == plan.Deferred
		}
	}
	for name := range r.dir.State.Blocks {
		if x, err := addr.Parse(name); err == nil && results.Folder(x) == f.Block {
			return name, r.plan.LeavesOut(x)
		}
	}
	return "", false
}

// moves adopts what the plan found in other blocks' folders, before anything runs: a run may be about to replace those
// folders. What lies in the block's own folder since its entry moved is there already.
func (r *runner) moves(ctx context.Context) error {
	for _, a := range r.plan.Actions {
		if a.Moved == "" || a.Found.Block == results.Folder(a.Addr) {
			continue
		}
		if _, shared := r.owner(a.Found); shared {
			continue // adopted when its block runs
		}
		// an earlier move may have taken it elsewhere
		found, _, err := r.fold.Look(ctx, a, r.dir.State.Blocks[a.Addr.String()])
		if err != nil {
			return fmt.Errorf("%s: %w", a.Addr, err)
		}
		if found == nil || found.Block == results.Folder(a.Addr) {
			continue
		}
		if _, shared := r.owner(found); shared {
			continue
		}
		a.Found = found
		if err := r.adopt(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", a.Addr, err)
		}
	}
	return nil
}

// sweep removes what killed runs left behind: incomplete folders, folders whose successor is recorded as done,
// checkpoints before a recorded result, and what was being removed.
func (r *runner) sweep() error {
	errs := []error{r.fold.Disk.Sweep(r.busy()...)}
	for name, b := range r.dir.State.Blocks {
		x, err := addr.Parse(name)
		if err != nil || b.Status != state.Done || b.Job != nil {
			continue
		}
		errs = append(errs, r.fold.Disk.DropReplaced(x, b.Recipe))
		if a := r.plan.Action(x); a == nil || a.Verb == plan.UpToDate || a.Verb == plan.Deferred { // else its result is damaged, or of another recipe
			errs = append(errs, r.dropSurplus(x, b))
		}
	}
	r.fold.Disk.Changed()
	return errors.Join(errs...)
}

// settled removes what a recorded result replaced, and its checkpoints beyond keep.
func (r *runner) settled(a addr.Addr, b *state.Block) error {
	return errors.Join(r.fold.Disk.DropReplaced(a, b.Recipe), r.dropSurplus(a, b))
}

// dropSurplus removes the checkpoints beyond keep of a block that has ended.
func (r *runner) dropSurplus(a addr.Addr, b *state.Block) error {
	if _, err := os.Lstat(filepath.Join(r.dir.Path, b.Dir)); err != nil {
		return nil // the result is gone: the checkpoints may be all that is left
	}
	root := filepath.Join(r.dir.Path, results.Folder(a))
	steps, err := results.Surplus(root, filepath.Base(b.Dir), r.keeps(a, b))
	errs := []error{err}
	for _, s := range steps {
		errs = append(errs, os.RemoveAll(checkpoint.StepDir(root, s)))
		r.fold.Disk.Changed(results.Folder(a))
	}
	return errors.Join(errs...)
}

// keepEnded is how many checkpoints of a block that has ended stay by default.
const keepEnded = 1

// keeps returns how many checkpoints of a block that has ended stay: as the pipeline says now, or if it no longer has
// the block, as it said then. Of a block that the plan deferred, all stay.
func (r *runner) keeps(a addr.Addr, b *state.Block) int {
	if x := r.plan.Action(a); x != nil {
		s, ok := x.Block.(blocks.Stepped)
		switch {
		case ok && x.Late && x.Verb == plan.UpToDate:
			return math.MaxInt
		case ok:
			_, ended := s.Keeps()
			return ended
		}
	}
	if n, err := strconv.Atoi(b.Attrs["train.checkpoint.keep"]); err == nil && n > 0 {
		return n
	}
	return keepEnded
}

// recoverWritten completes or removes what killed runs left in the users' folders that blocks write to: the folders of
// this plan, and those of unfinished blocks in the state, whose paths may have changed since.
func (r *runner) recoverWritten() {
	folders := map[string]bool{}
	for _, a := range r.plan.Actions {
		if w, ok := a.Block.(blocks.Writer); ok && !a.Skip {
			folders[w.Target()] = true
		}
	}
	for _, b := range r.dir.State.Blocks {
		if path, ok := b.Values[blocks.WritesTo].(string); ok && b.Status != state.Done {
			folders[path] = true
		}
	}
	for path := range folders {
		f, err := exportdir.Open(path, exportdir.Hashes{})
		if err != nil {
			continue
		}
		if _, err := os.Stat(f.Real); err != nil {
			continue
		}
		if unlock, err := state.LockFolder(f.Real); err == nil {
			f.Recover() // an error shows again when the block writes there
			unlock()
		}
	}
}
