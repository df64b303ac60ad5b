package cpu

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory returns how many bytes of memory the machine has, or its container's limit where that is less, and how many of
// them a new process can have without swapping. What cannot be read is 0.
func Memory() (total, available int64) { return memoryIn("/") }

func totalMemory() int64 {
	total, _ := Memory()
	return total
}

// memoryIn is Memory with the system's files below root.
func memoryIn(root string) (total, available int64) {
	info := filepath.Join(root, "proc/meminfo")
	total, available = field(info, "MemTotal: %d kB")<<10, field(info, "MemAvailable: %d kB")<<10
	least := func(n *int64, limit int64) {
		if *n == 0 || limit < *n {
			*n = limit
		}
	}
	for _, g := range controlGroups(root) {
		limit := readNumber(filepath.Join(g, "memory.max"), filepath.Join(g, "memory.limit_in_bytes"))
		if limit <= 0 {
			continue
		}
		least(&total, limit)
		if used := readNumber(filepath.Join(g, "memory.current"), filepath.Join(g, "memory.usage_in_bytes")); used > 0 {
			// Files that were not used lately are cached as long as nobody needs their room.
			least(&available, max(1, limit-used+field(filepath.Join(g, "memory.stat"), "inactive_file %d")))
		}
	}
	return total, available
}

// controlGroups lists the folders of the control groups that the process is in, up to the root: each may have a limit.
func controlGroups(root string) (list []string) {
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

// readNumber reads the number in the first of some files that has one; -1 if none does.
func readNumber(paths ...string) int64 {
	for _, p := range paths {
		if b, err := os.ReadFile(p); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// field reads the number in the first line of a file that has a format; 0 if none has.
func field(path, format string) (n int64) {
	b, _ := os.ReadFile(path)
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, format, &n); err == nil {
			return n
		}
	}
	return 0
}
