// Package durable writes files that are complete or not there at all, also after a power failure:
// write beside, sync, rename, sync the folder.
package durable

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Create opens files for writing. Tests replace it to make a disk that is full.
var Create = func(path string) (File, error) { return os.Create(path) }

// File is what a writer needs of a file.
type File interface {
	io.WriteCloser
	Sync() error
}

// Write calls fill with a buffer-less writer to a new file beside path and puts it in place when
// everything is on disk. What was at path stays until then.
func Write(path string, fill func(io.Writer) error) error {
	tmp := path + ".tmp"
	if err := WriteTo(tmp, fill); err != nil {
		os.Remove(tmp)
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

// WriteTo writes and syncs a file in place, for folders that are renamed as a whole.
func WriteTo(path string, fill func(io.Writer) error) error {
	f, err := Create(path)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := fill(f); err != nil {
		f.Close()
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// WriteFile is Write of bytes.
func WriteFile(path string, b []byte) error {
	return Write(path, func(w io.Writer) error { _, err := w.Write(b); return err })
}

// SyncDir makes renames in a folder durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}
