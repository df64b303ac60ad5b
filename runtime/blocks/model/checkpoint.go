package model

import (
	"context"
	"fmt"
	"path/filepath"

	"stepflow/fineweb"
	"stepflow/ops/arch"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
)

// Checkpoint is a folder with the weights of a declared model.
type Checkpoint struct {
	Folder string
	Files  string   // hash of the files that are read of it
	Notes  []string // what config.json holds that changes nothing
}

// ReadCheckpoint reads a folder, or an hf:// address, that is to hold the weights of a declared model. An error says in
// what they do not fit. besides names files that belong to the checkpoint where the folder has them.
func ReadCheckpoint(ctx context.Context, w *blocks.World, id string, want arch.Model, besides ...string) (c *Checkpoint,
	err error) {
	folder, err := folderOf(w, id)
	if err != nil {
		return nil, err
	}
	c = &Checkpoint{Folder: folder}
	if holds(folder, checkpoint.AdapterFile) {
		return nil, fmt.Errorf("%s holds adapters that are not merged (%s): import the end of that stage, not a checkpoint "+
			"on the way, and let it merge them", folder, checkpoint.AdapterFile)
	}
	is, notes, path, err := readConfig(folder)
	if err != nil {
		return nil, err
	}
	if err := fits(is, want, path); err != nil {
		return nil, err
	}
	for _, n := range notes {
		c.Notes = append(c.Notes, fmt.Sprintf("%s: %s", path, n.Text))
	}
	f, err := openWeights(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkTensors(f, is, path); err != nil {
		return nil, err
	}
	files := append(f.Files(), path)
	for _, name := range besides {
		if holds(folder, name) {
			files = append(files, filepath.Join(folder, name))
		}
	}
	c.Files, err = fineweb.Identity(ctx, files, w.Hashing)
	return c, err
}

// fits returns in what the model of a config.json is not the one that is declared; nil if it is.
func fits(is, want arch.Model, path string) error {
	if is.Arch != want.Arch {
		as, ok := is.As(want.Arch)
		if !ok {
			return fmt.Errorf("%s describes %s, and the stage's model is a %s", path, is.Arch.Title, want.Arch.Type)
		}
		is = as
	}
	attr, same := arch.SameArchitecture(is, want)
	switch {
	case is.NumHiddenLayers != want.NumHiddenLayers:
		return fmt.Errorf("%s has %d layers, and the stage %d: set its layers", path, is.NumHiddenLayers,
			want.NumHiddenLayers)
	case !same:
		return fmt.Errorf("%s is %s in %s, and %s in the stage's model: declare the model as it is there", attr,
			is.Show(attr), path, want.Show(attr))
	}
	return nil
}
