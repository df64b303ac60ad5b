package cpu

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemoryHeedsControlGroups(t *testing.T) {
	const meminfo = "MemTotal:       16777216 kB\nMemFree:  1024 kB\nMemAvailable:    8388608 kB\n"
	for name, c := range map[string]struct {
		files            map[string]string
		total, available int64
	}{
		"none": {nil, 16 << 30, 8 << 30},
		"no limit": {map[string]string{"proc/self/cgroup": "0::/user.slice\n", "sys/fs/cgroup/user.slice/memory.max": "max\n"},
			16 << 30, 8 << 30},
		"of a slice above": {map[string]string{"proc/self/cgroup": "0::/a.slice/b.scope\n",
			"sys/fs/cgroup/a.slice/memory.max": "4294967296\n", "sys/fs/cgroup/a.slice/memory.current": "3221225472\n",
			"sys/fs/cgroup/a.slice/memory.stat": "anon 1\ninactive_file 1073741824\n"}, 4 << 30, 2 << 30},
		"of a container": {map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "2147483648\n",
			"sys/fs/cgroup/memory.current": "1073741824\n"}, 2 << 30, 1 << 30},
		"version 1": {map[string]string{"proc/self/cgroup": "5:cpu,cpuacct:/x\n3:memory:/x\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1073741824\n",
			"sys/fs/cgroup/memory/x/memory.usage_in_bytes": "536870912\n"}, 1 << 30, 512 << 20},
		"version 1, of a group with others below": {map[string]string{"proc/self/cgroup": "3:memory:/x\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1073741824\n", "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "805306368\n",
			"sys/fs/cgroup/memory/x/memory.stat": "inactive_file 0\ntotal_inactive_file 268435456\n"}, 1 << 30, 512 << 20},
		"slowed down before the limit": {map[string]string{"proc/self/cgroup": "0::/x\n",
			"sys/fs/cgroup/x/memory.max": "4294967296\n", "sys/fs/cgroup/x/memory.high": "2147483648\n",
			"sys/fs/cgroup/x/memory.current": "1073741824\n"}, 4 << 30, 1 << 30},
		"slowed down without a limit": {map[string]string{"proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/memory.max": "max\n",
			"sys/fs/cgroup/x/memory.high": "2147483648\n", "sys/fs/cgroup/x/memory.current": "1073741824\n"}, 16 << 30, 1 << 30},
		"an empty group": {map[string]string{"proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/memory.max": "1073741824\n",
			"sys/fs/cgroup/x/memory.current": "0\n"}, 1 << 30, 1 << 30},
		"more than the machine": {map[string]string{"sys/fs/cgroup/memory.max": "9223372036854771712\n"}, 16 << 30, 8 << 30},
		"used up":               {map[string]string{"sys/fs/cgroup/memory.max": "1024\n", "sys/fs/cgroup/memory.current": "4096\n"}, 1024, 1},
	} {
		root := t.TempDir()
		put(t, filepath.Join(root, "proc/meminfo"), meminfo)
		for n, text := range c.files {
			put(t, filepath.Join(root, n), text)
		}
		if total, available := memoryIn(root); total != c.total || available != c.available {
			t.Errorf("%s: %d in all, %d available, want %d and %d", name, total, available, c.total, c.available)
		}
	}
}

func TestSwap(t *testing.T) {
	const meminfo = "MemTotal: 16777216 kB\nSwapTotal:       4194304 kB\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no group":               {nil, 4 << 30},
		"no limit":               {map[string]string{"proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/memory.swap.max": "max\n"}, 4 << 30},
		"none for a group above": {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.swap.max": "0\n"}, 0},
		"version 1, as memory": {map[string]string{"proc/self/cgroup": "3:memory:/x\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes":       "1024\n",
			"sys/fs/cgroup/memory/x/memory.memsw.limit_in_bytes": "1024\n"}, 0},
		"version 1, beside memory": {map[string]string{"proc/self/cgroup": "3:memory:/x\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes":       "1024\n",
			"sys/fs/cgroup/memory/x/memory.memsw.limit_in_bytes": "3072\n"}, 2048},
	} {
		root := t.TempDir()
		for path, text := range c.files {
			put(t, filepath.Join(root, path), text)
		}
		put(t, filepath.Join(root, "proc/meminfo"), meminfo)
		if got := swapIn(root); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}

// put writes a file, and makes its folder.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
