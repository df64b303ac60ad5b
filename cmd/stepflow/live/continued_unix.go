//go:build unix

package live

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// continued tells when the process goes on after it was stopped, as by Ctrl-Z.
func continued() (resumed <-chan os.Signal, quiet func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGCONT)
	return c, func() { signal.Stop(c) }
}

// Foreground reports whether the terminal of a file takes the process's signals: it is not in the background.
func Foreground(fd, group int) bool {
	if group == 0 {
		group = unix.Getpgrp()
	}
	now, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err != nil || now == group
}
