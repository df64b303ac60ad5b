package state

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// session is the time for which a process has the lock of a backend. It sends what is saved, the latest state alone,
// and again and again where that fails: whoever saves does not wait for it.
type session struct {
	path    string
	backend Backend
	warn    func(error)
	held    bool   // the lock
	was     origin // what the folder remembered before
	origin  origin // what the folder remembers

	mu       sync.Mutex
	waiting  []byte        // the state that is to be sent; nil for none
	sending  bool          // by a goroutine
	idle     chan struct{} // closed by it when it ends
	last     error         // why the state was not sent
	closing  chan struct{} // closed when nothing more is saved
	deadline time.Time     // to give up at, once closing
}

// patience is how long a process that ends tries to send its state.
const patience = 30 * time.Second

// UnsentError says that the state is in its folder, and not in the backend.
type UnsentError struct {
	Folder, Backend string
	Err             error
}

func (e *UnsentError) Error() string {
	what := "the next command on this machine that writes the state, or \"stepflow state push\", sends it"
	if errors.Is(e.Err, ErrReplaced) {
		what = "the next command says what to do"
	}
	return fmt.Sprintf("the state could not be sent to %s: %v. It is whole in %s; %s", e.Backend, e.Err,
		filepath.Join(e.Folder, FileName), what)
}

func (e *UnsentError) Unwrap() error { return e.Err }

// begin takes the backend's lock. The lock of a process that had the folder's lock is taken over: that process is gone,
// since the kernel has given its lock to this one.
func (s *session) begin(ctx context.Context, a *Access) (err error) {
	if a == nil || a.Backend == nil {
		return nil
	}
	s.backend, s.warn, s.closing = a.Backend, a.Warn, make(chan struct{})
	if s.origin, err = readOrigin(s.path); err != nil {
		return err
	}
	s.was = s.origin
	if name := s.backend.String(); s.origin.Backend != name {
		s.origin = origin{Backend: name}
	}
	if a.Unlocked {
		return nil
	}
	folder, err := filepath.Abs(s.path)
	if err != nil {
		return err
	}
	l := newLock(a.Operation, a.Version, folder)
	if s.origin.Lock != "" {
		l.ID = s.origin.Lock
	}
	s.origin.Lock = l.ID // remembered first, so that it is known whose it is, whatever happens
	if err := s.origin.write(s.path); err != nil {
		return err
	}
	err = a.waiting(ctx, func() error { return s.lock(ctx, l) })
	var held *HeldError
	switch {
	case err == nil:
		s.held = true
	case errors.As(err, &held):
		s.origin.Lock = ""
		err = errors.Join(err, s.origin.write(s.path))
	}
	return err
}

// fail ends a session in which nothing was done: a folder that had its state elsewhere goes on to have it there.
func (s *session) fail() error {
	err := s.close()
	if s.backend != nil && s.was.Backend != s.backend.String() {
		err = errors.Join(err, s.was.restore(s.path))
	}
	return err
}

// lock takes the lock, also from a process that is gone: one that took it for this folder on this machine. The folder
// may have been copied from another one while a run went on there.
func (s *session) lock(ctx context.Context, l *LockInfo) error {
	err := s.backend.Lock(ctx, l)
	var held *HeldError
	if errors.As(err, &held) && held.Lock.ID == l.ID && held.Lock.Path == l.Path && held.Lock.Who == l.Who {
		if err := s.backend.Unlock(ctx, l.ID); err != nil {
			return err
		}
		err = s.backend.Lock(ctx, l)
	}
	return err
}

// sent remembers that folder and backend have the same state.
func (s *session) sent(b []byte, version string) error {
	s.origin.Version, s.origin.Sum, s.origin.Tried = version, sum(b), nil
	return s.origin.write(s.path)
}

// send has a state sent that was written to the folder.
func (s *session) send(b []byte) {
	if s == nil || s.backend == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = b
	if !s.sending {
		s.sending, s.idle = true, make(chan struct{})
		go s.run()
	}
}

// run sends what waits, until nothing does.
func (s *session) run() {
	defer close(s.idle)
	pause := time.Second
	for {
		s.mu.Lock()
		b := s.waiting
		if b == nil || !s.deadline.IsZero() && time.Now().After(s.deadline) || errors.Is(s.last, ErrReplaced) {
			s.sending = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		err := s.put(b)
		s.mu.Lock()
		if err == nil && sum(s.waiting) == sum(b) {
			s.waiting = nil
		}
		if err != nil && s.last == nil && s.warn != nil {
			s.warn(fmt.Errorf("the state cannot be sent to %s for now: %w. The run goes on, and the state is kept in "+
				"%s", s.backend,
				err, filepath.Join(s.path, FileName)))
		}
		s.last = err
		s.mu.Unlock()
		if err == nil {
			pause = time.Second
			continue
		}
		select {
		case <-time.After(pause):
		case <-s.closing:
			time.Sleep(time.Second)
		}
		pause = min(2*pause, time.Minute)
	}
}

// put sends a state. Where an answer was lost, the backend has what was sent then, and that is replaced.
func (s *session) put(b []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if tried := s.origin.Tried; !slices.Contains(tried, sum(b)) {
		s.origin.Tried = append(tried[max(0, len(tried)-mostTried):], sum(b))
		if err := s.origin.write(s.path); err != nil {
			return err
		}
	}
	version, err := s.backend.Put(ctx, b, s.origin.Version)
	if errors.Is(err, ErrReplaced) {
		there, is, e := s.backend.Get(ctx)
		switch at := sum(there); {
		case e != nil:
			return e
		case at == sum(b):
			version, err = is, nil
		case slices.Contains(s.origin.Tried, at):
			version, err = s.backend.Put(ctx, b, is)
		}
	}
	if err != nil {
		return err
	}
	return s.sent(b, version)
}

// close waits until the state is sent, as long as it has patience, and gives the lock back.
func (s *session) close() error {
	if s.backend == nil {
		return nil
	}
	s.mu.Lock()
	s.deadline = time.Now().Add(patience)
	idle := s.idle
	close(s.closing)
	s.mu.Unlock()
	if idle != nil {
		<-idle
	}
	var errs []error
	if s.waiting != nil {
		errs = append(errs, &UnsentError{s.path, s.backend.String(), s.last})
	}
	if !s.held {
		return errors.Join(errs...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.backend.Unlock(ctx, s.origin.Lock); err != nil {
		return errors.Join(append(errs, fmt.Errorf("the lock %s of %s was not given back: %w. The next run on this "+
			"machine takes it over; elsewhere, \"stepflow force-unlock %s\"",
			s.origin.Lock, s.backend, err, s.origin.Lock))...)
	}
	s.origin.Lock = ""
	return errors.Join(append(errs, s.origin.write(s.path))...)
}
