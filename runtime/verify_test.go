package runtime

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gofrs/flock"
)

// What a killed process left goes; what another still uses, and what is not ours, stays.
func TestScratch(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	abandoned, err := NewScratch()
	must(t, err)
	must(t, os.MkdirAll(filepath.Join(abandoned.Path, "state", "blocks"), 0o755))
	must(t, abandoned.lock.Close()) // as the kernel does when the process is gone
	other := filepath.Join(tmp, scratchName+"other")
	must(t, os.Mkdir(other, 0o755))
	must(t, os.WriteFile(filepath.Join(other, scratchLock), nil, 0o644))
	held := flock.New(filepath.Join(other, scratchLock))
	if ok, err := held.TryLock(); !ok || err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	target := t.TempDir()
	must(t, os.WriteFile(filepath.Join(target, scratchLock), nil, 0o644))
	link := filepath.Join(tmp, scratchName+"link")
	must(t, os.Symlink(target, link))

	s, err := NewScratch()
	must(t, err)
	for path, want := range map[string]bool{abandoned.Path: false, other: true, link: true, filepath.Join(target, scratchLock): true, s.Path: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	must(t, s.Remove())
	if _, err := os.Stat(s.Path); err == nil {
		t.Error("the folder is still there")
	}
}
