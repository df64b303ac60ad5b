package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"stepflow/runtime/durable"
)

// Access says where a state lies besides its folder, and how its locks are taken. The nil Access is for a folder
// alone.
type Access struct {
	Backend   Backend       // nil for none
	Unlocked  bool          // do without the backend's lock; the folder's own is always taken
	Wait      time.Duration // for locks that others have
	Operation string        // that takes the lock, for others to see
	Version   string        // of the program
	Warn      func(error)   // is told, from another goroutine, that a state cannot be sent for now; nil tells nobody
}

// Open locks a folder and its backend, brings the two to one state, and reads it. What Save writes goes to the folder
// at once, and from there to the backend while the caller goes on. Cancelling ctx ends the waiting.
func (a *Access) Open(ctx context.Context, path string) (*Dir, error) {
	return a.open(ctx, path, func(s *session) (*Dir, error) {
		if s.backend != nil {
			if err := s.agree(ctx); err != nil {
				return nil, err
			}
		}
		return Read(path)
	})
}

// Replace is Open that gives an empty state in place of the one in the file, which may be damaged and is kept beside it
// under the name that kept returns; "" if there was none. The state in the backend is read for its serial and its
// lineage alone.
func (a *Access) Replace(ctx context.Context, path string) (d *Dir, kept string, err error) {
	d, err = a.open(ctx, path, func(s *session) (d *Dir, err error) {
		var there []byte
		if s.backend != nil {
			if there, s.origin.Version, err = s.backend.Get(ctx); err != nil {
				return nil, err
			}
		}
		d, kept, err = replace(path, there)
		return d, err
	})
	return d, kept, err
}

// open takes the locks, calls read, and readies what it returns for writing.
func (a *Access) open(ctx context.Context, path string, read func(*session) (*Dir, error)) (d *Dir, err error) {
	l, err := a.flock(ctx, path)
	if err != nil {
		return nil, err
	}
	s := &session{path: path}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.fail(), l.Unlock())
		}
	}()
	if a != nil && a.Backend != nil {
		o, err := readOrigin(path)
		if err == nil {
			err = o.is(path, a.Backend)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := s.begin(ctx, a); err != nil {
		return nil, err
	}
	if d, err = read(s); err != nil {
		return nil, err
	}
	if d.State.Lineage == "" {
		d.State.Lineage = newID()
	}
	d.lock, d.session = l, s
	return d, nil
}

// flock locks the folder, waiting as long as it may.
func (a *Access) flock(ctx context.Context, path string) (l *flock.Flock, err error) {
	err = a.waiting(ctx, func() error {
		l, err = lock(path)
		return err
	})
	return l, err
}

// waiting calls f until it does not find a lock that another has, or has been called for long enough.
func (a *Access) waiting(ctx context.Context, f func() error) error {
	var most time.Duration
	if a != nil {
		most = a.Wait
	}
	start, pause := time.Now(), 100*time.Millisecond
	for {
		err := f()
		left := most - time.Since(start)
		if !errors.Is(err, ErrLocked) || left <= 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(min(pause, left)):
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// Idle waits until nobody has the locks of a state, as long as it may, and then returns ErrLocked, and by whom. A plan
// made beside a process that has them would soon be wrong, since the state changes.
func (a *Access) Idle(ctx context.Context, path string) error {
	return a.waiting(ctx, func() error {
		if Locked(path) {
			return locked(filepath.Join(path, lockName))
		}
		if a == nil || a.Backend == nil || a.Unlocked {
			return nil
		}
		l, err := a.Backend.Held(ctx)
		if err != nil || l == nil {
			return err
		}
		if o, err := readOrigin(path); err == nil && o.Lock == l.ID {
			return nil // of a process that was killed: Open takes it over
		}
		return &HeldError{a.Backend.String(), *l}
	})
}

// Refresh brings the copy of a state in its folder to what the backend has, for commands that read it. While a process
// uses the folder, the copy is as new as can be.
func (a *Access) Refresh(ctx context.Context, path string) error {
	if a == nil || a.Backend == nil || Locked(path) {
		return nil
	}
	there, version, err := a.Backend.Get(ctx)
	if err != nil {
		return err
	}
	o, err := readOrigin(path)
	if err != nil {
		return err
	}
	if err := o.is(path, a.Backend); err != nil || there == nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(path, FileName)); err == nil && o.Version == version && o.Sum != "" {
		return nil
	}
	l, err := lock(path)
	if errors.Is(err, ErrLocked) {
		return nil
	}
	if err != nil {
		return err
	}
	s := &session{path: path, backend: a.Backend}
	err = s.take(there, version)
	return errors.Join(err, l.Unlock())
}

// Copy returns the bytes of the state that a folder and its backend have; nil if there is none.
func (a *Access) Copy(ctx context.Context, path string) ([]byte, error) {
	if err := a.Refresh(ctx, path); err != nil {
		return nil, err
	}
	b, err := readRegular(filepath.Join(path, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		_, err = Parse(b)
	}
	return b, err
}

// agree brings folder and backend to one state.
func (s *session) agree(ctx context.Context) error {
	there, version, err := s.backend.Get(ctx)
	if err != nil {
		return err
	}
	if err := s.take(there, version); err != nil {
		return err
	}
	here, err := readRegular(filepath.Join(s.path, FileName))
	if errors.Is(err, fs.ErrNotExist) || err == nil && sum(here) == s.origin.Sum {
		return nil
	}
	if err != nil {
		return err
	}
	if version, err = s.backend.Put(ctx, here, version); err != nil { // what an earlier run could not send
		return err
	}
	return s.sent(here, version)
}

// take makes the copy in the folder what the backend has, unless the folder has what was not sent yet: that stays if
// the backend still has the state that it follows, and is an error if not.
func (s *session) take(there []byte, version string) error {
	var err error
	if s.origin, err = readOrigin(s.path); err != nil {
		return err
	}
	if err := s.origin.is(s.path, s.backend); err != nil {
		return err
	}
	name := s.backend.String()
	if there != nil {
		if _, err := Parse(there); err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
	}
	file := filepath.Join(s.path, FileName)
	here, err := readRegular(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.origin.Backend = name
	newer, err := s.newer(here, there, version)
	if err != nil {
		return err
	}
	if !newer {
		return s.origin.write(s.path)
	}
	if here != nil {
		if err := durable.WriteFile(filepath.Join(s.path, BackupName), here); err != nil {
			return err
		}
	}
	if err := durable.WriteFile(file, there); err != nil {
		return err
	}
	return s.sent(there, version)
}

// newer reports whether what the backend has takes the place of the copy in the folder.
func (s *session) newer(here, there []byte, version string) (bool, error) {
	switch {
	case there == nil:
		return false, nil
	case here == nil || sum(here) == s.origin.Sum:
		return true, nil
	case sum(here) == sum(there):
		return true, nil // to remember that they are the same
	case s.origin.Sum != "" && s.origin.Version == version, slices.Contains(s.origin.Tried, sum(there)):
		return false, nil
	}
	a, err := Parse(here)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w. %s", filepath.Join(s.path, FileName), err, remedy(s.path))
	}
	b, err := Parse(there)
	if err != nil {
		return false, err
	}
	file, name := filepath.Join(s.path, FileName), s.backend.String()
	switch {
	case a.Lineage != b.Lineage:
		return false, fmt.Errorf("%s and %s are the states of two pipelines, which were made apart (lineage %q and "+
			"%q). Name another -backend, or another -state-dir", file, name, a.Lineage, b.Lineage)
	case s.origin.Sum == "" && a.Serial < b.Serial:
		return true, nil // an older copy from elsewhere
	case s.origin.Sum == "" && a.Serial > b.Serial:
		return false, nil
	}
	return false, fmt.Errorf("%s (serial %d) holds what was not sent to %s, and another process has written that "+
		"meanwhile (serial %d). To go on from what is in the backend, move %s away: what was trained is found by its "+
		"recipe. To have this folder's instead, \"stepflow state push -force\". Nothing was changed",
		file, a.Serial, name, b.Serial, file)
}
