package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"stepflow/fineweb"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

// Folders inside the state's, beside that of blocks. Each holds a folder for a block, named as in blocks.
const (
	replacedDir = "replaced" // what a block made before, until what replaces it is recorded as done
	removedDir  = "removed"  // what was asked to be removed, until it is
)

// note is what a checkpoint or a result says of itself: which block made it, and from what. It is what the state says of the
// block, so that a state that was lost can be made again.
type note struct {
	Address string            `json:"address"`
	Recipe  string            `json:"recipe"`
	Done    bool              `json:"done"` // the block's result; else a checkpoint on the way
	Step    int               `json:"step,omitempty"`
	Steps   int               `json:"steps,omitempty"`
	Attrs   map[string]string `json:"attributes"`
	Inputs  map[string]string `json:"inputs"`
	Values  map[string]any    `json:"values,omitempty"`
	Memory  *state.Memory     `json:"memory,omitempty"`
}

// noteOf is the note of what a running block saves.
func noteOf(a *Action, b *state.Block, done bool) (checkpoint.Part, error) {
	text, err := json.MarshalIndent(note{Address: a.Addr.String(), Recipe: a.Recipe, Done: done, Step: b.Step, Steps: b.Steps, Attrs: b.Attrs, Inputs: b.Inputs, Values: b.Values, Memory: b.Memory}, "", "  ")
	return checkpoint.Bytes(checkpoint.NoteName, append(text, '\n')), err
}

// onDisk is a checkpoint or result on disk.
type onDisk struct {
	note
	block string // folder that the block filled, relative to the state's: blocks/stage.a, or replaced/stage.a/…
	leaf  string // of the checkpoint, inside it
	id    string // content, once it was checked
}

func (f *onDisk) dir() string { return filepath.Join(f.block, f.leaf) }

// entry is what the state says of a block that made this, where the folder of the block is root.
func (f *onDisk) entry(root string) *state.Block {
	b := &state.Block{Status: state.Running, Recipe: f.Recipe, Attrs: f.Attrs, Inputs: f.Inputs, Step: f.Step, Steps: f.Steps, Values: f.Values, Memory: f.Memory}
	if f.Done {
		b.Status, b.Content, b.Dir = state.Done, f.id, filepath.Join(root, f.leaf)
	}
	return b
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
	if err := in(replacedDir); err != nil {
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
func findsIn(stateDir, block string) (list []*onDisk, err error) {
	entries, err := os.ReadDir(filepath.Join(stateDir, block))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if _, leftover := checkpoint.Leftover(e.Name()); !e.IsDir() || leftover {
			continue
		}
		f := &onDisk{block: block, leaf: e.Name()}
		switch err := checkpoint.ReadNote(filepath.Join(stateDir, f.dir()), &f.note); {
		case errors.Is(err, checkpoint.ErrDamaged):
		case err != nil:
			return nil, err
		default:
			list = append(list, f)
		}
	}
	return list, nil
}

// finds lists what is on disk of a recipe: results before checkpoints, later steps first, and what lies at the block's own
// place before what lies elsewhere.
func (p *planner) finds(a *Action) ([]*onDisk, error) {
	if p.made == nil {
		folders, err := blockFolders(p.stateDir)
		if err != nil {
			return nil, err
		}
		made := map[string][]*onDisk{}
		for _, dir := range folders {
			list, err := findsIn(p.stateDir, dir)
			if err != nil {
				return nil, err
			}
			for _, f := range list {
				made[f.Recipe] = append(made[f.Recipe], f)
			}
		}
		p.made = made
	}
	list := slices.Clone(p.made[a.Recipe])
	rank := func(f *onDisk) (done, step, place int) {
		if f.Done {
			done = 1
		}
		switch {
		case f.block == a.Dir():
			place = 2
		case filepath.Dir(f.block) == filepath.Join(replacedDir, a.Addr.Dir()):
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

// intact checks every byte of what was found, once a plan, and that nothing is missing that its block needs. An error that is
// not checkpoint.ErrDamaged says that it could not be read.
func (p *planner) intact(a *Action, f *onDisk) error {
	c := p.check(f.dir())
	if c.err != nil {
		return c.err
	}
	f.id = c.id
	for _, name := range needs(a, f) {
		if !slices.Contains(c.files, name) {
			return fmt.Errorf("%w: %s lacks %s", checkpoint.ErrDamaged, filepath.Join(p.stateDir, f.dir()), name)
		}
	}
	return nil
}

// removed reports whether what was found is no longer there.
func (p *planner) removed(f *onDisk) bool {
	_, err := os.Lstat(filepath.Join(p.stateDir, f.dir()))
	return errors.Is(err, os.ErrNotExist)
}

// needs lists the files without which what a block made is not whole.
func needs(a *Action, f *onDisk) []string {
	switch {
	case a.Stage != nil && len(a.Stage.Adapters) > 0 && !f.Done:
		return []string{checkpoint.NoteName, checkpoint.ModelFile, checkpoint.OptimizerFile, checkpoint.TrainerFile, checkpoint.ConfigFile, checkpoint.TokenizerFile, checkpoint.AdapterFile}
	case a.Stage != nil:
		return []string{checkpoint.NoteName, checkpoint.ModelFile, checkpoint.OptimizerFile, checkpoint.TrainerFile, checkpoint.ConfigFile, checkpoint.TokenizerFile}
	case a.Token != nil:
		return []string{checkpoint.NoteName, checkpoint.TokenizerFile}
	}
	return []string{checkpoint.NoteName}
}

// check is what a folder was found to be.
type check struct {
	id    string
	files []string
	err   error
}

// check hashes a folder's files, once until it changes. Its name is relative to the state's folder.
func (p *planner) check(dir string) check {
	c, ok := p.checked[dir]
	if !ok {
		c, _ = fineweb.Await(p.ctx, func() (c check, _ error) {
			c.id, c.files, c.err = checkpoint.Check(filepath.Join(p.stateDir, dir))
			return c, nil
		})
		if p.ctx.Err() != nil {
			return check{err: p.ctx.Err()} // and nothing is known of the folder
		}
		p.checked[dir] = c
	}
	return c
}

// changed forgets what is known of the disk: something was written, moved or removed below a block's folder.
func (p *planner) changed(blocks ...string) {
	p.made = nil
	for dir := range p.checked {
		for _, b := range blocks {
			if filepath.Dir(dir) == b {
				delete(p.checked, dir)
			}
		}
	}
}
