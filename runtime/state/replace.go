package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"stepflow/runtime/durable"
)

// replace returns an empty state that follows the one in a backend, or else the one in the file of a locked folder or
// its backup, and keeps the file.
func replace(path string, there []byte) (d *Dir, kept string, err error) {
	d = &Dir{Path: path, State: empty()}
	file := filepath.Join(path, FileName)
	b, err := readRegular(file)
	backup, _ := readRegular(filepath.Join(path, BackupName))
	for _, b := range [][]byte{there, b, backup} { // the first that is legible says which state it is
		var head struct {
			Serial  int64  `json:"serial"`
			Lineage string `json:"lineage"`
		}
		if json.Unmarshal(b, &head) == nil && head.Serial > 0 && head.Serial < 1<<40 && d.State.Serial == 0 {
			d.State.Serial, d.State.Lineage = head.Serial, head.Lineage
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return d, "", nil
	}
	if err == nil {
		if _, e := Parse(b); errors.Is(e, ErrNewer) {
			err = e
		}
	}
	if err == nil {
		kept, err = keep(file+".before-rebuild", b)
	}
	if err != nil {
		return nil, "", fmt.Errorf("keeping the old state: %w", err)
	}
	return d, kept, nil
}

// keep writes a file under a name that is free, or whose file holds the same already.
func keep(name string, b []byte) (string, error) {
	for n := 1; ; n++ {
		path := name
		if n > 1 {
			path = fmt.Sprintf("%s-%d", name, n)
		}
		switch old, err := readRegular(path); {
		case errors.Is(err, fs.ErrNotExist):
			return path, durable.WriteFile(path, b)
		case err == nil && bytes.Equal(old, b):
			return path, nil
		}
	}
}
