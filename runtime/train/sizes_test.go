package train

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

// asPlanned compares the files of a checkpoint that hold tensors with what a plan says of them, byte for byte.
func asPlanned(t *testing.T, what string, tr *trainer, dir string, final bool) {
	t.Helper()
	stage := *tr.stage
	sizes := Sizes(&stage, final)
	files, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
	must(t, err)
	if len(files) < 2 || len(files) != len(sizes) {
		t.Errorf("%s: files %v, planned %v", what, files, sizes)
	}
	for _, f := range files {
		st, err := os.Stat(f)
		must(t, err)
		if planned := sizes[filepath.Base(f)]; planned != st.Size() {
			t.Errorf("%s: %s has %d bytes, planned were %d", what, filepath.Base(f), st.Size(), planned)
		}
	}
	st, err := os.Stat(filepath.Join(dir, checkpoint.TrainerFile))
	must(t, err)
	if n := StateSize(&stage); st.Size() > n || n > st.Size()+4<<10 {
		t.Errorf("%s: the trainer's state has %d bytes, planned were %d", what, st.Size(), n)
	}
}

// TestResultsAreAsPlanned: the result of a stage with adapters, which are merged, or kept apart as they are.
func TestResultsAreAsPlanned(t *testing.T) {
	for _, apart := range []bool{false, true} {
		tr, _, dir := narrowTrainer(t, gpu.NF4, func(s *program.Stage) { s.KeepApart = apart })
		tr.stage.Init = dir // which other programs have
		must(t, tr.keepAdapters())
		out := filepath.Join(t.TempDir(), "result")
		_, err := tr.save(out, nil, true)
		must(t, err)
		asPlanned(t, fmt.Sprintf("apart %t", apart), tr, out, true)
	}
}
