// Package results keeps the results and checkpoints of blocks, each in the block's folder inside the state's, and
// finds them again by their recipe.
package results

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"stepflow/dsl/addr"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

// Folders of the state beside blocks. Each holds a folder for a block, named as in blocks.
const (
	Replaced = "replaced" // earlier results, until their successor is recorded as done
	removed  = "removed"  // what is being removed
)

// Folder returns the folder of a block's files, relative to the state's.
func Folder(a addr.Addr) string { return filepath.Join(state.BlocksName, a.Dir()) }

// Short returns the part of a recipe that names a folder.
func Short(recipe string) string { return recipe[:min(16, len(recipe))] }

// Note is stored with a checkpoint or a result and says which block made it, and from what. It repeats the state's
// entry of the block, so that a lost state can be rebuilt.
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
	Import  *state.Import     `json:"import,omitempty"`
	Course  *state.Course     `json:"course,omitempty"`
	Ranks   []int             `json:"ranks,omitempty"`
}

// NoteOf returns the note of a block's checkpoint, or if done of its result, made from the state's entry of the block.
func NoteOf(a addr.Addr, b *state.Block, done bool) (checkpoint.Part, error) {
	n := Note{Address: a.String(), Recipe: b.Recipe, Done: done, Step: b.Step, Steps: b.Steps, Attrs: b.Attrs,
		Inputs: b.Inputs,
		Values: b.Values, Memory: b.Memory, Import: b.Import, Course: b.Course, Ranks: b.Ranks}
	text, err := json.MarshalIndent(n, "", "  ")
	return checkpoint.Bytes(checkpoint.NoteName, append(text, '\n')), err
}

// Found is a checkpoint or a result on disk.
type Found struct {
	Note
	Block string // the block's folder, relative to the state's: blocks/stage.a, or replaced/stage.a/…
	Leaf  string // name of the checkpoint's folder inside it
	ID    string // content id, set by Intact
	Away  *Away  // where it is to be fetched from; nil if it is on this disk
}

// Dir returns the folder of the checkpoint, relative to the state's.
func (f *Found) Dir() string { return filepath.Join(f.Block, f.Leaf) }

// Entry returns the state's entry of the block that made f, with root as the block's folder.
func (f *Found) Entry(root string) *state.Block {
	b := &state.Block{Status: state.Running, Recipe: f.Recipe, Attrs: f.Attrs, Inputs: f.Inputs, Step: f.Step,
		Steps:  f.Steps,
		Values: f.Values, Memory: f.Memory, Import: f.Import, Course: f.Course, Ranks: f.Ranks}
	if f.Done {
		b.Status, b.Content, b.Dir = state.Done, f.ID, filepath.Join(root, f.Leaf)
	}
	return b
}

// agrees compares the state's entry of a block with the note in its result.
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
