package results

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"stepflow/foreign"
	"stepflow/runtime/durable"
	"stepflow/runtime/state"
)

// fate is what the lifecycle block of a block said when it was last applied. It lies in the block's folder, so that a
// state that is made again has it, but in no result: it may change without one.
type fate struct {
	Protected bool              `json:"prevent_destroy,omitempty"`
	Triggers  map[string]string `json:"triggers,omitempty"`
}

// fateName is the file of a fate, in the folder of a block.
const fateName = "lifecycle.json"

// maxFate bounds what is read of it, in bytes.
const maxFate = 1 << 20

// NoteFate notes what the lifecycle block of a block says, beside its results, if it has any.
func NoteFate(stateDir, block string, b *state.Block) error {
	now := fate{b.Protected, b.Triggers}
	was, err := readFate(stateDir, block)
	if err == nil && was.Protected == now.Protected && maps.Equal(was.Triggers, now.Triggers) {
		return nil
	}
	if _, err := os.Lstat(filepath.Join(stateDir, block)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	text, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(stateDir, block, fateName), append(text, '\n'))
}

// readFate reads what NoteFate noted; nothing if there is no such file.
func readFate(stateDir, block string) (f fate, err error) {
	path := filepath.Join(stateDir, block, fateName)
	b, err := foreign.ReadFile(path, maxFate)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		if err = json.Unmarshal(b, &f); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
	}
	return f, err
}
