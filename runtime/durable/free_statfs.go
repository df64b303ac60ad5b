//go:build linux || darwin

package durable

import (
	"math"
	"math/bits"
	"syscall"
)

// Free returns how many bytes may be written to the disk that a folder is on; ok is false if the system does not tell.
func Free(dir string) (bytes int64, ok bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return room(uint64(s.Blocks), uint64(s.Bavail), blockSize(&s))
}

// room is the bytes of free blocks. Some file systems do not bound what they hold, or do not know: they have no blocks at all.
func room(all, free, size uint64) (bytes int64, ok bool) {
	if all == 0 {
		return 0, false
	}
	high, low := bits.Mul64(free, size)
	if high > 0 || low > math.MaxInt64 {
		return math.MaxInt64, true
	}
	return int64(low), true
}
