// Package state keeps what a pipeline has done in one file: versioned, written atomically, locked
// by the kernel while a process uses it.
package state

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"stepflow/dsl/addr"
	"stepflow/foreign"
	"stepflow/runtime/durable"
)

// Version is the schema this program writes. Older ones are migrated, newer ones refused.
const Version = 3

// State is the contents of the file.
type State struct {
	Checksum  string             `json:"checksum,omitempty"` // of the file, in which zeros stand in its place
	Version   int                `json:"version"`
	Serial    int64              `json:"serial"`              // counts what was saved
	Lineage   string             `json:"lineage,omitempty"`   // of the states that follow each other; random
	Artifacts string             `json:"artifacts,omitempty"` // where results are besides the folder, as the last apply had it
	Exports   map[string]string  `json:"exports,omitempty"`   // folders of exports, hashed → recipe of the model that this state put there, or may replace
	Blocks    map[string]*Block  `json:"blocks"`
	Outputs   map[string]Output  `json:"outputs"`
	Sources   map[string]*Source `json:"sources,omitempty"` // of remote data blocks
	Rates     map[string]float64 `json:"rates,omitempty"`   // FLOP/s and bytes/s that were reached last, by what did, for plans to tell times by
	Trace     string             `json:"trace,omitempty"`   // traceparent of the latest run that was traced
	Traced    time.Time          `json:"traced,omitzero"`   // when that run began its trace, until it has ended it
	Salt      string             `json:"salt,omitempty"`    // of seals, random
}

// Rate notes a rate that was reached.
func (s *State) Rate(name string, rate float64) {
	if s.Rates == nil {
		s.Rates = map[string]float64{}
	}
	s.Rates[name] = rate
}

// Seal is what is kept of a sensitive value: a keyed hash, by which it is known whether the value has changed.
func (s *State) Seal(value string) string {
	if s.Salt == "" {
		s.Salt = rand.Text()
	}
	h := hmac.New(sha256.New, []byte(s.Salt))
	h.Write([]byte(value))
	return hex.EncodeToString(h.Sum(nil))
}

// sealed starts a seal among values that are not sealed.
const sealed = "sealed "

// SealAmong returns a seal that can be told from values that are not sealed.
func (s *State) SealAmong(value string) string { return sealed + s.Seal(value) }

// Comparable returns those of the values that are no seals: the seals of another state say nothing.
func Comparable(values map[string]string) map[string]string {
	out := map[string]string{}
	for name, v := range values {
		if !strings.HasPrefix(v, sealed) {
			out[name] = v
		}
	}
	return out
}

// Seals seals each of the values; nil for none.
func (s *State) Seals(values map[string]string) map[string]string {
	if len(values) == 0 {
		return nil
	}
	out := map[string]string{}
	for name, v := range values {
		out[name] = s.Seal(v)
	}
	return out
}

// Dir is a state folder, usually .stepflow beside the pipeline.
type Dir struct {
	Path  string
	State *State
	Lost  bool // there is no state file, though the folder holds what blocks made

	lock    *flock.Flock
	session *session // with the backend; nil for none
	file    []byte   // the state file as it was read or last written
}

// Names inside the folder.
const (
	FileName   = "state.json"
	BackupName = "state.json.backup" // what FileName held before it was last written
	BlocksName = "blocks"            // the folder of what blocks made
	lockName   = "lock"
)

// ErrDamaged says that the state file is not what a stepflow wrote.
var ErrDamaged = errors.New("the state is damaged")

// ErrNewer says that a newer program wrote the state.
var ErrNewer = errors.New("the state is of a newer version")

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
	s, err := parse(b)
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
		if old, err := parse(b); err == nil {
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

// The checksum is the first field of the file, of bytes in which zeros stand in its place: no bit of the file can
// change unnoticed.
const checksumField = "{\n  \"checksum\": \""

var zeros = strings.Repeat("0", 2*sha256.Size)

// format writes a state as it stands in the file.
func format(s State) ([]byte, error) {
	s.Checksum = zeros
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	b = append(b, '\n')
	copy(b[len(checksumField):], checksum(b))
	return b, nil
}

// checksum is that of a file which starts with checksumField.
func checksum(b []byte) string {
	h := sha256.New()
	h.Write(b[:len(checksumField)])
	h.Write([]byte(zeros))
	h.Write(b[len(checksumField)+len(zeros):])
	return hex.EncodeToString(h.Sum(nil))
}

// intact reports whether a file starts with its checksum.
func intact(b []byte) bool {
	n := len(checksumField)
	return bytes.HasPrefix(b, []byte(checksumField)) && len(b) > n+len(zeros) && string(b[n:n+len(zeros)]) == checksum(b)
}

func parse(b []byte) (*State, error) {
	var head struct {
		Version  int    `json:"version"`
		Checksum string `json:"checksum"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		var other *json.UnmarshalTypeError
		if errors.As(err, &other) {
			return nil, fmt.Errorf("%w: it holds something else than a state", ErrDamaged)
		}
		return nil, fmt.Errorf("%w: it is not JSON (%w)", ErrDamaged, err)
	}
	if head.Version > Version && (head.Checksum == "" || intact(b)) { // else its version is what was damaged
		return nil, fmt.Errorf("%w: %d, this stepflow knows up to %d; use the newer stepflow", ErrNewer, head.Version,
			Version)
	}
	if (head.Version != 1 || head.Checksum != "") && !intact(b) { // version 1 had no checksum
		return nil, fmt.Errorf("%w: its checksum does not match its contents: it was damaged, or edited by hand", ErrDamaged)
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if s.Blocks == nil {
		s.Blocks = map[string]*Block{}
	}
	if s.Outputs == nil {
		s.Outputs = map[string]Output{}
	}
	s.Version = Version
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return &s, nil
}

// Check tests the invariants of a state.
func (s *State) Check() error {
	for name, b := range s.Blocks {
		if _, err := addr.Parse(name); err != nil {
			return err
		}
		if b == nil || b.Status != Running && b.Status != Done && b.Status != Failed {
			return fmt.Errorf("block %s has no valid status", name)
		}
		if b.Status == Done && b.Content == "" {
			return fmt.Errorf("block %s is done but has no content id", name)
		}
		if b.Dir != "" && !filepath.IsLocal(b.Dir) {
			return fmt.Errorf("block %s lies outside the state's folder: %s", name, b.Dir)
		}
	}
	return nil
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
		if _, e := parse(b); errors.Is(e, ErrNewer) {
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

// Save writes the state, and keeps what the file held before as its backup.
func (d *Dir) Save() error {
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

// Names lists the addresses in the state, sorted.
func (s *State) Names() []string {
	names := make([]string, 0, len(s.Blocks))
	for n := range s.Blocks {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
