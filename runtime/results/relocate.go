package results

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"stepflow/dsl/addr"
	"stepflow/runtime/durable"
	"stepflow/runtime/state"
)

// Relocate moves entries of a locked state, with the files of the blocks, to new addresses. A process that is killed on
// the way leaves files at the new address and an entry at the old one: moving again completes that.
func (d *Disk) Relocate(dir *state.Dir, moves []state.Move) error {
	for _, m := range moves {
		if err := d.relocate(m.From, m.To); err != nil {
			return fmt.Errorf("moving %s to %s: %w", m.From, m.To, err)
		}
		dir.State.Rename(m)
		dir.State.Relocated(m)
	}
	if len(moves) == 0 {
		return nil
	}
	return dir.Save()
}

// relocate moves the files of a block: its own folder, and those that were set aside.
func (d *Disk) relocate(from, to addr.Addr) error {
	switch _, err := os.Lstat(filepath.Join(d.Path, Folder(from))); {
	case err == nil:
		if err := d.SetAside(to, Folder(to), Kept); err != nil {
			return err
		}
		if err := durable.Rename(filepath.Join(d.Path, Folder(from)), filepath.Join(d.Path, Folder(to))); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	aside := filepath.Join(Replaced, from.Dir())
	entries, err := os.ReadDir(filepath.Join(d.Path, aside))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		successor, _, _ := strings.Cut(e.Name(), "-")
		if err := d.SetAside(to, filepath.Join(aside, e.Name()), successor); err != nil {
			return err
		}
	}
	os.Remove(filepath.Join(d.Path, aside))
	d.Changed(Folder(from), Folder(to))
	return nil
}
