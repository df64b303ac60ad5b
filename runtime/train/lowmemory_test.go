package train

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/program"
)

// lowMemory lists the optimizers that keep less than AdamW does, for the rates of a tiny model.
func lowMemory(stochastic bool) map[string]optim.Optimizer {
	rest := optim.AdamW{LearningRate: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, BF16StochasticRound: stochastic}
	apollo := optim.Apollo{LearningRate: 1e-2, Rank: 4, UpdateProjGap: 3, Factor: 1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, MaxGradNorm: 1,
		BF16StochasticRound: stochastic}
	mini := apollo
	mini.Rank, mini.Mini, mini.Factor = 1, true, 16
	galore := optim.GaLore{LearningRate: 1e-2, Rank: 4, UpdateProjGap: 3, Factor: 1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, MaxGradNorm: 1,
		BF16StochasticRound: stochastic}
	fira := galore
	fira.Fira = true
	return map[string]optim.Optimizer{
		"scale": optim.Scale{LearningRate: 1e-2, Momentum: 0.9, Eps: 1e-8, WeightDecay: 0.1, MaxGradNorm: 1,
			BF16StochasticRound: stochastic}.With(rest),
		"apollo": apollo.With(rest), "apollo_mini": mini.With(rest), "galore": galore.With(rest), "fira": fira.With(rest),
		"adafactor": optim.Adafactor{LearningRate: 1e-2, DecayRate: -0.8, ClipThreshold: 1, Eps: 1e-30, WeightDecay: 0.1,
			MaxGradNorm: 1, BF16StochasticRound: stochastic},
		"adafactor with a first moment": optim.Adafactor{LearningRate: 0.2, DecayRate: -0.8, ClipThreshold: 1, Eps: 1e-30, Beta1: 0.9,
			ScaleParameter: true, WeightDecay: 0.1, MaxGradNorm: 1, BF16StochasticRound: stochastic},
	}
}

// TestLowMemoryResumes: in every form of their states the loss falls, and a run that goes on from a checkpoint between two
// projections makes the bits of one that was not interrupted.
func TestLowMemoryResumes(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, c := range []struct {
		dtype      gpu.DType
		stochastic bool
	}{{gpu.F32, false}, {gpu.BF16, false}, {gpu.BF16, true}} {
		for name, o := range lowMemory(c.stochastic) {
			what := fmt.Sprintf("%s, %v, stochastic %t", name, c.dtype, c.stochastic)
			stage := func() *program.Stage {
				s := tinyStage()
				s.DType, s.Optimizer = c.dtype, o
				return s
			}
			resumes(t, d, what, 5, 0.5, stage)
		}
	}
}

// TestLowMemoryNotFinite: gradients that are not finite change nothing, neither in a step that makes projections anew.
func TestLowMemoryNotFinite(t *testing.T) {
	d := cpuDevice(t, 2)
	for name, o := range lowMemory(false) {
		s := tinyStage()
		s.Optimizer = o
		tr := begun(t, d, s, "")
		b := batchFor(s)
		for step := 1; step <= 3; step++ {
			tr.trainStep(t, step, b)
		}
		kept := tr.values(t)
		f := &flight{step: 4, batch: b}
		must(t, tr.backpropagate(f))
		bad, err := tr.get(program.BufGrad(s.Params[1].ID))
		must(t, err)
		bad[0] = float32(math.Inf(1))
		must(t, tr.set(program.BufGrad(s.Params[1].ID), bad))
		must(t, tr.update(f))
		for buffer, v := range tr.values(t) {
			if !slices.Equal(v, kept[buffer]) {
				t.Errorf("%s: %s changes", name, buffer)
			}
		}
	}
}

// TestLowMemoryGrows: what is kept of a layer that stays is taken over bit for bit, and begins again where the rank is
// another; a new layer has its projection after the first step.
func TestLowMemoryGrows(t *testing.T) {
	d := cpuDevice(t, 2)
	grow := growth.Spec{Method: "interpolation", Layers: 2, Position: "upper", Mix: 0.5, FunctionPreserving: true}
	nothing := func(*program.Stage, ops.Param) bool { return false }
	for name, o := range lowMemory(false) {
		one := tinyStage()
		one.Optimizer = o
		first := begun(t, d, one, "")
		first.trainStep(t, 1, batchFor(one))
		dir := filepath.Join(t.TempDir(), "result")
		_, err := first.save(dir, nil, true)
		must(t, err)
		old := first.values(t)
		two := grown(t, one, grow, peft.Spec{}, nothing)
		two.Optimizer = o
		second := begun(t, d, two, dir)
		if second.begun != 0 {
			t.Errorf("%s: the states of %d parameters begin again", name, second.begun)
		}
		now := second.values(t)
		for _, p := range two.Params {
			stays := p.Layer < 0 || two.Layers[p.Layer].Old >= 0
			for _, s := range two.States(p) {
				buffer, zero := s.Buffer(p.ID), make([]float32, s.Type.Shape.Elems())
				if want := old[buffer]; stays && !slices.Equal(now[buffer], want) || !stays && !slices.Equal(now[buffer], zero) {
					t.Errorf("%s: %s, of a layer that stays %t, is not what it was", name, buffer, stays)
				}
			}
		}
		second.trainStep(t, 1, batchFor(two))
		for buffer, v := range second.values(t) {
			if strings.HasPrefix(buffer, "galore_p/") && slices.Equal(v, make([]float32, len(v))) {
				t.Errorf("%s: %s is zero after a step", name, buffer)
			}
		}
	}
	fewer := lowMemory(false)["galore"].(optim.Groups).Main.(optim.GaLore)
	fewer.Rank = 3
	one := tinyStage()
	one.Optimizer = lowMemory(false)["galore"]
	first := begun(t, d, one, "")
	first.trainStep(t, 1, batchFor(one))
	dir := filepath.Join(t.TempDir(), "result")
	_, err := first.save(dir, nil, true)
	must(t, err)
	two := grown(t, one, grow, peft.Spec{}, nothing)
	two.Optimizer = fewer.With(optim.AdamW{LearningRate: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
	second := begun(t, d, two, dir)
	linear := 0
	for _, p := range one.Params {
		if p.Kind == ops.KindLinear {
			linear++
		}
	}
	if second.begun != linear {
		t.Errorf("of another rank, the states of %d parameters begin again, and %d do", second.begun, linear)
	}
}

// TestLowMemoryPadded: on a device that pads rows the losses are the same but for the order of sums, and what is beside
// the tensors is zero.
func TestLowMemoryPadded(t *testing.T) {
	d := cpuDevice(t, 2)
	for name, o := range lowMemory(false) {
		stage := func() *program.Stage { return oddStage("llama", func(s *program.Stage) { s.Optimizer = o }) }
		plain, padded := begun(t, d, stage(), ""), begun(t, wide{d}, stage(), "")
		near(t, name+": losses", padded.losses(t, 5), plain.losses(t, 5), 1e-3)
		if padded.padding(t, name) == 0 {
			t.Errorf("%s: nothing is padded", name)
		}
	}
	for name, o := range lowMemory(true) {
		padded := begun(t, wide{d}, oddStage("llama", func(s *program.Stage) { s.DType, s.Optimizer = gpu.BF16, o }), "")
		padded.losses(t, 4)
		padded.padding(t, name+", stochastic")
	}
}
