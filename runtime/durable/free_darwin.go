package durable

import "syscall"

// blockSize is what a file system counts its blocks in.
func blockSize(s *syscall.Statfs_t) uint64 { return uint64(s.Bsize) }
