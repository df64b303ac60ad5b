package train

import (
	"path/filepath"
	"runtime"
	"testing"

	"stepflow/ops/arch"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

// TestSavingTakesOneTensor: a checkpoint of 40 tensors allocates what the largest of them takes, and little beside.
func TestSavingTakesOneTensor(t *testing.T) {
	s := tinyStage()
	s.Model = arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 272, HiddenSize: 256, IntermediateSize: 1024,
		NumHiddenLayers: 4, NumAttentionHeads: 4, NumKeyValueHeads: 4, HeadDim: 64, MaxPositionEmbeddings: 32,
		RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.1, TieWordEmbeddings: true}}
	s.Layers = s.NewLayers(4)
	s.Params = s.Model.Declare(s.LayerIDs())
	tr := begun(t, cpuDevice(t, 2), s, "")
	var before, after runtime.MemStats
	dir := filepath.Join(t.TempDir(), "checkpoint")
	runtime.ReadMemStats(&before)
	_, err := tr.save(dir, nil, false)
	must(t, err)
	runtime.ReadMemStats(&after)
	const tensor, beside = 4 * 256 * 1024, 1 << 20
	took, all := int64(after.TotalAlloc-before.TotalAlloc), checkpoint.Size(dir)
	if took > tensor+beside || all < 40*tensor/2 {
		t.Errorf("saving %d bytes allocates %d; the largest tensor has %d", all, took, tensor)
	}
	asPlanned(t, "four layers", tr, dir, false)
	for _, p := range Phases(s, 0) {
		if p.Doing == "saving" && p.Held != tensor {
			t.Errorf("saving is planned with %+v", p)
		}
	}
}

// TestPhases: what is planned of a stage that begins, one that grows, and one that goes on.
func TestPhases(t *testing.T) {
	s := tinyStage()
	must(t, program.NewPrograms(cpuDevice(t, 2).Caps()).Compile(s, "none"))
	const embedding = 272 * 16
	for from, want := range map[int]program.Phase{
		0: {Doing: "starting", Heap: 8 * embedding}, // a value and its copy
		3: {Doing: "restoring", Heap: 8 * embedding},
	} {
		got := Phases(s, from)[0]
		if got.Arena <= 0 || got.Arena >= s.Program.ResidentBytes {
			t.Errorf("from step %d, %d bytes of the arena are touched, of %d that stay", from, got.Arena, s.Program.ResidentBytes)
		}
		if got.Arena = 0; got != want {
			t.Errorf("from step %d: %+v, want %+v", from, got, want)
		}
	}
}
