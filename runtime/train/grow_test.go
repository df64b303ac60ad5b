package train

import (
	"fmt"
	"path/filepath"
	"testing"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
)

// tinyStage is a stage of three layers that trains all of its model.
func tinyStage() *program.Stage {
	c := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 272, HiddenSize: 16, IntermediateSize: 24,
		NumHiddenLayers: 3, NumAttentionHeads: 2, NumKeyValueHeads: 1,
		HeadDim: 8, MaxPositionEmbeddings: 32, RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.1,
		TieWordEmbeddings: true}}
	s := &program.Stage{Model: c, DType: gpu.F32, Seq: 12, Batch: 4, Micro: 2, Mask: true, Steps: 6, Horizon: 1,
		Frozen:   map[string]bool{},
		Schedule: optim.Schedule{Kind: "constant"}, Optimizer: optim.AdamW{LearningRate: 1e-2, Beta1: 0.9, Beta2: 0.95,
			Eps: 1e-8, MaxGradNorm: 1}}
	s.Layers = s.NewLayers(3)
	s.Params = c.Declare(s.LayerIDs())
	return s
}

// grown is the stage that adds two layers to another, freezing what of it freeze says.
func grown(t *testing.T, from *program.Stage, grow growth.Spec, spec peft.Spec,
	freeze func(*program.Stage, ops.Param) bool) *program.Stage {
	t.Helper()
	s := tinyStage()
	s.Peft = &spec
	must(t, s.Continue(from, &grow))
	for _, p := range s.Params {
		if freeze(s, p) {
			s.Frozen[p.ID] = true
		}
	}
	var err error
	s.Adapters, err = spec.Match(s.Params, func(p ops.Param) bool { return s.Frozen[p.ID] })
	must(t, err)
	return s
}

// batchFor is a batch of numbers that differ.
func batchFor(s *program.Stage) *fineweb.Batch {
	n := s.Batch * s.Seq
	b := &fineweb.Batch{IDs: make([]int32, n), Targets: make([]int32, n), Segments: make([]int32, n), Valid: n}
	for i := range b.IDs {
		b.IDs[i], b.Targets[i] = int32(i*7919%s.Model.VocabSize), int32((i+1)*7919%s.Model.VocabSize)
	}
	return b
}

// begun compiles a stage, loads it and makes its first weights.
func begun(t testing.TB, d gpu.Device, s *program.Stage, from string) *trainer {
	t.Helper()
	must(t, program.NewPrograms(d.Caps()).Compile(s, "none"))
	l, err := d.Load(s.Program)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	tr := &trainer{stage: s, loaded: l}
	must(t, forward.SetConstants(l, s.Program, s.Model, s.Seq))
	must(t, tr.start(t.Context(), from))
	return tr
}

// trainStep runs a step on a batch.
func (t *trainer) trainStep(tb testing.TB, step int, b *fineweb.Batch) {
	tb.Helper()
	f := &flight{step: step, batch: b}
	must(tb, t.backpropagate(f))
	must(tb, t.update(f))
	_, _, err := f.read()
	must(tb, err)
	for _, x := range t.stage.Trainable() {
		t.state.OptimizerSteps[x.ID]++
	}
}

// TestEveryTrainableTensorLearns checks on a grown stage that each trainable tensor has a gradient
// within two steps, and that frozen ones have no bytes for one and do not change.
func TestEveryTrainableTensorLearns(t *testing.T) {
	d := cpuDevice(t, 2)
	one := tinyStage()
	first := begun(t, d, one, "")
	first.trainStep(t, 1, batchFor(one))
	result := filepath.Join(t.TempDir(), "step-1")
	_, err := first.save(result, nil, true)
	must(t, err)

	inherited := (*program.Stage).Inherited
	relora := peft.Spec{Method: "relora", R: 2, Alpha: 4, TargetModules: []string{"all-linear"}, ResetEvery: 2}
	lora := peft.Spec{Method: "lora", R: 2, Alpha: 4, TargetModules: []string{"q_proj", "down_proj"}}
	for name, s := range map[string]*program.Stage{
		"preserving": grown(t, one, growth.Spec{Method: "interpolation", Layers: 2, Position: "upper", Mix: 0.5,
			FunctionPreserving: true}, relora, inherited),
		"changing": grown(t, one, growth.Spec{Method: "interpolation", Layers: 2, Position: "upper", Mix: 0.5}, relora,
			inherited),
		"lora": grown(t, one, growth.Spec{Method: "interpolation", Layers: 2, Position: "lower", Mix: 0.5,
			FunctionPreserving: true}, lora, inherited),
		"embeddings frozen": grown(t, one, growth.Spec{Method: "interpolation", Layers: 2, Position: "upper", Mix: 0.5,
			FunctionPreserving: true}, relora,
			func(s *program.Stage, p ops.Param) bool { return inherited(s, p) || p.Kind == ops.KindEmbedding }),
	} {
		tr := begun(t, d, s, result)
		before := map[string][]float32{}
		for _, x := range s.All() {
			before[x.ID], err = tr.get(x.ID)
			must(t, err)
		}
		learned := map[string]bool{}
		for step := 1; step <= 2; step++ {
			tr.trainStep(t, step, batchFor(s))
			for _, x := range s.Trainable() {
				g, err := tr.get(program.BufGrad(x.ID))
				must(t, err)
				for _, v := range g {
					learned[x.ID] = learned[x.ID] || v != 0
				}
				if forward.FirstBad(g) != 0 {
					t.Errorf("%s: gradient of %s is not finite", name, x.Name)
				}
			}
		}
		for _, x := range s.Trainable() {
			if !learned[x.ID] {
				t.Errorf("%s: %s has no gradient within two steps", name, x.Name)
			}
		}
		for _, x := range s.Params {
			now, err := tr.get(x.ID)
			must(t, err)
			if changed := fmt.Sprint(now) != fmt.Sprint(before[x.ID]); changed == s.Frozen[x.ID] {
				t.Errorf("%s: %s, frozen %t, changed %t", name, x.Name, s.Frozen[x.ID], changed)
			}
			if s.Frozen[x.ID] && (tr.has(program.BufGrad(x.ID)) || tr.has("adam_m/"+x.ID) || tr.has("adam_v/"+x.ID)) {
				t.Errorf("%s: frozen %s has gradient or optimizer bytes", name, x.Name)
			}
		}
	}
}
