//go:build unix

package runtime_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stepflow/runtime/checkpoint"
)

// withoutSpace runs f while no file of this process may grow beyond a number of bytes: the system then refuses what a
// full disk refuses, in the middle of a file.
func withoutSpace(t *testing.T, bytes uint64, f func()) {
	t.Helper()
	var before syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	signal.Ignore(syscall.SIGXFSZ)
	limit := before
	limit.Cur = bytes
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	f()
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before))
}

func TestFullDiskKeepsTheCheckpointBefore(t *testing.T) {
	const child = "STEPFLOW_TEST_FULL_DISK" // the limit is of a whole process, so the test has one of its own
	if os.Getenv(child) == "" {
		c := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		c.Env = append(os.Environ(), child+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	d := cpuDevice(t, 2)
	dir := pipeline(t)
	stopAt(t, d, dir, "one", 3)
	root := filepath.Join(dir, ".stepflow", "blocks", "stage.one")
	before, err := checkpoint.Steps(root)
	must(t, err)
	p := planOf(t, dir)
	withoutSpace(t, 20000, func() { err = applyOn(t, d, p) })
	if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), "earlier checkpoints are untouched") {
		t.Fatalf("a full disk gives %v", err)
	}
	after, err := checkpoint.Steps(root)
	must(t, err)
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("checkpoints were %v, are %v", before, after)
	}
	left, err := filepath.Glob(filepath.Join(root, "*.tmp"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("an unfinished checkpoint is left over: %v", left)
	}
	must(t, applyOn(t, d, planOf(t, dir)))
}
