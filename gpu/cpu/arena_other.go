//go:build !unix

package cpu

import "unsafe"

func newArena(n int64) ([]byte, error) {
	raw := make([]byte, n+Alignment)
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(raw))) & (Alignment - 1))
	return raw[skip : skip+int(n)], nil
}

func freeArena([]byte) error { return nil }
