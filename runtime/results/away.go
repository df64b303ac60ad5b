package results

import (
	"context"
	"errors"
	"os"
	"slices"

	"stepflow/dsl/addr"
)

// Elsewhere holds results and checkpoints away from this disk, which can be fetched.
type Elsewhere interface {
	// Finds lists those of a recipe, or of a course.
	Finds(ctx context.Context, id string) ([]*Away, error)
	// Fetch puts one into a block's folder, which is relative to the state's.
	Fetch(ctx context.Context, a *Away, stateDir, block string) error
}

// Away is a result or a checkpoint that is not on this disk.
type Away struct {
	Where, Name string // the place, and the name there
	Note        Note
	Leaf        string   // name of its folder in the block's
	ID          string   // content id
	Files       []string // that it has
	Bytes       int64    // to fetch
}

// Further lists the results and checkpoints of a recipe, or of a course, that are elsewhere, in the order of Finds, as
// if they lay in the folder of block a.
func (d *Disk) Further(ctx context.Context, a addr.Addr, id string) (list []*Found, err error) {
	if d.Elsewhere == nil {
		return nil, nil
	}
	away, err := d.Elsewhere.Finds(ctx, id)
	for _, x := range away {
		list = append(list, &Found{Note: x.Note, Block: Folder(a), Leaf: x.Leaf, ID: x.ID, Away: x})
	}
	slices.SortStableFunc(list, byProgress)
	return list, err
}

// Fetch puts a result or a checkpoint that is elsewhere into the place where it is taken to lie. What lies there of
// another recipe is set aside, and kept.
func (d *Disk) Fetch(ctx context.Context, a addr.Addr, f *Found) error {
	if f == nil || f.Away == nil {
		return nil
	}
	mine, err := findsIn(d.Path, f.Block)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(mine) > 0 && !slices.ContainsFunc(mine, func(x *Found) bool { return x.Recipe == f.Recipe }) {
		if err := d.SetAside(a, f.Block, Kept); err != nil {
			return err
		}
	}
	if err := d.Elsewhere.Fetch(ctx, f.Away, d.Path, f.Block); err != nil {
		return err
	}
	f.Away = nil
	d.Changed(f.Block)
	return nil
}

// Recipes returns the recipes of what lies in folders of blocks.
func Recipes(stateDir string, folders map[string]bool) (map[string]bool, error) {
	recipes := map[string]bool{}
	for dir := range folders {
		list, err := findsIn(stateDir, dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for _, f := range list {
			recipes[f.Recipe] = true
		}
	}
	return recipes, nil
}

// hasElsewhere reports whether the result of a recipe with a content id is elsewhere.
func (d *Disk) hasElsewhere(ctx context.Context, recipe, content string) (bool, error) {
	if d.Elsewhere == nil {
		return false, nil
	}
	list, err := d.Elsewhere.Finds(ctx, recipe)
	return slices.ContainsFunc(list, func(x *Away) bool { return x.Note.Done && x.ID == content }), err
}
