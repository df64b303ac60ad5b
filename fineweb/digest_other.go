//go:build !linux

package fineweb

import (
	"fmt"
	"io/fs"
	"time"
)

// stamp changes when a file's contents do, as far as its time of modification tells.
func stamp(st fs.FileInfo) string { return fmt.Sprint(st.Size(), st.ModTime().UnixNano()) }

// changed is when a file was last changed.
func changed(st fs.FileInfo) time.Time { return st.ModTime() }
