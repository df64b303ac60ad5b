package fineweb

import (
	"fmt"
	"io/fs"
	"syscall"
	"time"
)

// stamp changes when a file's contents do: every write moves the inode's time of change, which no program can set.
func stamp(st fs.FileInfo) string {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Sprint(st.Size(), st.ModTime().UnixNano())
	}
	return fmt.Sprint(st.Size(), st.ModTime().UnixNano(), s.Ctim.Nano(), s.Ino)
}

// changed is when a file was last changed.
func changed(st fs.FileInfo) time.Time {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return time.Unix(s.Ctim.Unix())
	}
	return st.ModTime()
}

// inode is the same for all names of a file.
func inode(path string, st fs.FileInfo) string {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprint(s.Dev, ":", s.Ino)
	}
	return path
}
