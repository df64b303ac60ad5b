package results

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"stepflow/dsl/addr"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

// Disk is what lies in a state's folder, looked at once until it changes.
type Disk struct {
	Path    string              // of the state
	checked map[string]Check    // by folder, relative to the state's
	made    map[string][]*Found // by recipe; nil until something is looked for, and when the disk changed
}

// NewDisk gives the disk of a state's folder. It reads nothing.
func NewDisk(path string) *Disk { return &Disk{Path: path, checked: map[string]Check{}} }

// Check is what a folder was found to be.
type Check struct {
	ID    string
	Files []string
	Err   error
}

// blockFolders lists the folders that blocks filled, relative to the state's: those in place first, then those set aside.
func blockFolders(stateDir string) (list []string, err error) {
	in := func(dir string) error {
		entries, err := os.ReadDir(filepath.Join(stateDir, dir))
		if err != nil && !errors.Is(checkpoint.Damage(err), checkpoint.ErrDamaged) {
			return err
		}
		for _, e := range entries {
			if e.IsDir() {
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

// findsIn lists what a block's folder holds. Folders without a legible note are left out: they are damaged, or no checkpoints.
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

// Finds lists what is on disk of the recipe of a block: results before checkpoints, later steps first, and what lies at the
// block's own place before what lies elsewhere.
func (d *Disk) Finds(a addr.Addr, recipe string) ([]*Found, error) {
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
			}
		}
		d.made = made
	}
	list := slices.Clone(d.made[recipe])
	rank := func(f *Found) (done, step, place int) {
		if f.Done {
			done = 1
		}
		switch {
		case f.Block == Folder(a):
			place = 2
		case filepath.Dir(f.Block) == filepath.Join(Replaced, a.Dir()):
			place = 1
		}
		return done, f.Step, place
	}
	sort.SliceStable(list, func(i, j int) bool {
		d, s, p := rank(list[i])
		e, t, q := rank(list[j])
		if d != e {
			return d > e
		}
		if s != t {
			return s > t
		}
		return p > q
	})
	return list, nil
}

// Intact checks every byte of what was found, once until it changes, and that nothing is missing of the files that its block
// needs. An error that is not checkpoint.ErrDamaged says that it could not be read.
func (d *Disk) Intact(ctx context.Context, f *Found, needs []string) error {
	c := d.Check(ctx, f.Dir())
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

// Check hashes a folder's files, once until it changes. Its name is relative to the state's folder. It ends with ctx.
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
	return Check{Err: ctx.Err()} // and nothing is known of the folder
}

// Gone reports whether what was found is no longer there.
func (d *Disk) Gone(f *Found) bool {
	_, err := os.Lstat(filepath.Join(d.Path, f.Dir()))
	return errors.Is(err, os.ErrNotExist)
}

// Changed forgets what is known of the disk: something was written, moved or removed below the folders of blocks.
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

// Surplus lists the steps of the checkpoints in a block's folder that are more than keep, of which the result is one, latest
// first.
func Surplus(root, result string, keep int) ([]int, error) {
	steps, err := checkpoint.Steps(root)
	steps = slices.DeleteFunc(steps, func(s int) bool { return filepath.Base(checkpoint.StepDir(root, s)) == result })
	return steps[min(max(keep-1, 0), len(steps)):], err
}

// IsDamage reports whether an error says that what is on disk is damaged, and not that it could not be read.
func IsDamage(err error) bool { return errors.Is(err, checkpoint.ErrDamaged) }
