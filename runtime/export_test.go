package runtime_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/runtime/durable"
	"stepflow/runtime/exportdir"
)

// leftovers lists temporary folders of exports below a folder.
func leftovers(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".stepflow-export-") {
			list = append(list, e.Name())
		}
	}
	return list
}

// TestExportCutOff stops an export while it is put in place, changes its path, and applies: the folder that the export
// went to is whole again, nothing is left over there, and the new folder is complete.
func TestExportCutOff(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, at := range []string{exportdir.ManifestName, "tokenizer.json", "config.json"} {
		t.Run(at, func(t *testing.T) {
			dir := pipeline(t)
			out := filepath.Join(dir, "out")
			t.Cleanup(func() { durable.Before = nil })
			killed := errors.New("killed")
			durable.Before = func(op, path string) error {
				if op == "rename" && filepath.Base(path) == at && strings.HasPrefix(path, out) {
					return killed
				}
				return nil
			}
			if err := applyOn(t, d, planOf(t, dir)); !errors.Is(err, killed) {
				t.Fatalf("the export ended with %v", err)
			}
			durable.Before = nil
			file := filepath.Join(dir, "main.hcl")
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(strings.Replace(string(b), `path  = "out"`, `path  = "moved"`, 1)), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := applyOn(t, d, planOf(t, dir)); err != nil {
				t.Fatal(err)
			}
			for _, folder := range []string{out, filepath.Join(dir, "moved")} {
				if l := leftovers(t, folder); len(l) > 0 {
					t.Errorf("left over in %s: %v", folder, l)
				}
				f, err := exportdir.Open(folder, exportdir.Hashes{})
				if err != nil {
					t.Fatal(err)
				}
				c, err := f.Look()
				if err != nil {
					t.Fatal(err)
				}
				if at == exportdir.ManifestName && folder == out && c.Manifest == nil && len(c.Others)+len(c.InWay) == 0 {
					continue // it was stopped before the new files were complete
				}
				if c.Manifest == nil || c.Cut || len(c.Missing)+len(c.Changed) > 0 {
					t.Errorf("%s holds %+v", folder, c)
				}
			}
		})
	}
}
