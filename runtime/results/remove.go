package results

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"stepflow/dsl/addr"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
	"stepflow/runtime/state"
)

// Holding is a folder of a block's files, and what it holds.
type Holding struct {
	Folder  string  `json:"folder"`  // relative to the state's
	Steps   int     `json:"steps"`   // trained, whole or damaged
	Seconds float64 `json:"seconds"` // that the steps took; see Trained
	Bytes   int64   `json:"bytes"`   // that removing it frees
	// Unfinished is what a killed process left of it before it was complete.
	Unfinished int64 `json:"-"`
}

// Holdings returns what blocks have on disk: their own folders, and those that were set aside. A block without files
// has none.
func Holdings(stateDir string, blocks []addr.Addr) (map[addr.Addr][]Holding, error) {
	folders, err := blockFolders(stateDir)
	if err != nil {
		return nil, err
	}
	of := map[string]addr.Addr{} // by its folder, and by the one in which its others were set aside
	for _, a := range blocks {
		of[Folder(a)], of[filepath.Join(Replaced, a.Dir())] = a, a
	}
	held := map[addr.Addr][]Holding{}
	for _, f := range folders {
		a, ok := of[f]
		if !ok {
			a, ok = of[filepath.Dir(f)]
		}
		if ok {
			held[a] = append(held[a], Holding{Folder: f})
		}
	}
	for _, list := range held {
		if err := measure(stateDir, list); err != nil {
			return nil, err
		}
	}
	return held, nil
}

// Unreached returns the folders of blocks that are not among those reached.
func Unreached(stateDir string, reached map[string]bool) (list []Holding, err error) {
	folders, err := blockFolders(stateDir)
	if err != nil {
		return nil, err
	}
	for _, f := range folders {
		if !reached[f] {
			list = append(list, Holding{Folder: f})
		}
	}
	return list, measure(stateDir, list)
}

// inode is a file, which may have several names.
type inode struct{ dev, ino uint64 }

// measure sets the steps and the bytes of folders. A file with several names frees its bytes with the last of them, so
// it counts once, and only if none of its names is elsewhere.
func measure(stateDir string, list []Holding) (err error) {
	names := map[inode]uint64{}
	for i := range list {
		h := &list[i]
		if h.Steps, h.Seconds, err = Trained(stateDir, h.Folder); err != nil {
			return err
		}
		root, unfinished := filepath.Join(stateDir, h.Folder), ""
		err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err == nil && filepath.Dir(path) == root && isUnfinished(path) {
				unfinished = path
			}
			if err != nil || e.IsDir() {
				return err
			}
			st, err := e.Info()
			if err != nil {
				return err
			}
			if x, ok := st.Sys().(*syscall.Stat_t); ok && x.Nlink > 1 {
				file := inode{uint64(x.Dev), x.Ino}
				if names[file]++; names[file] < uint64(x.Nlink) {
					return nil
				}
			}
			h.Bytes += st.Size()
			if unfinished != "" && durable.Within(path, unfinished) {
				h.Unfinished += st.Size()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// isUnfinished reports whether sweepTemporary removes what is at a path in a block's folder.
func isUnfinished(path string) bool {
	whole, leftover := checkpoint.Leftover(path)
	if leftover && checkpoint.IsReplaced(path) { // it is put back if its successor is not there
		_, err := os.Lstat(whole)
		return err == nil
	}
	return leftover || durable.Temporary(filepath.Base(path))
}

// Forget removes blocks from the state, and leaves their files where they are. The state must have a block of each
// name.
func Forget(d *state.Dir, names []string) error {
	for _, n := range names {
		delete(d.State.Blocks, n)
	}
	return d.Save()
}

// Destroy removes blocks from the state, with everything they made. The state must have a block of each name.
func Destroy(d *state.Dir, names []string) error {
	var folders []string
	for _, n := range names {
		x, err := addr.Parse(n)
		if err != nil {
			return err
		}
		folders = append(folders, Folder(x), filepath.Join(Replaced, x.Dir()))
	}
	return Free(d, folders)
}

// Free removes folders, and from the state the blocks whose own folders they are. A process that is killed on the way
// leaves a state that names missing files, and no files that a plan could find.
func Free(d *state.Dir, folders []string) error {
	bin := filepath.Join(d.Path, removed)
	if err := durable.MkdirAll(bin, 0o777); err != nil {
		return err
	}
	gone := map[string]bool{}
	for _, dir := range folders {
		name := fmt.Sprintf("%d-%s", time.Now().UnixNano(), strings.ReplaceAll(dir, string(filepath.Separator), "-"))
		err := durable.Rename(filepath.Join(d.Path, dir), filepath.Join(bin, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		gone[dir] = true
		if filepath.Dir(dir) != state.BlocksName {
			os.Remove(filepath.Join(d.Path, filepath.Dir(dir))) // if that was the last of the block's
		}
	}
	for _, n := range d.State.Names() {
		if x, err := addr.Parse(n); err == nil && gone[Folder(x)] {
			delete(d.State.Blocks, n)
		}
	}
	if err := d.Save(); err != nil {
		return err
	}
	return os.RemoveAll(bin)
}
