package results

import (
	"os"
	"path/filepath"
	"testing"

	"stepflow/dsl/addr"
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
