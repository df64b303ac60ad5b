package cpu

import "golang.org/x/sys/unix"

// hugePages asks for large pages, which spare the reads of large matrices page-table walks. Where the
// kernel has none to give nothing is lost.
func hugePages(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
