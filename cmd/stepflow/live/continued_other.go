//go:build !unix

package live

import "os"

// continued tells when the process goes on after it was stopped, which does not happen here.
func continued() (resumed <-chan os.Signal, quiet func()) { return nil, func() {} }

// Foreground reports whether the process is not in the background, which there is none of here.
func Foreground(int, int) bool { return true }
