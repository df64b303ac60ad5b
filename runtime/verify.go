package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"stepflow/runtime/state"
)

// Scratch is an empty folder in the system's folder for temporary files, locked as long as the process lives.
type Scratch struct {
	Path string
	lock *flock.Flock
}

// A scratch folder gets its name once it is locked, so that nobody takes a new one for abandoned.
const (
	scratchName    = "stepflow-verify-"
	scratchNewName = ".stepflow-verify-"
	scratchLock    = "lock"
)

// NewScratch makes a folder, and removes those of this user whose processes were killed.
func NewScratch() (*Scratch, error) {
	left, _ := os.ReadDir(os.TempDir())
	for _, e := range left {
		if st, err := e.Info(); err != nil || !strings.HasPrefix(e.Name(), scratchName) || !st.IsDir() || !own(st) {
			continue
		}
		path := filepath.Join(os.TempDir(), e.Name())
		l := flock.New(filepath.Join(path, scratchLock), flock.SetFlag(os.O_RDWR))
		if ok, err := l.TryLock(); err == nil && ok {
			(&Scratch{path, l}).Remove()
		}
	}
	tmp, err := os.MkdirTemp("", scratchNewName)
	if err != nil {
		return nil, err
	}
	l := flock.New(filepath.Join(tmp, scratchLock))
	if ok, err := l.TryLock(); err != nil || !ok {
		os.RemoveAll(tmp)
		return nil, fmt.Errorf("locking %s: %w", tmp, err)
	}
	s := &Scratch{filepath.Join(filepath.Dir(tmp), scratchName+strings.TrimPrefix(filepath.Base(tmp), scratchNewName)), l}
	if err := os.Rename(tmp, s.Path); err != nil {
		os.RemoveAll(tmp)
		return nil, err
	}
	return s, nil
}

func own(st os.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int(sys.Uid) == os.Getuid()
}

// Remove removes the folder, also from under a run that still writes there.
func (s *Scratch) Remove() error {
	var err error
	for range 10 {
		if err = os.RemoveAll(s.Path); err == nil {
			break
		}
	}
	return errors.Join(err, s.lock.Close())
}

// Verify runs the pipeline again in a scratch folder, exports left out, and compares what every block makes with what the
// state recorded. It returns the addresses that came out the same.
func Verify(ctx context.Context, o Options, p *Plan, s *Scratch, a ApplyOptions) (same []string, err error) {
	o.StateDir, o.Caps = filepath.Join(s.Path, "state"), p.Caps
	q, diags := NewPlan(o)
	if diags.HasErrors() {
		return nil, diags
	}
	for _, x := range q.Actions {
		if x.Export != nil {
			x.skip = true
		}
	}
	if err := Apply(ctx, q, a); err != nil {
		return nil, err
	}
	again, err := state.Read(o.StateDir)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range p.State.Names() {
		was, now := p.State.Blocks[name], again.State.Blocks[name]
		if was.Status != state.Done || now == nil {
			continue
		}
		if was.Content != now.Content {
			errs = append(errs, fmt.Errorf("%s: running it again made %.12s…, the state has %.12s…", name, now.Content, was.Content))
			continue
		}
		same = append(same, name)
	}
	return same, errors.Join(errs...)
}
