package state

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"
)

// What a killed process left goes; what another still uses, and what is not ours, stays.
func TestScratch(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	abandoned, err := NewScratch()
	must(err)
	must(os.MkdirAll(filepath.Join(abandoned.Path, "state", "blocks"), 0o755))
	must(abandoned.lock.Close()) // as the kernel does when the process is gone
	other := filepath.Join(tmp, scratchName+"other")
	must(os.Mkdir(other, 0o755))
	must(os.WriteFile(filepath.Join(other, scratchLock), nil, 0o644))
	held := flock.New(filepath.Join(other, scratchLock))
	if ok, err := held.TryLock(); !ok || err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	target := t.TempDir()
	must(os.WriteFile(filepath.Join(target, scratchLock), nil, 0o644))
	link := filepath.Join(tmp, scratchName+"link")
	must(os.Symlink(target, link))

	s, err := NewScratch()
	must(err)
	for path, want := range map[string]bool{abandoned.Path: false, other: true, link: true, filepath.Join(target, scratchLock): true, s.Path: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	must(s.Remove())
	if _, err := os.Stat(s.Path); err == nil {
		t.Error("the folder is still there")
	}
}
