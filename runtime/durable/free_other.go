//go:build !linux && !darwin

package durable

// Free does not tell how many bytes may be written to the disk that a folder is on.
func Free(string) (bytes int64, ok bool) { return 0, false }
