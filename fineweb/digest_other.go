//go:build !linux

package fineweb

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// stamp changes when a file's contents do, as far as its time of modification tells.
func stamp(st fs.FileInfo) string { return fmt.Sprint(st.Size(), st.ModTime().UnixNano()) }

// changed is when a file was last changed.
func changed(st fs.FileInfo) time.Time { return st.ModTime() }

// inode is the same for all names of a file, as far as links tell.
func inode(path string, _ fs.FileInfo) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}
