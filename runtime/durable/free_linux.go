package durable

import "syscall"

// blockSize is what a file system counts its blocks in. Bsize is what it likes to be read in, as of a server.
func blockSize(s *syscall.Statfs_t) uint64 {
	if s.Frsize > 0 {
		return uint64(s.Frsize)
	}
	return uint64(s.Bsize)
}
