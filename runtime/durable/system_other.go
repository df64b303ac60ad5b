//go:build !unix

package durable

import "os"

// keepOwner has nothing to keep where files have no owner of this kind.
func keepOwner(string, os.FileInfo) bool { return true }

// volumeID takes all files for those of one file system.
func volumeID(os.FileInfo) uint64 { return 0 }

// links is the number of names a file has.
func links(os.FileInfo) uint64 { return 1 }

// Writable returns an error if this process may not make files in a folder, where the system tells.
func Writable(string) error { return nil }

func unprotected(string) error { return nil }

const noWait = 0
