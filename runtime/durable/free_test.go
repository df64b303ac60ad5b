//go:build linux || darwin

package durable

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestRoom(t *testing.T) {
	for _, c := range []struct {
		all, free, size uint64
		bytes           int64
		known           bool
	}{
		{10, 3, 4096, 12288, true},
		{10, 0, 4096, 0, true},
		{0, 0, 4096, 0, false}, // a tmpfs without a bound
		{math.MaxUint64, math.MaxUint64, 1 << 20, math.MaxInt64, true}, // more than fits a number
		{math.MaxUint64, 1 << 52, 4096, math.MaxInt64, true},
	} {
		if n, ok := room(c.all, c.free, c.size); n != c.bytes || ok != c.known {
			t.Errorf("%d of %d blocks of %d bytes: %d, %t", c.free, c.all, c.size, n, ok)
		}
	}
	if n, ok := Free(t.TempDir()); !ok || n <= 0 {
		t.Errorf("a folder for tests has %d bytes free, %t", n, ok)
	}
}

func TestVolumeOfWhatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	here, there := filepath.Join(dir, "here"), filepath.Join(dir, "there")
	for _, d := range []string{here, there} {
		if err := os.Mkdir(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(there, "a", "b"), filepath.Join(here, "link")); err != nil {
		t.Fatal(err)
	}
	there, err := Resolve(there)
	if err != nil {
		t.Fatal(err)
	}
	if v := VolumeOf(filepath.Join(here, "link", "c")); v.There != there {
		t.Errorf("a link into %s is on the disk of %s", there, v.There)
	}
}
