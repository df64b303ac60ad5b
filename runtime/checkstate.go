package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

// CheckState compares every finished block's files with what the state recorded.
func CheckState(d *state.Dir) error {
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
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n, err))
		}
	}
	return errors.Join(errs...)
}

// agrees compares what the state says of a block with what its result says of itself.
func agrees(b *state.Block, dir string) error {
	var n note
	if err := checkpoint.ReadNote(dir, &n); err != nil {
		return err
	}
	is, err := json.Marshal([]any{b.Recipe, b.Values})
	if err != nil {
		return err
	}
	was, err := json.Marshal([]any{n.Recipe, n.Values})
	if err == nil && !bytes.Equal(is, was) {
		err = fmt.Errorf("the state has other values than %s: %s, %s", filepath.Join(dir, checkpoint.NoteName), is, was)
	}
	return err
}
