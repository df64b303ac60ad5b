package results

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"stepflow/dsl/addr"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

// CheckState compares every finished block's files with what the state recorded. What is not on this disk may be
// elsewhere.
func (disk *Disk) CheckState(ctx context.Context, d *state.Dir) error {
	errs := []error{d.State.Check()}
	for _, n := range d.State.Names() {
		b := d.State.Blocks[n]
		if b.Status != state.Done {
			continue
		}
		id, _, err := checkpoint.Check(filepath.Join(d.Path, b.Dir))
		if err == nil && id != b.Content {
			err = fmt.Errorf("%w: not what was recorded", checkpoint.ErrDamaged)
		}
		if err == nil {
			err = agrees(b, filepath.Join(d.Path, b.Dir))
		}
		if IsDamage(err) && disk.Gone(b.Dir) {
			switch there, e := disk.hasElsewhere(ctx, b.Recipe, b.Content); {
			case e != nil:
				err = e
			case there:
				err = nil
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n, err))
		}
	}
	return errors.Join(errs...)
}

// Rebuild fills an empty state from the folders of blocks: each result and checkpoint says which block made it, and
// from what. It returns why it skipped folders, and removes nothing. Outputs and the record of remote data come back
// with the next apply.
func Rebuild(d *state.Dir) (skipped []string, err error) {
	folders, err := blockFolders(d.Path)
	if err != nil {
		return nil, err
	}
	for _, block := range folders {
		if filepath.Dir(block) != state.BlocksName {
			continue // set aside: a plan finds it by its recipe
		}
		best, why, err := bestIn(d.Path, block)
		if err != nil {
			return nil, err
		}
		if best == nil {
			skipped = append(skipped, fmt.Sprintf("%s: %v", filepath.Join(d.Path, block), why))
			continue
		}
		entry := best.Entry(block)
		f, err := readFate(d.Path, block)
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("what protects %s: %v", best.Address, err))
		}
		entry.Protected, entry.Triggers = f.Protected, state.Comparable(f.Triggers)
		d.State.Blocks[best.Address] = entry
	}
	return skipped, nil
}

// bestIn returns the result in a block's folder, or its latest intact checkpoint. With neither it returns nil, and why
// says what is wrong with the folder.
func bestIn(stateDir, block string) (best *Found, why, err error) {
	list, err := findsIn(stateDir, block)
	if err != nil {
		return nil, nil, err
	}
	why = errors.New("it holds no result and no checkpoint that says where it comes from")
	for _, f := range list {
		id, _, err := checkpoint.Check(filepath.Join(stateDir, f.Dir()))
		x, bad := addr.Parse(f.Address)
		switch {
		case err != nil && !IsDamage(err):
			return nil, nil, err
		case err != nil:
			why = err
			continue
		case bad != nil || Folder(x) != block:
			why = fmt.Errorf("it was made as %s; apply finds it by its recipe", f.Address)
			continue
		}
		f.ID = id
		if best == nil || f.Done && !best.Done || f.Done == best.Done && f.Step > best.Step {
			best = f
		}
	}
	return best, why, nil
}
