package evaluate

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/dsl"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/checkpoint"
	"stepflow/tasks"
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

// TestDocumentedTasks: the page of the language names the built-in tasks.
func TestDocumentedTasks(t *testing.T) {
	attrs := dsl.KindOf("evaluate").Attrs
	i := slices.IndexFunc(attrs, func(a dsl.Attr) bool { return a.Name == "tasks" })
	want := "(" + strings.Join((&Tasks{all: tasks.Builtin()}).shown(), ", ") + ")"
	if !strings.Contains(attrs[i].Doc, want) {
		t.Errorf("%q does not hold %s", attrs[i].Doc, want)
	}
}
