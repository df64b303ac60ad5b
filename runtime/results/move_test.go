package results

import (
	"os"
	"path/filepath"
	"testing"

	"stepflow/dsl/addr"
	"stepflow/runtime/durable"
)

// TestNothingIsSetAsideForLeftovers: a folder with nothing but what a killed run had not completed is removed, since nothing would
// remove it where it was set aside.
func TestNothingIsSetAsideForLeftovers(t *testing.T) {
	a := addr.Addr{Kind: "stage", Name: "a"}
	for name, want := range map[string]bool{"": false, "result.tmp": false, "result": true} {
		d := NewDisk(t.TempDir())
		own := filepath.Join(d.Path, Folder(a))
		if err := os.MkdirAll(filepath.Join(own, name), 0o777); err != nil {
			t.Fatal(err)
		}
		if name != "" {
			if err := os.WriteFile(filepath.Join(own, name, "x"), []byte("x"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.SetAside(a, Folder(a), Kept); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(own); !os.IsNotExist(err) {
			t.Errorf("with %q inside, %s is still there: %v", name, own, err)
		}
		_, err := os.Lstat(filepath.Join(d.Path, Replaced, a.Dir(), Kept+"-1"))
		if aside := err == nil; aside != want {
			t.Errorf("with %q inside, the folder was set aside: %t", name, aside)
		}
	}
}

// TestSweepKeepsBlocks: what killed runs left behind goes, and no block's folder does, whatever the block is called.
func TestSweepKeepsBlocks(t *testing.T) {
	d := NewDisk(t.TempDir())
	for _, name := range []string{"tmp", "old", "a"} {
		own := filepath.Join(d.Path, Folder(addr.Addr{Kind: "stage", Name: name}))
		for _, dir := range []string{own, durable.Beside(own)} {
			if err := os.MkdirAll(filepath.Join(dir, "result"), 0o777); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := d.Sweep(); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(d.Path, "blocks", "*", "*"))
	if err != nil || len(left) != 3 {
		t.Errorf("left are %v, %v", left, err)
	}
}
