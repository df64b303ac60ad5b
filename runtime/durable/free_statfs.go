//go:build linux || darwin

package durable

import "syscall"

// Free returns how many bytes may be written to the disk that a folder is on; ok is false if the system does not tell.
func Free(dir string) (bytes int64, ok bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * int64(s.Bsize), true
}
