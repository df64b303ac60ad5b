package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"stepflow/runtime/durable"
)

// Push puts a state, given by its bytes, into a folder and its backend, and the folder forgets any other backend. The
// state that is there must have the same lineage and a lower serial, unless force. It reports whether anything was
// changed.
func (a *Access) Push(ctx context.Context, path string, b []byte, force bool) (changed bool, err error) {
	st, err := Parse(b)
	if err != nil {
		return false, err
	}
	l, err := a.flock(ctx, path)
	if err != nil {
		return false, err
	}
	s := &session{path: path}
	defer func() {
		end := s.close
		if err != nil {
			end = s.fail
		}
		err = errors.Join(err, end(), l.Unlock())
	}()
	if err := s.begin(ctx, a); err != nil {
		return false, err
	}
	file := filepath.Join(path, FileName)
	here, err := readRegular(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	there, version := here, ""
	if s.backend != nil {
		if there, version, err = s.backend.Get(ctx); err != nil {
			return false, err
		}
	}
	if err := st.follow(there, force); err != nil {
		return false, err
	}
	if b, err = format(*st); err != nil {
		return false, err
	}
	changed = sum(b) != sum(there)
	if s.backend != nil && changed {
		if version, err = s.backend.Put(ctx, b, version); err != nil {
			return false, err
		}
	}
	if sum(here) != sum(b) {
		if here != nil {
			err = durable.WriteFile(filepath.Join(path, BackupName), here)
		}
		if err = errors.Join(err, durable.WriteFile(file, b)); err != nil {
			return changed, err
		}
	}
	if s.backend == nil {
		return changed, forgetOrigin(path)
	}
	return changed, s.sent(b, version)
}

// follow returns an error if a state may not take the place of another one, and with force makes it the next.
func (s *State) follow(there []byte, force bool) error {
	if there == nil {
		return nil
	}
	t, err := Parse(there)
	switch {
	case errors.Is(err, ErrNewer), err != nil && !force:
		return err
	case err != nil:
		return nil
	case force:
		s.Serial = max(s.Serial, t.Serial+1)
	case s.Lineage != t.Lineage:
		return fmt.Errorf("the state there is of another pipeline: its lineage is %q, and that of the one to push "+
			"%q. Push to another place, or with -force to lose what is there. Nothing was changed",
			t.Lineage, s.Lineage)
	case s.Serial < t.Serial:
		return fmt.Errorf("the state there is newer: its serial is %d, and that of the one to push %d. \"stepflow "+
			"state pull\" shows it; -force replaces it. Nothing was changed", t.Serial, s.Serial)
	case s.Serial == t.Serial && s.sum() != t.sum():
		return fmt.Errorf("the state there is another one of the same serial, %d. \"stepflow state pull\" shows it; "+
			"-force replaces it. Nothing was changed", t.Serial)
	}
	return nil
}

// sum names what a state says, however its file was written.
func (s *State) sum() string {
	b, err := format(*s)
	if err != nil {
		return ""
	}
	return sum(b)
}
