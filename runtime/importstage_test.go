package runtime_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/runtime/apply"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/plan"
	"stepflow/runtime/results"
	"stepflow/runtime/state"
	"stepflow/runtime/trainstate"
)

// taken makes a pipeline whose stage seed, of five layers, is imported from a folder.
func taken(t *testing.T, folder string) string {
	t.Helper()
	dir := pipeline(t)
	b, err := os.ReadFile(filepath.Join(dir, "main.hcl"))
	must(t, err)
	text := string(b)
	text = text[:strings.Index(text, `stage "two"`)]
	text = strings.NewReplacer(`stage "one"`, `stage "seed"`, "layers    = 3", "layers    = 5").Replace(text) + `
stage "next" {
  from = stage.seed
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 12
    batch_size      = 4
    steps           = 2
  }
}
`
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(text), 0o644))
	text = fmt.Sprintf("import {\n  to = stage.seed\n  id = %q\n}\n", folder)
	must(t, os.WriteFile(filepath.Join(dir, "import.hcl"), []byte(text), 0o644))
	return dir
}

// TestImportedStage imports the end of a stage that grew, and compares every tensor.
func TestImportedStage(t *testing.T) {
	d := cpuDevice(t, 2)
	from := pipeline(t)
	must(t, applyOn(t, d, planOf(t, from)))
	source := filepath.Join(from, ".stepflow", "blocks", "stage.two", "step-00000006")
	dir := taken(t, source)
	p := planOf(t, dir)
	if a := find(p, "stage.seed"); a.Verb != plan.Import || a.Inputs["data.jsonl.d"] != "" {
		t.Errorf("stage.seed: %s, made from %v", a.Verb, a.Inputs)
	}
	if n := applySteps(t, d, dir); n != 2 {
		t.Errorf("%d steps were trained, want the 2 of stage.next", n)
	}
	result := filepath.Join(dir, ".stepflow", "blocks", "stage.seed", "imported")
	var files [2][]byte
	for i, folder := range []string{source, result} {
		var err error
		files[i], err = os.ReadFile(filepath.Join(folder, checkpoint.ModelFile))
		must(t, err)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the weights are not those of the checkpoint")
	}
	was, err := trainstate.Read(source)
	must(t, err)
	is, err := trainstate.Read(result)
	must(t, err)
	before, err := checkpoint.Open(filepath.Join(source, checkpoint.OptimizerFile))
	must(t, err)
	defer before.Close()
	after, err := checkpoint.Open(filepath.Join(result, checkpoint.OptimizerFile))
	must(t, err)
	defer after.Close()
	var ids []string // pairs of ids of layers, there and here
	for i, id := range was.Layers {
		ids = append(ids, id+"/", is.Layers[i]+"/")
	}
	here := strings.NewReplacer(ids...)
	for _, name := range before.Names() {
		a, _, err := before.Raw(name)
		must(t, err)
		b, _, err := after.Raw(here.Replace(name))
		must(t, err)
		if !bytes.Equal(a, b) {
			t.Errorf("%s has other moments", name)
		}
	}
	for id, n := range was.OptimizerSteps {
		if m := is.OptimizerSteps[here.Replace(id)]; m != n {
			t.Errorf("%s had %d updates, and has %d", id, n, m)
		}
	}
	if len(before.Names()) == 0 || len(before.Names()) != len(after.Names()) {
		t.Errorf("%d tensors of moments became %d", len(before.Names()), len(after.Names()))
	}
}

// TestImportIsRemembered takes the import block and the folder away: the state remembers, also under another name, and
// after it was made again.
func TestImportIsRemembered(t *testing.T) {
	d := cpuDevice(t, 2)
	from := pipeline(t)
	must(t, applyOn(t, d, planOf(t, from)))
	source := filepath.Join(from, ".stepflow", "blocks", "stage.two", "step-00000006")
	dir := taken(t, source)
	must(t, applyOn(t, d, planOf(t, dir)))
	must(t, os.Remove(filepath.Join(dir, "import.hcl")))
	must(t, os.RemoveAll(from))
	nothingRuns(t, "forgotten", d, dir, nil)
	edit(t, dir, `variable "lr" { default = 1e-2 }`, `variable "lr" { default = 1e-3 }`)
	if p := planOf(t, dir); find(p, "stage.seed").Verb != plan.UpToDate || len(p.Losses()) != 1 {
		t.Errorf("with another rate, stage.seed: %s, and %v is lost", find(p, "stage.seed").Verb, p.Losses())
	}
	edit(t, dir, `variable "lr" { default = 1e-3 }`, `variable "lr" { default = 1e-2 }`)
	edit(t, dir, `stage "seed"`, `stage "root"`, "stage.seed", "stage.root")
	if a := find(planOf(t, dir), "stage.root"); a.Verb != plan.Run {
		t.Errorf("without a moved block, stage.root: %s", a.Verb)
	}
	moved(t, dir, "stage.seed", "stage.root")
	nothingRuns(t, "moved", d, dir, map[string]string{"stage.root": "stage.seed"})
	must(t, os.Remove(filepath.Join(dir, "moved.hcl")))
	edit(t, dir, `stage "root"`, `stage "seed"`, "stage.root", "stage.seed") // as its note says
	must(t, os.Rename(filepath.Join(dir, ".stepflow", "blocks", "stage.root"),
		filepath.Join(dir, ".stepflow", "blocks", "stage.seed")))
	st, _, err := (*state.Access)(nil).Replace(t.Context(), filepath.Join(dir, ".stepflow"))
	must(t, err)
	_, err = results.Rebuild(st)
	must(t, err)
	must(t, st.Save())
	must(t, st.Close())
	nothingRuns(t, "made again", d, dir, nil)
}

// TestBadImportIsRefused imports weights that are not finite: nothing runs.
func TestBadImportIsRefused(t *testing.T) {
	d := cpuDevice(t, 2)
	from := pipeline(t)
	must(t, applyOn(t, d, planOf(t, from)))
	source := filepath.Join(from, "out")
	name := "model.norm.weight"
	poke(t, filepath.Join(source, checkpoint.ModelFile), name, float32(math.NaN()), 0)
	dir := taken(t, source)
	err := applyWith(context.Background(), planOf(t, dir), apply.Options{Device: d})
	if err == nil || !strings.Contains(err.Error(), name+" holds 1 non-finite value") {
		t.Errorf("a weight that is NaN: %v", err)
	}
	st, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	if len(st.State.Blocks) > 0 {
		t.Errorf("%v ran", st.State.Names())
	}
}
