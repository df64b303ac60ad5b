package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// UserFile is a file that a user names for a command to write. Symbolic links are followed, the mode of a file that is
// there is kept, a terminal, a pipe or /dev/null is written into.
type UserFile struct {
	Path    string
	Ours    func(io.Reader) bool // reports whether a file that is there may be replaced; an empty one may
	Refusal string               // why one may not, such as "exists and is not a saved plan"
	Private bool                 // only its owner may read it
	Source  bool                 // it may be a file of a pipeline
}

// sourceSuffix is that of the files of a pipeline: whatever has it in a pipeline's folder is read as HCL.
const sourceSuffix = ".hcl"

// resolve follows symbolic links to the file that is to be written. stream is set if it is there and is written into,
// as a pipe is; old is what is there, or nil.
func (u UserFile) resolve() (path string, old os.FileInfo, stream bool, err error) {
	if path, old, stream, err = u.follow(); err == nil && !stream && !u.Source && (strings.HasSuffix(u.Path, sourceSuffix) || strings.HasSuffix(path, sourceSuffix)) {
		err = fmt.Errorf("%s is the name of a file of a pipeline, and would be read as one: choose a name that does not end in %s", u.Path, sourceSuffix)
	}
	return path, old, stream, err
}

func (u UserFile) follow() (path string, old os.FileInfo, stream bool, err error) {
	path = u.Path
	st, err := os.Stat(path)
	switch {
	case err == nil && st.IsDir():
		return path, st, false, fmt.Errorf("%s is a folder: name a file", u.Path)
	case err == nil && (!st.Mode().IsRegular() || system(path)):
		const pipe, char = fs.ModeNamedPipe, fs.ModeCharDevice
		if t := st.Mode().Type(); t != 0 && t&pipe == 0 && t&char == 0 {
			return path, st, false, fmt.Errorf("%s is a disk or a socket: name a file", u.Path)
		}
		return path, st, true, nil
	case err == nil:
		path, err = filepath.EvalSymlinks(path)
		return path, st, false, err
	case !errors.Is(err, fs.ErrNotExist):
		return path, nil, false, err
	}
	if strings.HasSuffix(path, string(filepath.Separator)) {
		return path, nil, false, fmt.Errorf("%s names a folder: name a file", u.Path)
	}
	if path, err = Resolve(path); err != nil { // what a link leads to may have to be made
		return path, nil, false, err
	}
	dir := filepath.Dir(path)
	if st, err := os.Stat(dir); err != nil || !st.IsDir() { // it is not made: a path with a slip in it would make another tree
		return path, nil, false, fmt.Errorf("there is no folder %s for %s", dir, filepath.Base(path))
	}
	return path, nil, false, nil
}

// system reports whether a path is one of the system's own, such as /dev/stdout: never replaced, whatever it leads to.
func system(path string) bool {
	abs, err := filepath.Abs(path)
	return err == nil && (strings.HasPrefix(abs, "/dev/") && !strings.HasPrefix(abs, "/dev/shm/") || strings.HasPrefix(abs, "/proc/"))
}

// Check returns an error if the file cannot be written, or if what is there is not what the command writes. Nothing is changed.
func (u UserFile) Check() error {
	path, old, stream, err := u.resolve()
	switch {
	case err != nil || stream:
		return err
	case old == nil:
		return Writable(filepath.Dir(path))
	}
	if err := u.replaceable(path, old); err != nil {
		return err
	}
	return Writable(filepath.Dir(path))
}

func (u UserFile) replaceable(path string, old os.FileInfo) error {
	if err := unprotected(path); err != nil {
		return err
	}
	if old.Size() == 0 {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if !u.Ours(f) {
		return fmt.Errorf("%s %s: it was left as it is", u.Path, u.Refusal)
	}
	return nil
}

// Write writes the file; one that cannot be written in full leaves what was there. stream is set if it was written into
// something that is not a regular file.
func (u UserFile) Write(b []byte) (stream bool, err error) {
	path, old, stream, err := u.resolve()
	if err != nil {
		return stream, err
	}
	if stream {
		flags := os.O_WRONLY | os.O_APPEND
		if old.Mode()&fs.ModeNamedPipe != 0 {
			flags |= noWait
		}
		f, err := os.OpenFile(u.Path, flags, 0)
		if err != nil {
			return true, err
		}
		_, err = f.Write(b)
		return true, errors.Join(err, f.Close())
	}
	fill := func(w io.Writer) error {
		if _, err := w.Write(b); err != nil {
			return err
		}
		switch now, err := os.Lstat(path); { // once more: it may have changed meanwhile
		case err == nil:
			return u.replaceable(path, now)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		return nil
	}
	if old != nil && links(old) > 1 {
		return false, overwrite(path, b, fill)
	}
	return false, write(path, u.Private, fill)
}

// overwrite writes a file that has several names in place, so that all of them stay names of it. Until that is done, what
// is written lies beside it too.
func overwrite(path string, b []byte, fill func(io.Writer) error) error {
	tmp := tmpName(filepath.Dir(path))
	if err := writeNew(tmp, path, 0o600, fill); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		os.Remove(tmp)
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Truncate(int64(len(b)))
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w; what was to be written is in %s", path, err, tmp)
	}
	return Remove(tmp)
}
