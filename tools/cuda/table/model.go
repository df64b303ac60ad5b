package main

import (
	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/ops/arch"
	"stepflow/ops/optim"
	"stepflow/runtime/program"
)

// size is a model of the paper that STEP comes from, trained whole with AdamW in bf16: a step that gpu/cuda/check.sh
// measures.
type size struct {
	name                 string
	hidden, intermediate int
	batch                int // sequences a step, which are on the card together
}

var sizes = []size{{"368M", 1024, 2736, 16}, {"1.2B", 2048, 5461, 8}}

const (
	layers     = 24
	heads      = 16
	vocabulary = 32000
	sequence   = 1024
)

// stage is the training of the whole model.
func (s size) stage() *program.Stage {
	m := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: vocabulary, HiddenSize: s.hidden,
		IntermediateSize: s.intermediate, NumHiddenLayers: layers, NumAttentionHeads: heads, NumKeyValueHeads: heads,
		HeadDim: s.hidden / heads, MaxPositionEmbeddings: sequence, RopeTheta: 1e4, RMSNormEps: 1e-5,
		InitializerRange: 0.02}}
	stage := &program.Stage{Model: m, DType: gpu.BF16, Seq: sequence, Batch: s.batch, Micro: s.batch, Steps: 1,
		Horizon: 1, Frozen: map[string]bool{}, Schedule: optim.Schedule{Kind: "constant"},
		Optimizer: optim.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, MaxGradNorm: 1}}
	stage.Layers = stage.NewLayers(layers)
	stage.Params = m.Declare(stage.LayerIDs())
	return stage
}

// compile makes the program for the card.
func (s size) compile() (*program.Stage, error) {
	stage := s.stage()
	return stage, program.NewPrograms(cuda.PlanCaps("H100", 80<<30)).Compile(stage, "none")
}
