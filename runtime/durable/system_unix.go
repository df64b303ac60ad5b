//go:build unix

package durable

import (
	"fmt"
	"os"
	"syscall"
)

// keepOwner gives path the owner and group of old, as far as that is allowed, and reports whether the group is that of old.
func keepOwner(path string, old os.FileInfo) bool {
	s, ok := old.Sys().(*syscall.Stat_t)
	return !ok || os.Lchown(path, int(s.Uid), int(s.Gid)) == nil || os.Lchown(path, -1, int(s.Gid)) == nil
}

// volumeID is the number of the file system that a file is on.
func volumeID(st os.FileInfo) uint64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Dev)
	}
	return 0
}

// links is the number of names a file has.
func links(st os.FileInfo) uint64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink)
	}
	return 1
}

// Bits of access(2).
const mayWrite, maySearch = 2, 1

// Writable returns an error if this process may not make files in a folder.
func Writable(dir string) error {
	if err := syscall.Access(dir, mayWrite|maySearch); err != nil {
		return fmt.Errorf("the folder %s cannot be written to: %w", dir, err)
	}
	return nil
}

// unprotected returns an error if this process may not write to a file.
func unprotected(path string) error {
	if err := syscall.Access(path, mayWrite); err != nil {
		return fmt.Errorf("%s cannot be written to: %w", path, err)
	}
	return nil
}

// noWait makes opening a pipe that nobody reads an error, not an endless wait.
const noWait = syscall.O_NONBLOCK
