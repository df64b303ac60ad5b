// Package results keeps what blocks made: results and checkpoints, each in a folder of the block below the state's, found again
// by the recipe that made them.
package results

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"stepflow/dsl/addr"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

// Folders inside the state's, beside that of blocks. Each holds a folder for a block, named as in blocks.
const (
	Replaced = "replaced" // what a block made before, until what replaces it is recorded as done
	removed  = "removed"  // what was asked to be removed, until it is
)

// Folder is the folder of a block's files, relative to the state's.
func Folder(a addr.Addr) string { return filepath.Join(state.BlocksName, a.Dir()) }

// Short is the part of a recipe that stands in the name of a folder.
func Short(recipe string) string { return recipe[:min(16, len(recipe))] }

// Note is what a checkpoint or a result says of itself: which block made it, and from what. It is what the state says of the
// block, so that a state that was lost can be made again.
type Note struct {
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

// NoteOf is the note of what a block saves, as the state records the block.
func NoteOf(a addr.Addr, b *state.Block, done bool) (checkpoint.Part, error) {
	n := Note{Address: a.String(), Recipe: b.Recipe, Done: done, Step: b.Step, Steps: b.Steps, Attrs: b.Attrs, Inputs: b.Inputs,
		Values: b.Values, Memory: b.Memory}
	text, err := json.MarshalIndent(n, "", "  ")
	return checkpoint.Bytes(checkpoint.NoteName, append(text, '\n')), err
}

// Found is a checkpoint or a result on disk.
type Found struct {
	Note
	Block string // folder that the block filled, relative to the state's: blocks/stage.a, or replaced/stage.a/…
	Leaf  string // of the checkpoint, inside it
	ID    string // content, once it was checked
}

// Dir is the folder of the checkpoint, relative to the state's.
func (f *Found) Dir() string { return filepath.Join(f.Block, f.Leaf) }

// Entry is what the state says of a block that made this, where the folder of the block is root.
func (f *Found) Entry(root string) *state.Block {
	b := &state.Block{Status: state.Running, Recipe: f.Recipe, Attrs: f.Attrs, Inputs: f.Inputs, Step: f.Step, Steps: f.Steps,
		Values: f.Values, Memory: f.Memory}
	if f.Done {
		b.Status, b.Content, b.Dir = state.Done, f.ID, filepath.Join(root, f.Leaf)
	}
	return b
}

// agrees compares what the state says of a block with what its result says of itself.
func agrees(b *state.Block, dir string) error {
	var n Note
	if err := checkpoint.ReadNote(dir, &n); err != nil {
		return err
	}
	is, err := json.Marshal([]any{b.Recipe, b.Values})
	if err != nil {
		return err
	}
	was, err := json.Marshal([]any{n.Recipe, n.Values})
	if err == nil && string(is) != string(was) {
		err = fmt.Errorf("the state has other values than %s: %s, %s", filepath.Join(dir, checkpoint.NoteName), is, was)
	}
	return err
}
