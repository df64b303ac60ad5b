// Package state keeps what a pipeline has done in one file: versioned, written atomically, locked
// by the kernel while a process uses it.
package state

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/gofrs/flock"

	"stepflow/foreign"
	"stepflow/runtime/durable"
)

// Version is the schema this program writes. Older ones are migrated, newer ones refused.
const Version = 3

// State is the contents of the file.
type State struct {
	Checksum  string `json:"checksum,omitempty"` // of the file, in which zeros stand in its place
	Version   int    `json:"version"`
	Serial    int64  `json:"serial"`              // counts what was saved
	Lineage   string `json:"lineage,omitempty"`   // of the states that follow each other; random
	Artifacts string `json:"artifacts,omitempty"` // where else the last apply kept results
	// folders of exports, hashed → recipe of the model that this state put there, or may replace
	Exports map[string]string  `json:"exports,omitempty"`
	Blocks  map[string]*Block  `json:"blocks"`
	Outputs map[string]Output  `json:"outputs"`
	Sources map[string]*Source `json:"sources,omitempty"` // of remote data blocks
	// FLOP/s and bytes/s that were reached last, by what did, for plans to tell times by
	Rates  map[string]float64 `json:"rates,omitempty"`
	Trace  string             `json:"trace,omitempty"`  // traceparent of the latest run that was traced
	Traced time.Time          `json:"traced,omitzero"`  // when that run began its trace, until it has ended it
	Unsent []Unsent           `json:"unsent,omitempty"` // spans of that run
	Salt   string             `json:"salt,omitempty"`   // of seals, random
}

// Rate notes a rate that was reached.
func (s *State) Rate(name string, rate float64) {
	if s.Rates == nil {
		s.Rates = map[string]float64{}
	}
	s.Rates[name] = rate
}

// RateAtLeast notes a rate that was reached if none higher is noted, and returns the highest.
func (s *State) RateAtLeast(name string, rate float64) float64 {
	if s.Rates[name] < rate {
		s.Rate(name, rate)
	}
	return s.Rates[name]
}

// Dir is a state folder, usually .stepflow beside the pipeline.
type Dir struct {
	Path  string
	State *State
	Lost  bool // there is no state file, though the folder holds what blocks made

	lock    *flock.Flock
	apart   func(*State) error // takes what is saved, of a copy; nil for the state itself
	session *session           // with the backend; nil for none
	file    []byte             // the state file as it was read or last written
}

// Names inside the folder.
const (
	FileName   = "state.json"
	BackupName = "state.json.backup" // what FileName held before it was last written
	BlocksName = "blocks"            // the folder of what blocks made
	lockName   = "lock"
)

func empty() *State {
	return &State{Version: Version, Blocks: map[string]*Block{}, Outputs: map[string]Output{}}
}

// Default is the folder of the state of a pipeline in dir. A link there is an error: in a folder that came from
// elsewhere it may lead to anything.
func Default(dir string) (string, error) {
	path := filepath.Join(dir, ".stepflow")
	if st, err := os.Lstat(path); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		return "", fmt.Errorf("%s is a symbolic link: name the folder it should lead to with -state-dir, or remove it", path)
	}
	return path, nil
}

// Read reads the state without locking it; an empty one if there is none.
func Read(path string) (*Dir, error) {
	d := &Dir{Path: path, State: empty()}
	file := filepath.Join(path, FileName)
	b, err := readRegular(file)
	if errors.Is(err, fs.ErrNotExist) {
		made, err := os.ReadDir(filepath.Join(path, BlocksName))
		d.Lost = err == nil && len(made) > 0
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	s, err := Parse(b)
	if errors.Is(err, ErrDamaged) {
		return nil, fmt.Errorf("reading %s: %w. %s", file, err, remedy(path))
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	d.State, d.file = s, b
	return d, nil
}

// remedy says what to do about a damaged state file.
func remedy(path string) string {
	s := "Run \"stepflow state rebuild\" to make it again from the results and checkpoints on disk, which are not touched"
	if b, err := readRegular(filepath.Join(path, BackupName)); err == nil {
		if old, err := Parse(b); err == nil {
			s += fmt.Sprintf("; or put its predecessor, %s (serial %d), in its place", filepath.Join(path, BackupName),
				old.Serial)
		}
	}
	return s
}

// readRegular reads a file that is neither a link nor a device.
func readRegular(path string) ([]byte, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is %s: remove it", path, strange(st.Mode().Type()))
	}
	return foreign.ReadFile(path, maxFile)
}

// maxFile bounds what is read of a file in the state's folder, in bytes.
const maxFile = 256 << 20

// strange says what is in the place of a regular file.
func strange(t fs.FileMode) string {
	switch {
	case t&fs.ModeSymlink != 0:
		return "a symbolic link"
	case t.IsDir():
		return "a folder"
	}
	return "a pipe or a device"
}

// Open makes the folder if need be, locks it and reads the state. The lock is the kernel's: it is
// gone when the process is, however it ended.
func Open(path string) (*Dir, error) { return (*Access)(nil).Open(context.Background(), path) }

// Exported notes that the model of a recipe, in a folder of exports, is this state's to replace.
func (s *State) Exported(folder, recipe string) {
	if s.Exports == nil {
		s.Exports = map[string]string{}
	}
	sum := sha256.Sum256([]byte(folder))
	s.Exports[hex.EncodeToString(sum[:8])] = recipe
}

// HasExported reports whether the model of a recipe, wherever it lies, is this state's to replace.
func (s *State) HasExported(recipe string) bool {
	for _, r := range s.Exports {
		if r == recipe {
			return true
		}
	}
	for _, b := range s.Blocks {
		if b.Recipe == recipe {
			return true
		}
	}
	return false
}

// Save writes the state, and keeps what the file held before as its backup.
func (d *Dir) Save() error {
	if d.apart != nil {
		return d.apart(d.State)
	}
	if d.lock == nil {
		return fmt.Errorf("saving the state: it was opened for reading")
	}
	d.State.Serial++
	if err := d.State.Check(); err != nil {
		return fmt.Errorf("saving the state: %w", err)
	}
	b, err := format(*d.State)
	if err != nil {
		return fmt.Errorf("saving the state: %w", err)
	}
	if d.file != nil {
		if err := durable.WriteFile(filepath.Join(d.Path, BackupName), d.file); err != nil {
			return fmt.Errorf("saving the state: %w", err)
		}
	}
	if err := durable.WriteFile(filepath.Join(d.Path, FileName), b); err != nil {
		return fmt.Errorf("saving the state: %w", err)
	}
	d.file = b
	d.session.send(b)
	return nil
}

// Close sends what was saved to the backend and gives the locks back. An UnsentError says that it could not be sent.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	return errors.Join(d.session.close(), d.lock.Unlock())
}

// Apart returns a copy of a state for a process that makes one block of it and has no lock: what it saves goes to save.
func (d *Dir) Apart(save func(*State) error) *Dir {
	return &Dir{Path: d.Path, State: d.State.Copy(), apart: save}
}

// Names lists the addresses in the state, sorted.
func (s *State) Names() []string {
	names := make([]string, 0, len(s.Blocks))
	for n := range s.Blocks {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
