package cpu

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory returns what the machine has, or the container's limit where that is less, and what of it is available to a new
// process without swapping, in bytes; 0 of what cannot be read.
func Memory() (total, available int64) { return memoryIn("/") }

func total() int64 { n, _ := Memory(); return n }

// memoryIn is Memory with the files of the system in a folder.
func memoryIn(root string) (total, available int64) {
	info, _ := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	for line := range strings.Lines(string(info)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kib); err == nil {
			total = kib << 10
		}
		if _, err := fmt.Sscanf(line, "MemAvailable: %d kB", &kib); err == nil {
			available = kib << 10
		}
	}
	least := func(n *int64, limit int64) {
		if limit >= 0 && (*n == 0 || limit < *n) {
			*n = limit
		}
	}
	for _, g := range groups(root) {
		limit := number(filepath.Join(g, "memory.max"), filepath.Join(g, "memory.limit_in_bytes"))
		if limit <= 0 {
			continue
		}
		least(&total, limit)
		if used := number(filepath.Join(g, "memory.current"), filepath.Join(g, "memory.usage_in_bytes")); used > 0 {
			least(&available, max(1, limit-used+files(filepath.Join(g, "memory.stat"))))
		}
	}
	return total, available
}

// groups lists the folders of the control groups that the process is in, up to the root: each may have a limit.
func groups(root string) (list []string) {
	text, _ := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	list = append(list, filepath.Join(root, "sys/fs/cgroup"), filepath.Join(root, "sys/fs/cgroup/memory"))
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3) // number, controllers, path
		if len(parts) != 3 {
			continue
		}
		mount := "sys/fs/cgroup"
		switch {
		case parts[1] == "": // version 2
		case strings.Contains(","+parts[1]+",", ",memory,"):
			mount += "/memory"
		default:
			continue
		}
		for at := path.Clean("/" + parts[2]); at != "/"; at = path.Dir(at) {
			list = append(list, filepath.Join(root, mount, at))
		}
	}
	return list
}

// number reads the first of some files that holds a number; -1 if none does.
func number(paths ...string) int64 {
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// files is what a control group has of the page cache that was not used lately, which the system frees when it has to.
func files(stat string) (n int64) {
	b, _ := os.ReadFile(stat)
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "inactive_file %d", &n); err == nil {
			return n
		}
	}
	return 0
}
