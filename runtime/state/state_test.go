package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
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
		"":               "no JSON",
		"{":              "no JSON",
		"{}":             "no version",
		`{"version": 2}`: "newer version",
		`{"version": 1, "blocks": {"nonsense": {}}}`:                                     "no block address",
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
		if s, err := parse(b); err == nil && s.Check() != nil {
			t.Error("a state is read that does not pass its own check")
		}
	})
}
