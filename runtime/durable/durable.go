// Package durable changes files and folders so that a change is complete or not there at all, also after a power
// failure: write beside, sync, rename, sync the folder.
package durable

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Before, where a test sets it, is called before every change of the disk with what is to happen (create, mkdir,
// rename, remove, sync) and to which path; its error is that of the change.
var Before func(op, path string) error

func before(op, path string) error {
	if Before == nil {
		return nil
	}
	return Before(op, path)
}

// tmpPrefix and tmpSuffix mark files that are not in place yet. One that nobody writes any more is left over from a
// process that was killed.
const tmpPrefix, tmpSuffix = ".stepflow-", ".tmp"

// Temporary reports whether a file's name is one that Write gives to a file that is not in place yet.
func Temporary(name string) bool {
	return strings.HasPrefix(name, tmpPrefix) && strings.HasSuffix(name, tmpSuffix)
}

// Beside returns the path at which something is made before it is put in place at path. Temporary reports its name.
func Beside(path string) string {
	return filepath.Join(filepath.Dir(path), tmpPrefix+filepath.Base(path)+tmpSuffix)
}

// tmpName is a name in a folder that nothing has and nobody can guess.
func tmpName(dir string) string {
	var b [8]byte
	rand.Read(b[:])
	return filepath.Join(dir, tmpPrefix+hex.EncodeToString(b[:])+tmpSuffix)
}

// Write calls fill with a buffer-less writer to a new file beside path and puts it in place when
// everything is on disk. What was at path stays until then. A file that replaces another keeps its mode and, where
// that is allowed, its owner; a symbolic link is replaced, not followed.
func Write(path string, fill func(io.Writer) error) error { return write(path, false, fill) }

// WriteFile is Write of bytes.
func WriteFile(path string, b []byte) error {
	return Write(path, func(w io.Writer) error { _, err := w.Write(b); return err })
}

func write(path string, private bool, fill func(io.Writer) error) error {
	old, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	perm := os.FileMode(0o666)
	if err != nil || !old.Mode().IsRegular() {
		old = nil
	} else {
		perm = old.Mode().Perm() // never wider, not even for a moment
	}
	if private {
		perm &= 0o600
	}
	tmp := tmpName(filepath.Dir(path))
	if err := writeNew(tmp, path, perm, fill); err != nil {
		return err
	}
	if old != nil {
		if err := keepMode(tmp, old, perm); err != nil {
			os.Remove(tmp)
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	if err := Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// keepMode gives a new file the owner of the one it replaces, as far as that is allowed, and the mode; another group
// gets no more than everybody.
func keepMode(tmp string, old os.FileInfo, perm os.FileMode) error {
	if !keepOwner(tmp, old) {
		perm &= 0o707 | perm<<3&0o070
	}
	return os.Chmod(tmp, perm)
}

// KeepMode gives a file the mode of the one it is to replace and, as far as that is allowed, its owner.
func KeepMode(path string, old os.FileInfo) error { return keepMode(path, old, old.Mode().Perm()) }

// WriteTo writes and syncs a new file in place, for folders that are renamed as a whole.
func WriteTo(path string, fill func(io.Writer) error) error {
	return writeNew(path, path, 0o666, fill)
}

// writeNew makes a new file of what fill writes; errors name it name. A file that exists at path, a symbolic link
// included, is an error; one that cannot be written in full is removed.
func writeNew(path, name string, perm os.FileMode, fill func(io.Writer) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", name, err)
		}
	}()
	if err := before("create", path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		os.Remove(path)
	}
	return err
}

// Rename moves a file or a folder and makes that durable. A file at the new path is replaced.
func Rename(from, to string) error {
	if err := before("rename", to); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	if filepath.Dir(from) == filepath.Dir(to) {
		return nil
	}
	return SyncDir(filepath.Dir(from))
}

// Remove removes a file or an empty folder and makes that durable; one that is not there is no error.
func Remove(path string) error {
	if err := before("remove", path); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// lasting are the folders of which this process knows that they are durable.
var lasting sync.Map

// MkdirAll makes a folder and those above it that are missing, and makes each durable: the entry of a new folder is
// in the folder above it, which is synced. So is, once a process, that of a folder which is there: a process that was killed
// may have made it and not come to that.
func MkdirAll(path string, perm os.FileMode) error {
	path = filepath.Clean(path)
	if st, err := os.Stat(path); err == nil {
		if st.IsDir() {
			return settle(path)
		}
		return fmt.Errorf("making the folder %s: a file is in its place", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if above := filepath.Dir(path); above != path {
		if err := MkdirAll(above, perm); err != nil {
			return err
		}
	}
	if err := before("mkdir", path); err != nil {
		return err
	}
	if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return err
	}
	lasting.Store(path, true)
	return nil
}

// settle makes the entry of a folder that is there durable, where the folder above can be synced: one that others own, or
// that cannot change, need not be.
func settle(path string) error {
	if _, ok := lasting.Load(path); ok {
		return nil
	}
	err := SyncDir(filepath.Dir(path))
	for _, x := range []error{fs.ErrPermission, errors.ErrUnsupported, syscall.EINVAL, syscall.EROFS} {
		if errors.Is(err, x) {
			err = nil
		}
	}
	if err == nil {
		lasting.Store(path, true)
	}
	return err
}

// SyncDir makes what was renamed, made or removed in a folder durable.
func SyncDir(dir string) error {
	if err := before("sync", dir); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}
