package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gofrs/flock"
)

// Scratch is an empty folder in the system's folder for temporary files, locked as long as the process lives.
type Scratch struct {
	Path string
	lock *flock.Flock
}

// A scratch folder gets its name once it is locked, so that nobody takes a new one for abandoned.
const (
	scratchName = "stepflow-scratch-"
	scratchNew  = "." + scratchName
	scratchKept = "stepflow-kept-"
	scratchLock = "lock"
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
	tmp, err := os.MkdirTemp("", scratchNew)
	if err != nil {
		return nil, err
	}
	l := flock.New(filepath.Join(tmp, scratchLock))
	if ok, err := l.TryLock(); err != nil || !ok {
		os.RemoveAll(tmp)
		return nil, fmt.Errorf("locking %s: %w", tmp, err)
	}
	s := &Scratch{filepath.Join(filepath.Dir(tmp), scratchName+strings.TrimPrefix(filepath.Base(tmp), scratchNew)), l}
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

// Keep gives the folder a name under which nothing removes it, and returns that.
func (s *Scratch) Keep() (path string, err error) {
	kept := filepath.Join(filepath.Dir(s.Path), scratchKept+strings.TrimPrefix(filepath.Base(s.Path), scratchName))
	err = os.Rename(s.Path, kept)
	return kept, errors.Join(err, s.lock.Close(), os.Remove(filepath.Join(kept, scratchLock)))
}
