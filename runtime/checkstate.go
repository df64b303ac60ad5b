package runtime

import (
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
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n, err))
		}
	}
	return errors.Join(errs...)
}
