// Package state keeps what a pipeline has done in one file: versioned, written atomically, locked
// by the kernel while a process uses it.
package state

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"stepflow/dsl/addr"
	"stepflow/runtime/durable"
)

// Version is the schema this program writes. Older ones are migrated, newer ones refused.
const Version = 2

// Status of a block.
const (
	Running = "running"
	Done    = "done"
	Failed  = "failed"
)

// Block is what is known of one block.
type Block struct {
	Status  string            `json:"status"`
	Recipe  string            `json:"recipe"`              // of the configuration and inputs that made it
	Content string            `json:"content,omitempty"`   // of what it made, once done
	Attrs   map[string]string `json:"attributes"`          // as evaluated, for saying what changed
	Secrets map[string]string `json:"sensitive,omitempty"` // seals of the sensitive attributes
	Inputs  map[string]string `json:"inputs"`              // address → id
	Dir     string            `json:"dir,omitempty"`       // relative to the state's folder
	Step    int               `json:"step,omitempty"`
	Steps   int               `json:"steps,omitempty"`
	Values  map[string]any    `json:"values,omitempty"` // exports
	Memory  *Memory           `json:"memory,omitempty"`
	Error   string            `json:"error,omitempty"`
	Updated time.Time         `json:"updated"`
	Started time.Time         `json:"started,omitzero"`
	// Trace is the traceparent (W3C Trace Context) of the block's root span; one that has not ended was cut off.
	Trace      string `json:"trace,omitempty"`
	TraceEnded bool   `json:"trace_ended,omitempty"`
}

// Memory compares plan and run.
type Memory struct {
	Planned  int64            `json:"planned_bytes"`
	Measured int64            `json:"measured_bytes"`
	Vanilla  int64            `json:"vanilla_bytes"`
	ByKind   map[string]int64 `json:"by_kind"`
}

// Source is what remote data were when a run last looked at them.
type Source struct {
	Key      string    `json:"key"` // a hash of what was asked for
	Identity string    `json:"identity"`
	Rows     int64     `json:"rows"`
	Files    []string  `json:"files"` // of the hub at their commits; without keys
	Seen     time.Time `json:"seen"`
}

// Saw notes what remote data were; nil changes nothing.
func (s *State) Saw(block string, d *Source) {
	if d == nil {
		return
	}
	if s.Sources == nil {
		s.Sources = map[string]*Source{}
	}
	s.Sources[block] = d
}

// Output is a value of an output block.
type Output struct {
	Value       any             `json:"value"`          // whole numbers beyond 2^53 as json.Number
	Type        json.RawMessage `json:"type,omitempty"` // as Terraform writes types
	Description string          `json:"description,omitempty"`
	Sensitive   bool            `json:"sensitive,omitempty"` // its value is not kept
	Seal        string          `json:"seal,omitempty"`      // of a sensitive one
}

// UnmarshalJSON reads an output with the digits of its numbers.
func (o *Output) UnmarshalJSON(b []byte) error {
	type plain Output
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode((*plain)(o)); err != nil {
		return err
	}
	o.Value = numbers(o.Value)
	return nil
}

// numbers turns numbers into float64 where that holds them.
func numbers(v any) any {
	switch x := v.(type) {
	case json.Number:
		f, err := x.Float64()
		if err != nil || math.Abs(f) >= 1<<53 && !strings.ContainsAny(x.String(), ".eE") {
			return x
		}
		return f
	case []any:
		for i := range x {
			x[i] = numbers(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = numbers(x[k])
		}
	}
	return v
}

// State is the contents of the file.
type State struct {
	Checksum string             `json:"checksum,omitempty"` // of the file, in which zeros stand in its place
	Version  int                `json:"version"`
	Serial   int64              `json:"serial"`
	Exports  map[string]string  `json:"exports,omitempty"` // folders of exports, hashed → recipe of the model that this state put there, or may replace
	Blocks   map[string]*Block  `json:"blocks"`
	Outputs  map[string]Output  `json:"outputs"`
	Sources  map[string]*Source `json:"sources,omitempty"` // of remote data blocks
	Trace    string             `json:"trace,omitempty"`   // traceparent of the latest run that was traced
	Salt     string             `json:"salt,omitempty"`    // of seals, random
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

	lock *flock.Flock
	file []byte // the state file as it was read or last written
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

// ErrLocked tells that another process uses the state.
var ErrLocked = errors.New("the state is in use")

// ErrNewer tells that a newer program wrote the state.
var ErrNewer = errors.New("the state is of a newer version")

func empty() *State {
	return &State{Version: Version, Blocks: map[string]*Block{}, Outputs: map[string]Output{}}
}

// Default is the folder of the state of a pipeline in dir. A link there is an error: in a folder that came from elsewhere it
// may lead to anything.
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
			s += fmt.Sprintf("; or put its predecessor, %s (serial %d), in its place", filepath.Join(path, BackupName), old.Serial)
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
	return os.ReadFile(path)
}

// The checksum is the first field of the file, of bytes in which zeros stand in its place: no bit of the file can change
// unnoticed.
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
		return nil, fmt.Errorf("%w: it is not JSON (%w)", ErrDamaged, err)
	}
	if head.Version > Version && (head.Checksum == "" || intact(b)) { // else its version is what was damaged
		return nil, fmt.Errorf("%w: %d, this stepflow knows up to %d; use the newer stepflow", ErrNewer, head.Version, Version)
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

type holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Start time.Time `json:"start"`
}

// Open makes the folder if need be, locks it and reads the state. The lock is the kernel's: it is
// gone when the process is, however it ended.
func Open(path string) (*Dir, error) {
	l, err := lock(path)
	if err != nil {
		return nil, err
	}
	d, err := Read(path)
	if err != nil {
		l.Unlock()
		return nil, err
	}
	d.lock = l
	return d, nil
}

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

// LockFolder keeps other processes from writing an export to a folder until unlock is called.
func LockFolder(path string) (unlock func(), err error) {
	l := flock.New(path, flock.SetFlag(os.O_RDONLY))
	ok, err := l.TryLock()
	if err != nil {
		return func() {}, nil // the file system has no locks for folders
	}
	if !ok {
		return nil, fmt.Errorf("another process writes to %s: wait for it to end, and apply again", path)
	}
	return func() { l.Unlock() }, nil
}

// Replace locks the folder and gives an empty state in place of the one in the file, which may be damaged and is kept beside
// it under the name that kept returns; "" if there was none.
func Replace(path string) (d *Dir, kept string, err error) {
	l, err := lock(path)
	if err != nil {
		return nil, "", err
	}
	d = &Dir{Path: path, State: empty(), lock: l}
	file := filepath.Join(path, FileName)
	b, err := readRegular(file)
	backup, _ := readRegular(filepath.Join(path, BackupName))
	for _, b := range [][]byte{b, backup} { // the first that is legible says which state it is
		var head struct {
			Serial int64 `json:"serial"`
		}
		if json.Unmarshal(b, &head) == nil && head.Serial > 0 && head.Serial < 1<<40 && d.State.Serial == 0 {
			d.State.Serial = head.Serial
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return d, "", nil
	}
	if err == nil {
		kept = file + ".before-rebuild"
		err = durable.WriteFile(kept, b)
	}
	if err != nil {
		l.Unlock()
		return nil, "", fmt.Errorf("keeping the old state: %w", err)
	}
	return d, kept, nil
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

// refuseLinks refuses a folder that holds a symbolic link, a pipe or a device, through which what is written or removed
// could be something else than stepflow's.
func refuseLinks(path string) error {
	root, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // removed meanwhile by the process that uses the state
			return nil
		}
		if err == nil && !e.IsDir() && !e.Type().IsRegular() {
			err = fmt.Errorf("%s is %s, and the folder of a state holds none: remove it", name, strange(e.Type()))
		}
		return err
	})
}

// lock makes the folder if need be and locks it.
func lock(path string) (*flock.Flock, error) {
	if err := durable.MkdirAll(path, 0o777); err != nil {
		return nil, fmt.Errorf("opening the state: %w", err)
	}
	if err := refuseLinks(path); err != nil {
		return nil, fmt.Errorf("opening the state: %w", err)
	}
	file := filepath.Join(path, lockName)
	l := flock.New(file)
	ok, err := l.TryLock()
	for i := 0; i < 4 && !ok && err == nil; i++ { // a reader may just look whether it is locked
		time.Sleep(25 * time.Millisecond)
		ok, err = l.TryLock()
	}
	if err != nil {
		return nil, fmt.Errorf("locking the state %s: %w", path, err)
	}
	if !ok {
		who := "another process"
		var h holder
		if b, err := os.ReadFile(file); err == nil && json.Unmarshal(b, &h) == nil && h.PID != 0 {
			who = fmt.Sprintf("process %d on %s, started %s", h.PID, h.Host, h.Start.Format(time.RFC3339))
		}
		return nil, fmt.Errorf("%w by %s: wait for it to end, or stop it; the lock goes with the process", ErrLocked, who)
	}
	host, _ := os.Hostname()
	b, err := json.Marshal(holder{os.Getpid(), host, time.Now().UTC().Truncate(time.Second)})
	if err == nil {
		err = os.WriteFile(file, b, 0o666)
	}
	if err != nil {
		l.Unlock()
		return nil, fmt.Errorf("locking the state: %w", err)
	}
	return l, nil
}

// Locked tells whether a process uses the state, so whether a run goes on.
func Locked(path string) bool {
	file := filepath.Join(path, lockName)
	if st, err := os.Lstat(file); err != nil || !st.Mode().IsRegular() {
		return false
	}
	l := flock.New(file, flock.SetFlag(os.O_RDONLY))
	ok, err := l.TryRLock()
	if err != nil {
		return false
	}
	if ok {
		l.Unlock()
	}
	return !ok
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
	return nil
}

// Close gives the lock back.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Unlock()
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
