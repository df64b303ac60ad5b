package evaluate

import (
	"os"
	"path/filepath"
	"testing"

	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/checkpoint"
)

// TestStep: events of an evaluation stand at the step of the model, which is not the last one of a stage that ended early.
func TestStep(t *testing.T) {
	dir := t.TempDir()
	s := &Subject{Stage: &stage.Stage{}}
	s.Stage.Steps = 8
	if n := s.step(dir); n != 8 {
		t.Errorf("step %d, not 8", n)
	}
	if err := os.WriteFile(filepath.Join(dir, checkpoint.TrainerFile), []byte(`{"step": 3}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if n := s.step(dir); n != 3 {
		t.Errorf("step %d, not 3", n)
	}
	if n := (&Subject{}).step(dir); n != 0 {
		t.Errorf("step %d of an imported model, not 0", n)
	}
}
