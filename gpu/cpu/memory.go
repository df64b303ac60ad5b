package cpu

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory returns how many bytes of memory the machine has, or the limit of its container or of this process where that is less,
// and how many of them a new process can have without swapping. What cannot be read is 0.
func Memory() (total, available int64) {
	total, available = memoryIn("/")
	if limit := processLimit(); limit > 0 {
		least(&total, limit)
		least(&available, limit/2) // Go does not give addresses back, and others of its heap lie between
	}
	return total, available
}

// Swap returns how many bytes of other memory the system may move to a disk for this process; what cannot be read is 0.
func Swap() int64 { return swapIn("/") }

// swapIn is Swap with the system's files below root.
func swapIn(root string) int64 {
	n := field(filepath.Join(root, "proc/meminfo"), "SwapTotal: %d kB") << 10
	for _, g := range controlGroups(root) {
		switch most := readNumber(filepath.Join(g, "memory.swap.max")); {
		case most >= 0:
			n = min(n, most)
		default: // version 1 has a limit for both
			both := readNumber(filepath.Join(g, "memory.memsw.limit_in_bytes"))
			memory := readNumber(filepath.Join(g, "memory.limit_in_bytes"))
			if both >= 0 && memory >= 0 {
				n = min(n, max(0, both-memory))
			}
		}
	}
	return n
}

// least lowers n to a limit. If n is not known, which is 0, it becomes the limit.
func least(n *int64, limit int64) {
	if *n == 0 || limit < *n {
		*n = limit
	}
}

func totalMemory() int64 {
	total, _ := Memory()
	return total
}

// memoryIn is Memory with the system's files below root.
func memoryIn(root string) (total, available int64) {
	info := filepath.Join(root, "proc/meminfo")
	total, available = field(info, "MemTotal: %d kB")<<10, field(info, "MemAvailable: %d kB")<<10
	for _, g := range controlGroups(root) {
		limit := readNumber(filepath.Join(g, "memory.max"), filepath.Join(g, "memory.limit_in_bytes"))
		if limit > 0 {
			least(&total, limit)
		}
		if high := readNumber(filepath.Join(g, "memory.high")); high > 0 && (limit <= 0 || high < limit) {
			limit = high // beyond it, processes are slowed down until they hardly run
		}
		if used := readNumber(filepath.Join(g, "memory.current"), filepath.Join(g, "memory.usage_in_bytes")); limit > 0 && used > 0 {
			// Files that were not used lately are cached as long as nobody needs their room.
			stat := filepath.Join(g, "memory.stat")
			cached := field(stat, "total_inactive_file %d") // version 1: with the files of groups below
			if cached == 0 {
				cached = field(stat, "inactive_file %d")
			}
			least(&available, max(1, limit-used+cached))
		}
	}
	if total > 0 && available > total { // of which nothing is used yet
		available = total
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
