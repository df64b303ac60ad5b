package trainstate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/runtime/checkpoint"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, checkpoint.TrainerFile)
	if _, err := Read(dir); !os.IsNotExist(err) {
		t.Errorf("without a file: %v", err)
	}
	for _, c := range []struct{ text, says string }{
		{`{"step": 3, "optimizer_steps": {"w": 2}, "seam": {"probe": "p", "loss": 1.5}}`, ""},
		{`{"step": "three"}`, path},
		{`{"step": 3`, path},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Read(dir)
		switch {
		case c.says != "":
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", c.text, err)
			}
		case err != nil:
			t.Error(err)
		case s.Step != 3 || s.OptimizerSteps["w"] != 2 || s.Seam.Loss != 1.5:
			t.Errorf("%s is read as %+v", c.text, s)
		}
	}
}

func TestMergesError(t *testing.T) {
	if e := (Merges{}).Error(); e != 0 {
		t.Errorf("no merge has an error of %g", e)
	}
	if e := (Merges{Product: 4, Lost: 1}).Error(); e != 0.25 {
		t.Errorf("a quarter lost is an error of %g", e)
	}
}
