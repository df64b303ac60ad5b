// Package state keeps what a pipeline has done in one file: versioned, written atomically, locked
// by the kernel while a process uses it.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/gofrs/flock"

	"stepflow/dsl/addr"
	"stepflow/runtime/durable"
)

// Version is the schema this program writes. Older ones are migrated, newer ones refused.
const Version = 1

// Status of a block.
const (
	Running = "running"
	Done    = "done"
	Failed  = "failed"
)

// Block is what is known of one block.
type Block struct {
	Status  string            `json:"status"`
	Recipe  string            `json:"recipe"`            // of the configuration and inputs that made it
	Content string            `json:"content,omitempty"` // of what it made, once done
	Attrs   map[string]string `json:"attributes"`        // as evaluated, for saying what changed
	Inputs  map[string]string `json:"inputs"`            // address → id
	Dir     string            `json:"dir,omitempty"`     // relative to the state's folder
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
	Value       any    `json:"value"`
	Description string `json:"description,omitempty"`
	Sensitive   bool   `json:"sensitive,omitempty"` // its value is not kept
}

// State is the contents of the file.
type State struct {
	Version int                `json:"version"`
	Serial  int64              `json:"serial"`
	Blocks  map[string]*Block  `json:"blocks"`
	Outputs map[string]Output  `json:"outputs"`
	Sources map[string]*Source `json:"sources,omitempty"` // of remote data blocks
	Trace   string             `json:"trace,omitempty"`   // traceparent of the latest run that was traced
}

// Dir is a state folder, usually .stepflow beside the pipeline.
type Dir struct {
	Path  string
	State *State
	lock  *flock.Flock
}

// Names inside the folder.
const (
	FileName = "state.json"
	lockName = "lock"
)

// ErrLocked tells that another process uses the state.
var ErrLocked = errors.New("the state is in use")

// ErrNewer tells that a newer program wrote the state.
var ErrNewer = errors.New("the state is of a newer version")

// Read reads the state without locking it; an empty one if there is none.
func Read(path string) (*Dir, error) {
	d := &Dir{Path: path, State: &State{Version: Version, Blocks: map[string]*Block{}, Outputs: map[string]Output{}}}
	file := filepath.Join(path, FileName)
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the state: %w", err)
	}
	s, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("reading the state %s: %w", file, err)
	}
	d.State = s
	return d, nil
}

func parse(b []byte) (*State, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("it is no JSON (%w); restore it from a copy, or remove it to start over", err)
	}
	if head.Version > Version {
		return nil, fmt.Errorf("%w: %d, this stepflow knows up to %d; use the newer stepflow", ErrNewer, head.Version, Version)
	}
	if head.Version < 1 {
		return nil, fmt.Errorf("it has no version; it is no stepflow state")
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	if s.Blocks == nil {
		s.Blocks = map[string]*Block{}
	}
	if s.Outputs == nil {
		s.Outputs = map[string]Output{}
	}
	return &s, s.Check()
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
	if err := os.MkdirAll(path, 0o777); err != nil {
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
	d, err := Read(path)
	if err != nil {
		l.Unlock()
		return nil, err
	}
	d.lock = l
	return d, nil
}

// Locked tells whether a process uses the state, so whether a run goes on.
func Locked(path string) bool {
	file := filepath.Join(path, lockName)
	if _, err := os.Stat(file); err != nil {
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

// Save writes the state.
func (d *Dir) Save() error {
	if d.lock == nil {
		return fmt.Errorf("saving the state: it was opened for reading")
	}
	d.State.Serial++
	if err := d.State.Check(); err != nil {
		return fmt.Errorf("saving the state: %w", err)
	}
	b, err := json.MarshalIndent(d.State, "", "  ")
	if err != nil {
		return fmt.Errorf("saving the state: %w", err)
	}
	return durable.WriteFile(filepath.Join(d.Path, FileName), append(b, '\n'))
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
