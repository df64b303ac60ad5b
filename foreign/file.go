// Package foreign takes in what others made: it opens their files without waiting for pipes or devices, reads their
// JSON without guessing, and shows their text without obeying it.
package foreign

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// IsFileName reports whether a name that others wrote is the name of a file in a folder, and leads nowhere else on any system.
func IsFileName(name string) bool {
	return name != "." && filepath.IsLocal(name) && !strings.ContainsAny(name, "/\\\x00")
}

// ErrNotRegular reports a path that leads to something other than a file that holds bytes: a folder, a pipe, a device or a socket.
var ErrNotRegular = errors.New("not a regular file")

// kinds are what a path may lead to besides a regular file.
var kinds = []struct {
	mode fs.FileMode
	name string
}{{fs.ModeDir, "a folder"}, {fs.ModeNamedPipe, "a pipe"}, {fs.ModeSocket, "a socket"}, {fs.ModeDevice, "a device"}}

func regular(path string, st fs.FileInfo) error {
	if st.Mode().IsRegular() {
		return nil
	}
	what := "something else"
	for _, k := range kinds {
		if st.Mode()&k.mode != 0 {
			what = k.name
			break
		}
	}
	return fmt.Errorf("%s is %s, %w", Shown(path), what, ErrNotRegular)
}

// Open opens a regular file for reading; symbolic links are followed. It never blocks: opening a pipe that nobody
// writes to would wait for ever, and opening a device may make it act, so neither is opened.
func Open(path string) (*os.File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := regular(path, st); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // what was looked at may have been replaced
	if err != nil {
		return nil, err
	}
	if st, err = f.Stat(); err == nil {
		err = regular(path, st)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadFile reads a regular file of at most a number of bytes.
func ReadFile(path string, most int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s is larger than the %s that such a file may have", Shown(path), size(most))
	}
	return b, nil
}

// size is a number of bytes in the largest unit that it is a multiple of.
func size(n int64) string {
	for _, u := range []struct {
		bytes int64
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.bytes && n%u.bytes == 0 {
			return fmt.Sprintf("%d %s", n/u.bytes, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
