//go:build unix

package cpu

import "golang.org/x/sys/unix"

// newArena maps zeroed pages. They lie outside Go's heap: the collector's goal is a multiple of the
// heap, and an arena in it would let as much garbage pile up beside it.
func newArena(n int64) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err == nil {
		hugePages(b)
	}
	return b, err
}

func freeArena(b []byte) error {
	if b == nil {
		return nil
	}
	return unix.Munmap(b)
}
