package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	"stepflow/foreign"
)

// Backend holds a state elsewhere than in its folder, which keeps a copy.
type Backend interface {
	// Get returns the state and a version that names these bytes; no bytes if there is none.
	Get(ctx context.Context) (b []byte, version string, err error)
	// Put writes the state in place of the one of a version, "" for none, and returns the new version. ErrReplaced says
	// that another is there.
	Put(ctx context.Context, b []byte, version string) (string, error)
	// Lock takes the lock. A HeldError says who has it.
	Lock(ctx context.Context, l *LockInfo) error
	// Unlock gives the lock of this ID back. A HeldError says that another lock is there.
	Unlock(ctx context.Context, id string) error
	// Held returns who has the lock; nil if nobody has, or if that cannot be asked.
	Held(ctx context.Context) (*LockInfo, error)
	// String is the address, which holds no secrets.
	String() string
}

// ErrReplaced says that the state in a backend is not the one that was to be replaced.
var ErrReplaced = errors.New("another process has written the state meanwhile")

// LockInfo says who has the lock of a state, in the JSON that Terraform writes.
type LockInfo struct {
	ID        string
	Operation string
	Info      string
	Who       string
	Version   string
	Created   time.Time
	Path      string
}

// newLock returns the lock that an operation on the state of a folder takes.
func newLock(operation, version, folder string) *LockInfo {
	who := "somebody"
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	host, _ := os.Hostname()
	return &LockInfo{ID: newID(), Operation: operation, Who: who + "@" + host, Version: version,
		Created: time.Now().UTC().Truncate(time.Second), Path: folder}
}

// HeldError says that another process has the lock of a backend.
type HeldError struct {
	Backend string
	Lock    LockInfo // all empty if the backend does not say
}

func (e *HeldError) Error() string {
	l := &e.Lock
	if l.ID == "" {
		return fmt.Sprintf("the state %s is locked, and the server does not say by whom. Wait for that to end "+
			"(-lock-timeout=10m waits)", e.Backend)
	}
	show := func(s string) string { return foreign.ShownStart(s, 200) }
	return fmt.Sprintf("the state %s is locked by %s since %s (%s in %s, lock %s). Wait for that to end "+
		"(-lock-timeout=10m waits), or stop it. If its process is certainly gone, \"stepflow force-unlock %s\" "+
		"removes the lock", e.Backend,
		show(l.Who), l.Created.Format(time.RFC3339), show(l.Operation), show(l.Path), show(l.ID), show(l.ID))
}

// Is makes it ErrLocked.
func (e *HeldError) Is(target error) bool { return target == ErrLocked }
