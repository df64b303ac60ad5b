package durable

import (
	"os"
	"path/filepath"
)

// Volume is a file system.
type Volume struct {
	ID    uint64 // of the file system, among those of this machine; 0 if the system does not tell
	There string // the path that was asked about, or the nearest folder above it that is there
}

// VolumeOf returns the file system that a path is on, or would be on if it were made. A link may lead to what is not there yet.
func VolumeOf(path string) Volume {
	if real, err := Resolve(path); err == nil {
		path = real
	} else if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	for {
		st, err := os.Stat(path)
		if err == nil {
			return Volume{volumeID(st), path}
		}
		up := filepath.Dir(path)
		if up == path {
			return Volume{0, path}
		}
		path = up
	}
}
