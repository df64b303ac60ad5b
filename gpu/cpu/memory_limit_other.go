//go:build !linux

package cpu

// processLimit is how much memory this process may have by its limits; 0 where that is not known.
func processLimit() int64 { return 0 }
