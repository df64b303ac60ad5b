package results

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/state"
)

// Kept starts the name of a folder that was set aside to make place for one that moved there. Nothing replaces it, so
// it is removed only when the user asks.
const Kept = "kept"

// SetAside moves a block's folder to Replaced, under the recipe of its successor, or as Kept.
func (d *Disk) SetAside(a addr.Addr, block, successor string) error {
	from := filepath.Join(d.Path, block)
	st, err := os.Lstat(from)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case st.IsDir():
		if err := sweepTemporary(from); err != nil {
			return err
		}
		if os.Remove(from) == nil { // empty: of a run that was interrupted before it made anything
			d.Changed(block)
			return nil
		}
	}
	to, err := d.asidePath(a, successor)
	if err != nil {
		return err
	}
	d.Changed(block)
	if err := durable.Rename(from, to); err != nil {
		return fmt.Errorf("setting %s aside: %w", from, err)
	}
	return nil
}

// asidePath returns a free path in Replaced.
func (d *Disk) asidePath(a addr.Addr, successor string) (string, error) {
	root := filepath.Join(d.Path, Replaced, a.Dir())
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

// MakeRoom empties the folder of a block that is about to run from step from, 0 for its start: it sets aside what the
// run replaces. Folders that were set aside earlier get the same successor, because the user was asked about all of
// them at once.
func (d *Disk) MakeRoom(a addr.Addr, recipe string, from int) error {
	successor := Short(recipe)
	aside := filepath.Join(Replaced, a.Dir())
	entries, err := os.ReadDir(filepath.Join(d.Path, aside))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), successor+"-") {
			if err := d.SetAside(a, filepath.Join(aside, e.Name()), successor); err != nil {
				return err
			}
		}
	}
	if from == 0 {
		return d.SetAside(a, Folder(a), successor)
	}
	// Checkpoints later than the one it resumes from are damaged.
	root := filepath.Join(d.Path, Folder(a))
	steps, err := checkpoint.Steps(root)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s <= from {
			break
		}
		to, err := d.asidePath(a, successor)
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
	d.Changed(Folder(a))
	return nil
}

// Take moves the folder of f, which another block filled, to the place of block a. If shared, the other block keeps its
// folder and a gets a copy.
func (d *Disk) Take(f *Found, a addr.Addr, shared bool) error {
	if err := d.SetAside(a, Folder(a), Kept); err != nil {
		return err
	}
	from, to := filepath.Join(d.Path, f.Block), filepath.Join(d.Path, Folder(a))
	if err := durable.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	put := durable.Rename
	if shared {
		put = Share
	}
	if err := put(from, to); err != nil {
		return fmt.Errorf("taking over %s: %w", from, err)
	}
	d.Changed(f.Block, Folder(a))
	return nil
}

// Branch makes the folder of a block that is about to go on from f: it holds f, and what is recorded of the steps. What
// was in its place is set aside, and f stays where it is.
func (d *Disk) Branch(f *Found, a addr.Addr, recipe string) error {
	from, to := filepath.Join(d.Path, f.Block), filepath.Join(d.Path, Folder(a))
	tmp := durable.Beside(to) // f may lie in the folder that is set aside
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := durable.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return err
	}
	others := func(name string) bool { return name != f.Leaf }
	err := share(from, tmp, others)
	if err == nil {
		err = d.MakeRoom(a, recipe, 0)
	}
	if err == nil {
		err = durable.Rename(tmp, to)
	}
	d.Changed(f.Block, Folder(a))
	if err != nil {
		return errors.Join(fmt.Errorf("going on from %s: %w", filepath.Join(d.Path, f.Dir()), err), os.RemoveAll(tmp))
	}
	return nil
}

// Share copies a folder, with hard links where the file system has them.
func Share(from, to string) error {
	return share(from, to, func(string) bool { return false })
}

// share is Share without the folders directly in from whose names omit reports.
func share(from, to string, omit func(name string) bool) error {
	tmp := durable.Beside(to)
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
		case e.IsDir() && rel != "." && filepath.Dir(rel) == "." && omit(rel):
			return filepath.SkipDir
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

// Sweep removes what killed runs left behind: incomplete folders, and folders that were being removed. In busy ones, which jobs
// write to, it removes nothing.
func (d *Disk) Sweep(busy ...string) error {
	errs := []error{sweepTemporary(d.Path)}
	folders, err := blockFolders(d.Path)
	errs = append(errs, err)
	for _, block := range folders {
		if slices.Contains(busy, block) {
			continue
		}
		errs = append(errs, sweepTemporary(filepath.Join(d.Path, block)))
	}
	errs = append(errs, sweepBlocks(filepath.Join(d.Path, state.BlocksName)),
		os.RemoveAll(filepath.Join(d.Path, removed)))
	d.made = nil
	return errors.Join(errs...)
}

// DropReplaced removes what the recorded result of a recipe replaced.
func (d *Disk) DropReplaced(a addr.Addr, recipe string) error {
	errs := []error{}
	aside := filepath.Join(d.Path, Replaced, a.Dir())
	entries, err := os.ReadDir(aside)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	left := len(entries)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), Short(recipe)+"-") {
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

// sweepBlocks removes folders of blocks that were incomplete when their process was killed. A folder may end as a
// leftover in it does: that of a stage called tmp.
func sweepBlocks(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		if durable.Temporary(e.Name()) {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// sweepTemporary removes files and folders that were incomplete when their process was killed.
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
