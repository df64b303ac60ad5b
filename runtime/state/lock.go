package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"stepflow/runtime/durable"
)

// ErrLocked says that another process uses the state.
var ErrLocked = errors.New("the state is in use")

// holder is what the lock file says of the process that has the lock.
type holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Start time.Time `json:"start"`
}

// lock makes the folder if need be and locks it.
func lock(path string) (*flock.Flock, error) {
	if err := durable.MkdirAll(path, 0o777); err != nil {
		return nil, cannotWrite(path, fmt.Errorf("opening the state: %w", err))
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
		return nil, cannotWrite(path, fmt.Errorf("locking the state: %w", err))
	}
	if !ok {
		return nil, locked(file)
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

// cannotWrite says what to do about a folder that may only be read.
func cannotWrite(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w. This command writes to %s: run it as a user who may, or name a folder with -state-dir",
			err, path)
	}
	return err
}

// locked is ErrLocked with the process that holds the lock.
func locked(file string) error {
	who := "another process"
	var h holder
	if b, err := readRegular(file); err == nil && json.Unmarshal(b, &h) == nil && h.PID != 0 {
		who = fmt.Sprintf("process %d on %s, started %s", h.PID, h.Host, h.Start.Format(time.RFC3339))
	}
	return fmt.Errorf("%w by %s: wait for it to end, or stop it; the lock goes with the process", ErrLocked, who)
}

// Locked reports whether a process uses the state, and so whether a run goes on.
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
