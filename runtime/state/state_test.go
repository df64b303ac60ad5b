package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestSaveAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), ".stepflow")
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	d.State.Blocks["stage.a"] = &Block{Status: Done, Recipe: "r", Content: "c", Values: map[string]any{"loss": 1.5}}
	d.State.Outputs["o"] = Output{Value: "x"}
	if err := d.Save(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Read(dir)
	if err != nil || r.State.Serial != 1 || r.State.Blocks["stage.a"].Values["loss"].(float64) != 1.5 || r.State.Outputs["o"].Value != "x" {
		t.Errorf("%+v %v", r, err)
	}
	if err := r.Save(); err == nil {
		t.Error("a state opened for reading is saved")
	}
}

func TestRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":               "not JSON",
		"{":              "not JSON",
		"{}":             "checksum",
		`{"version": 2}`: "checksum",
		`{"version": 4}`: "newer version",
		`{"version": 1, "blocks": {"nonsense": {}}}`:                                     "not the address of a block",
		`{"version": 1, "blocks": {"stage.a": {"status": "baked"}}}`:                     "no valid status",
		`{"version": 1, "blocks": {"stage.a": null}}`:                                    "no valid status",
		`{"version": 1, "blocks": {"stage.a": {"status": "done"}}}`:                      "no content id",
		`{"version": 1, "blocks": {"stage.a": {"status": "running", "dir": "../../x"}}}`: "outside",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if b, err := os.ReadFile(filepath.Join(dir, FileName)); err != nil || string(b) != text {
			t.Errorf("%q: the file was changed", text)
		}
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"version": 1, "serial": 3, "blocks": {"stage.a": {"status": "done", "content": "c"}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := Parse(b); err == nil && s.Check() != nil {
			t.Error("a state is read that does not pass its own check")
		}
	})
}

// TestEveryFlippedBitIsNoticed flips each bit of a state file in turn; the error names the rebuild and the predecessor.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.State.Blocks["stage.a"] = &Block{Status: Done, Recipe: "r", Content: "c", Dir: "blocks/stage.a", Values: map[string]any{"loss": 4.33}}
	for range 2 {
		if err := d.Save(); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, FileName)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(good) {
		bad := append([]byte(nil), good...)
		bad[i/8] ^= 1 << (i % 8)
		if err := os.WriteFile(file, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "state rebuild") || !strings.Contains(err.Error(), "backup (serial 1)") {
			t.Fatalf("bit %d of byte %d, %q: %v", i%8, i/8, good[i/8], err)
		}
	}
	if err := os.Rename(filepath.Join(dir, BackupName), file); err != nil {
		t.Fatal(err)
	}
	if r, err := Read(dir); err != nil || r.State.Serial != 1 {
		t.Errorf("the predecessor: %+v, %v", r, err)
	}
}

// TestNothingIsWrittenThroughLinks plants a link in place of each file and folder of a state.
func TestNothingIsWrittenThroughLinks(t *testing.T) {
	for _, name := range []string{lockName, FileName, FileName + ".tmp", BackupName, BlocksName, "blocks/stage.a", "blocks/stage.a/step-00000001", "run.json"} {
		dir, elsewhere := t.TempDir(), t.TempDir()
		mine := filepath.Join(elsewhere, "important.txt")
		if err := os.WriteFile(mine, []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(link), 0o777); err != nil {
			t.Fatal(err)
		}
		for _, target := range []string{mine, elsewhere} {
			os.Remove(link)
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
			if d, err := Open(dir); err == nil || !strings.Contains(err.Error(), filepath.Base(name)) {
				t.Errorf("%s leads elsewhere: %v, %v", name, d, err)
			}
		}
		if b, err := os.ReadFile(mine); err != nil || string(b) != "mine" {
			t.Errorf("%s: the file it led to holds %q, %v", name, b, err)
		}
	}
}

// TestUnreadableOrigin has a folder that cannot be looked into. Nothing in it is wrong, so nothing is to be removed.
func TestUnreadableOrigin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	_, err := readOrigin(filepath.Join(file, "state"))
	if err == nil || strings.Contains(err.Error(), "Remove it") {
		t.Errorf("the error: %v", err)
	}
}

// TestCannotWrite says what to do about a folder that another user owns.
func TestCannotWrite(t *testing.T) {
	err := cannotWrite("dir", &fs.PathError{Op: "open", Path: "dir/lock", Err: syscall.EACCES})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "writes to dir: run it as a user who may") {
		t.Errorf("the error: %v", err)
	}
	if other := errors.New("no space"); cannotWrite("dir", other) != other {
		t.Error("an error of another kind is changed")
	}
}
