package train

import (
	"encoding/json"
	"strings"

	"stepflow/ops/peft"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/metrics"
	"stepflow/runtime/program"
	"stepflow/runtime/trainstate"
)

// Sizes returns the bytes of the files of a checkpoint that hold tensors, by name; with final those of a result. They are
// those of the lists that are written.
func Sizes(s *program.Stage, final bool) map[string]int64 {
	t := planned(s)
	model, adapter, opt := t.tensors(final)
	sizes := map[string]int64{checkpoint.ModelFile: checkpoint.TensorsSize(model),
		checkpoint.OptimizerFile: checkpoint.TensorsSize(opt)}
	if len(adapter) > 0 {
		sizes[checkpoint.AdapterFile] = checkpoint.TensorsSize(adapter)
	}
	if final && s.KeepsAdapters() {
		sizes[checkpoint.AdaptersIn(s.KeepApart)] = checkpoint.TensorsSize(t.masters())
	}
	return sizes
}

// planned is a trainer without a device, which knows what it will hold.
func planned(s *program.Stage) *trainer {
	t := newTrainer(s, nil, nil)
	if s.Peft != nil && s.Peft.Principal() {
		t.taken.first = map[string][]float32{}
		for _, p := range peft.Params(s.Adapters) {
			t.taken.first[p.ID] = nil
		}
	}
	return t
}

// StateSize returns about how many bytes the trainer's state takes in a checkpoint: names and numbers of digits vary.
func StateSize(s *program.Stage) int64 {
	state := trainstate.State{Recipe: strings.Repeat("0", 64), Step: s.Steps, Tokens: s.StepTokens() * int64(s.Steps),
		Layers: s.LayerIDs(), OptimizerSteps: map[string]int64{}, LastLosses: make([]float64, metrics.LossSteps), Seam: &trainstate.Seam{}}
	for i := range state.LastLosses {
		state.LastLosses[i] = 1. / 3
	}
	for _, p := range s.Trainable() {
		state.OptimizerSteps[p.ID] = int64(s.Steps)
	}
	const position = 1 << 10 // of the data
	b, err := json.MarshalIndent(state, "", "  ")
	if err != nil {
		return position
	}
	return int64(len(b)) + position
}
