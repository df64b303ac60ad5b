package results

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"stepflow/dsl/addr"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/state"
)

// Disk is the contents of a state's folder. What was read of it is kept until it changes.
type Disk struct {
	Path string // the state's folder
	// what can be fetched to it; nil for nothing
	Elsewhere Elsewhere

	checked map[string]Check    // by folder, relative to the state's
	made    map[string][]*Found // by recipe, and by course; nil until the first search, and after a change
}

// NewDisk returns the Disk of a state's folder. It reads nothing.
func NewDisk(path string) *Disk { return &Disk{Path: path, checked: map[string]Check{}} }

// Check is the result of hashing a folder: its content id and files, or why it is not whole.
type Check struct {
	ID    string
	Files []string
	Err   error
}

// blockFolders lists the folders of blocks, relative to the state's: those in place first, then those set aside.
func blockFolders(stateDir string) (list []string, err error) {
	in := func(dir string) error {
		entries, err := os.ReadDir(filepath.Join(stateDir, dir))
		if err != nil && !errors.Is(checkpoint.Damage(err), checkpoint.ErrDamaged) {
			return err
		}
		for _, e := range entries {
			if e.IsDir() && !durable.Temporary(e.Name()) {
				list = append(list, filepath.Join(dir, e.Name()))
			}
		}
		return nil
	}
	if err := in(state.BlocksName); err != nil {
		return nil, err
	}
	place := len(list)
	if err := in(Replaced); err != nil {
		return nil, err
	}
	owners := slices.Clone(list[place:])
	list = list[:place]
	for _, dir := range owners {
		if err := in(dir); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// findsIn lists the results and checkpoints in a block's folder. It skips folders without a readable note: they are
// damaged, or not checkpoints.
func findsIn(stateDir, block string) (list []*Found, err error) {
	entries, err := os.ReadDir(filepath.Join(stateDir, block))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if _, leftover := checkpoint.Leftover(e.Name()); !e.IsDir() || leftover {
			continue
		}
		f := &Found{Block: block, Leaf: e.Name()}
		switch err := checkpoint.ReadNote(filepath.Join(stateDir, f.Dir()), &f.Note); {
		case errors.Is(err, checkpoint.ErrDamaged):
		case err != nil:
			return nil, err
		default:
			list = append(list, f)
		}
	}
	return list, nil
}

// Finds lists the results and checkpoints of a recipe, or of a course: results before checkpoints, later steps first,
// and those in the folder of block a before those in other folders.
func (d *Disk) Finds(a addr.Addr, id string) ([]*Found, error) {
	if d.made == nil {
		folders, err := blockFolders(d.Path)
		if err != nil {
			return nil, err
		}
		made := map[string][]*Found{}
		for _, dir := range folders {
			list, err := findsIn(d.Path, dir)
			if err != nil {
				return nil, err
			}
			for _, f := range list {
				made[f.Recipe] = append(made[f.Recipe], f)
				if f.Course != nil {
					made[f.Course.ID] = append(made[f.Course.ID], f)
				}
			}
		}
		d.made = made
	}
	list := slices.Clone(d.made[id])
	place := func(f *Found) int {
		switch {
		case f.Block == Folder(a):
			return 0
		case filepath.Dir(f.Block) == filepath.Join(Replaced, a.Dir()):
			return 1
		}
		return 2
	}
	slices.SortStableFunc(list, func(x, y *Found) int { return cmp.Or(byProgress(x, y), place(x)-place(y)) })
	return list, nil
}

// byProgress orders results before checkpoints, and later steps first.
func byProgress(x, y *Found) int {
	switch {
	case x.Done && !y.Done:
		return -1
	case y.Done && !x.Done:
		return 1
	}
	return y.Step - x.Step
}

// Intact checks every byte of f, once until it changes, and that f has all files that its block needs. An error other
// than checkpoint.ErrDamaged says that f could not be read.
func (d *Disk) Intact(ctx context.Context, f *Found, needs []string) error {
	var c Check
	if f.Away != nil {
		c = Check{ID: f.Away.ID, Files: f.Away.Files} // checked when it is fetched
	} else {
		c = d.Check(ctx, f.Dir())
	}
	if c.Err != nil {
		return c.Err
	}
	f.ID = c.ID
	for _, name := range needs {
		if !slices.Contains(c.Files, name) {
			return fmt.Errorf("%w: %s lacks %s", checkpoint.ErrDamaged, filepath.Join(d.Path, f.Dir()), name)
		}
	}
	return nil
}

// Check hashes the files of dir, which is relative to the state's folder. It keeps the result until the folder changes.
// Cancelling ctx ends it.
func (d *Disk) Check(ctx context.Context, dir string) Check {
	if c, ok := d.checked[dir]; ok {
		return c
	}
	done := make(chan Check, 1)
	go func() {
		var c Check
		c.ID, c.Files, c.Err = checkpoint.Check(filepath.Join(d.Path, dir))
		done <- c
	}()
	select {
	case c := <-done:
		if ctx.Err() == nil {
			d.checked[dir] = c
			return c
		}
	case <-ctx.Done():
	}
	return Check{Err: ctx.Err()} // not kept: the folder may be sound
}

// Gone reports whether dir, which is relative to the state's folder, is not there.
func (d *Disk) Gone(dir string) bool {
	_, err := os.Lstat(filepath.Join(d.Path, dir))
	return errors.Is(err, os.ErrNotExist)
}

// Changed forgets what was read of these folders of blocks: something in them was written, moved or removed.
func (d *Disk) Changed(blocks ...string) {
	d.made = nil
	for dir := range d.checked {
		for _, b := range blocks {
			if filepath.Dir(dir) == b {
				delete(d.checked, dir)
			}
		}
	}
}

// Surplus lists the steps of the checkpoints in a block's folder beyond the latest keep, latest first. The result
// counts as one of keep.
func Surplus(root, result string, keep int) ([]int, error) {
	steps, err := checkpoint.Steps(root)
	steps = slices.DeleteFunc(steps, func(s int) bool { return filepath.Base(checkpoint.StepDir(root, s)) == result })
	return steps[min(max(keep-1, 0), len(steps)):], err
}

// IsDamage reports whether an error says that files are damaged, rather than that they could not be read.
func IsDamage(err error) bool { return errors.Is(err, checkpoint.ErrDamaged) }
