package runtime

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/state"
)

// kept starts the name of a folder that was set aside for a move: nothing replaces it, so nothing removes it unasked.
const kept = "kept"

// setAside moves a folder of the state out of its place, under the recipe of what replaces it, or as kept.
func (r *runner) setAside(a addr.Addr, block, successor string) error {
	from := filepath.Join(r.dir.Path, block)
	st, err := os.Lstat(from)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.IsDir() && os.Remove(from) == nil: // an empty one, of a run that was interrupted before it made anything
		r.pl.changed(block)
		return nil
	}
	to, err := r.asidePath(a, successor)
	if err != nil {
		return err
	}
	r.pl.changed(block)
	if err := durable.Rename(from, to); err != nil {
		return fmt.Errorf("setting %s aside: %w", from, err)
	}
	return nil
}

// asidePath is a free place for what is set aside.
func (r *runner) asidePath(a addr.Addr, successor string) (string, error) {
	root := filepath.Join(r.dir.Path, replacedDir, a.Dir())
	if err := durable.MkdirAll(root, 0o777); err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		to := filepath.Join(root, fmt.Sprintf("%s-%d", successor, n))
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			return to, nil
		} else if err != nil {
			return "", err
		}
	}
}

// makeRoom sets aside what lies where a block is about to run, and marks what was set aside before as replaced by the same
// run: the question was about both.
func (r *runner) makeRoom(a *Action) error {
	successor := short(a.Recipe)
	aside := filepath.Join(replacedDir, a.Addr.Dir())
	entries, err := os.ReadDir(filepath.Join(r.dir.Path, aside))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), successor+"-") {
			if err := r.setAside(a.Addr, filepath.Join(aside, e.Name()), successor); err != nil {
				return err
			}
		}
	}
	if a.Verb == Run {
		return r.setAside(a.Addr, a.Dir(), successor)
	}
	// Checkpoints behind the one it goes on from are damaged.
	root := filepath.Join(r.dir.Path, a.Dir())
	steps, err := checkpoint.Steps(root)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s <= a.FromStep {
			break
		}
		to, err := r.asidePath(a.Addr, successor)
		if err == nil {
			err = durable.MkdirAll(to, 0o777)
		}
		if err == nil {
			err = durable.Rename(checkpoint.StepDir(root, s), checkpoint.StepDir(to, s))
		}
		if err != nil {
			return err
		}
	}
	r.pl.changed(a.Dir())
	return nil
}

// adopt takes over what was found of an action's recipe: it is put in the block's place, moved, or shared with a block of the
// same recipe, and the state records it.
func (r *runner) adopt(a *Action) error {
	f := a.found
	if f.block != a.Dir() {
		if err := r.setAside(a.Addr, a.Dir(), kept); err != nil {
			return err
		}
		from, to := filepath.Join(r.dir.Path, f.block), filepath.Join(r.dir.Path, a.Dir())
		if err := durable.MkdirAll(filepath.Dir(to), 0o777); err != nil {
			return err
		}
		owner, shared := r.owner(f)
		var err error
		if shared {
			err = share(from, to)
		} else {
			err = durable.Rename(from, to)
		}
		if err != nil {
			return fmt.Errorf("taking over %s: %w", from, err)
		}
		r.pl.changed(f.block, a.Dir())
		if old := r.dir.State.Blocks[owner]; !shared && old != nil && old.Recipe == f.Recipe {
			delete(r.dir.State.Blocks, owner)
		}
	}
	for name, b := range r.dir.State.Blocks { // after a kill between a move and its record, the state has it at the old name
		if name == a.Addr.String() || b.Recipe != f.Recipe || b.Dir == "" {
			continue
		}
		if _, err := os.Lstat(filepath.Join(r.dir.Path, b.Dir)); errors.Is(err, fs.ErrNotExist) {
			delete(r.dir.State.Blocks, name)
		}
	}
	// The process that put it there may have been killed before that was durable, and what led to it goes once it is recorded.
	if err := durable.SyncDir(filepath.Join(r.dir.Path, a.Dir())); err != nil {
		return err
	}
	entry := f.entry(a.Dir())
	entry.Attrs, entry.Inputs, entry.Secrets = a.Attrs, a.Inputs, r.dir.State.Seals(a.secret)
	if old := r.dir.State.Blocks[a.Addr.String()]; old != nil && old.Recipe == f.Recipe {
		entry.Started, entry.Trace, entry.TraceEnded = old.Started, old.Trace, old.TraceEnded
	}
	f.block = a.Dir()
	if err := r.record(a, entry); err != nil || entry.Status != state.Done {
		return err
	}
	return r.settled(a.Addr, entry) // a process that was killed before its record left what led to the result
}

// owner is the address whose folder a find lies in, "" where it was set aside, and whether a block of the configuration needs
// it there.
func (r *runner) owner(f *onDisk) (address string, shared bool) {
	for _, x := range r.plan.Actions {
		if x.Dir() == f.block {
			return x.Addr.String(), x.Recipe == f.Recipe || x.Verb == Deferred
		}
	}
	for name := range r.dir.State.Blocks {
		if x, err := addr.Parse(name); err == nil && BlockDir(x) == f.block {
			return name, false
		}
	}
	return "", false
}

// share makes a folder of the same files, linked where the file system can and copied where it can't.
func share(from, to string) error {
	tmp := to + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dest := filepath.Join(tmp, rel)
		switch {
		case e.IsDir():
			return durable.MkdirAll(dest, 0o777)
		case filepath.Dir(rel) != "." && os.Link(path, dest) == nil: // of a checkpoint: it is never written again
			return durable.SyncDir(filepath.Dir(dest))
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		return durable.WriteTo(dest, func(w io.Writer) error { _, err := io.Copy(w, in); return err })
	})
	if err == nil {
		err = durable.Rename(tmp, to)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return nil
}

// moves takes over, before anything runs, what the plan found at other places: what runs may be about to put its own there.
func (r *runner) moves() error {
	for _, a := range r.plan.Actions {
		if a.Moved == "" {
			continue
		}
		if _, shared := r.owner(a.found); shared {
			continue // when its turn comes
		}
		found, _, err := r.pl.look(a, r.dir.State.Blocks[a.Addr.String()]) // an earlier move may have taken it elsewhere
		if err != nil {
			return fmt.Errorf("%s: %w", a.Addr, err)
		}
		if found == nil || found.block == a.Dir() {
			continue
		}
		if _, shared := r.owner(found); shared {
			continue
		}
		a.found = found
		if err := r.adopt(a); err != nil {
			return fmt.Errorf("%s: %w", a.Addr, err)
		}
	}
	return nil
}

// sweep removes what runs that were killed left behind: folders that are not complete, what was set aside and whose successor
// is recorded as done, checkpoints before a recorded result, what was being removed.
func (r *runner) sweep() error {
	errs := []error{sweepTemporary(r.dir.Path)}
	folders, err := blockFolders(r.dir.Path)
	errs = append(errs, err)
	for _, block := range folders {
		errs = append(errs, sweepTemporary(filepath.Join(r.dir.Path, block)))
	}
	errs = append(errs, sweepTemporary(filepath.Join(r.dir.Path, state.BlocksName)), os.RemoveAll(filepath.Join(r.dir.Path, removedDir)))
	for name, b := range r.dir.State.Blocks {
		if x, err := addr.Parse(name); err == nil && b.Status == state.Done {
			errs = append(errs, r.dropReplaced(x, b))
			if a := r.pl.done[x]; a == nil || a.Verb == UpToDate || a.Verb == Deferred { // else its result is damaged, or of another recipe
				errs = append(errs, r.dropSurplus(x, b))
			}
		}
	}
	r.pl.made = nil
	return errors.Join(errs...)
}

// settled removes what a recorded result replaced, and of the checkpoints that led to it those beyond keep.
func (r *runner) settled(a addr.Addr, b *state.Block) error {
	return errors.Join(r.dropReplaced(a, b), r.dropSurplus(a, b))
}

// dropReplaced removes what a recorded result replaced.
func (r *runner) dropReplaced(a addr.Addr, b *state.Block) error {
	errs := []error{}
	aside := filepath.Join(r.dir.Path, replacedDir, a.Dir())
	entries, err := os.ReadDir(aside)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	left := len(entries)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), short(b.Recipe)+"-") {
			errs = append(errs, os.RemoveAll(filepath.Join(aside, e.Name())))
			left--
		}
	}
	if left == 0 { // also where a run was killed before it removed the empty folders
		if err == nil {
			errs = append(errs, os.RemoveAll(aside))
		}
		os.Remove(filepath.Dir(aside)) // if that was the last
	}
	return errors.Join(errs...)
}

// dropSurplus removes the checkpoints of a stage that has ended which are more than keep.
func (r *runner) dropSurplus(a addr.Addr, b *state.Block) error {
	if a.Kind != "stage" {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(r.dir.Path, b.Dir)); err != nil {
		return nil // the result is not there: what led to it may be all there is
	}
	root := filepath.Join(r.dir.Path, BlockDir(a))
	steps, err := surplus(root, filepath.Base(b.Dir), r.keeps(a, b))
	errs := []error{err}
	for _, s := range steps {
		errs = append(errs, os.RemoveAll(checkpoint.StepDir(root, s)))
		r.pl.changed(BlockDir(a))
	}
	return errors.Join(errs...)
}

// keeps is how many checkpoints of a stage that has ended stay: as the pipeline says now, or if the block is not in it any more
// as it said then. What the plan could not say is not removed.
func (r *runner) keeps(a addr.Addr, b *state.Block) int {
	for _, x := range r.plan.Actions {
		switch {
		case x.Addr != a || x.Stage == nil:
		case x.late && x.Verb == UpToDate:
			return math.MaxInt
		default:
			return x.Stage.KeepEnded
		}
	}
	if n, err := strconv.Atoi(b.Attrs["train.checkpoint.keep"]); err == nil && n > 0 {
		return n
	}
	return keepEnded
}

// sweepTemporary removes files and folders that were not complete when their process was killed.
func sweepTemporary(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var errs []error
	for _, e := range entries {
		whole, leftover := checkpoint.Leftover(e.Name())
		switch {
		case leftover && e.IsDir():
			errs = append(errs, checkpoint.Recover(filepath.Join(dir, whole)))
		case durable.Temporary(e.Name()):
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Forget removes blocks from the state, with all that they made. The names are those of blocks in the state.
func Forget(d *state.Dir, names []string) error {
	bin := filepath.Join(d.Path, removedDir)
	if err := durable.MkdirAll(bin, 0o777); err != nil {
		return err
	}
	// Moved first: a process that is killed here leaves a state that says what is missing, and nothing that could be found.
	for _, n := range names {
		x, err := addr.Parse(n)
		if err != nil {
			return err
		}
		for _, dir := range []string{BlockDir(x), filepath.Join(replacedDir, x.Dir())} {
			to := filepath.Join(bin, fmt.Sprintf("%d-%s-%s", time.Now().UnixNano(), filepath.Dir(dir), x.Dir()))
			if err := durable.Rename(filepath.Join(d.Path, dir), to); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		delete(d.State.Blocks, n)
	}
	if err := d.Save(); err != nil {
		return err
	}
	return os.RemoveAll(bin)
}
