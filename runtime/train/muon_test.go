package train

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/ref"
	"stepflow/ops"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/program"
)

// muon is Muon for projections and AdamW for the rest.
func muon(stochastic bool) optim.Optimizer {
	rest := optim.AdamW{LearningRate: 3e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, BF16StochasticRound: stochastic}
	return optim.Muon{LearningRate: 0.02, Momentum: 0.95, Nesterov: true, NSCoefficients: optim.NSCoefficients, NSSteps: 5,
		Eps: 1e-7, WeightDecay: 0.1, MaxGradNorm: 1, BF16StochasticRound: stochastic}.With(rest)
}

// TestMuonResumes: in every form of the optimizer's state the loss falls, and a run that goes on from a checkpoint
// makes the bits of one that was not interrupted.
func TestMuonResumes(t *testing.T) {
	d := cpuDevice(t, 2)
	for _, c := range []struct {
		dtype      gpu.DType
		stochastic bool
	}{{gpu.F32, false}, {gpu.BF16, false}, {gpu.BF16, true}} {
		what := fmt.Sprintf("%v, stochastic %t", c.dtype, c.stochastic)
		stage := func() *program.Stage {
			s := tinyStage()
			s.DType, s.Optimizer = c.dtype, muon(c.stochastic)
			return s
		}
		resumes(t, d, what, 5, 1, stage)
	}
}

// TestMuonAgainstReference trains a few steps on the device of float64. Orthogonalized updates have no size of their
// gradient, so what rounding makes of a small one is as large as the update.
func TestMuonAgainstReference(t *testing.T) {
	losses := func(d gpu.Device) (list []float32) {
		s := tinyStage()
		s.Optimizer = muon(false)
		tr := begun(t, d, s, "")
		for step := 1; step <= 4; step++ {
			tr.trainStep(t, step, batchFor(s))
			loss, err := tr.get(program.BufLoss)
			must(t, err)
			list = append(list, loss[0])
		}
		return list
	}
	near(t, "losses", losses(cpuDevice(t, 2)), losses(&ref.Device{}), 1e-4)
}

// TestMuonGrows: what an optimizer keeps of a layer that stays is taken over bit for bit if the one before kept it, and
// begins as zeros where that was another; masters are taken over from any.
func TestMuonGrows(t *testing.T) {
	d := cpuDevice(t, 2)
	grow := growth.Spec{Method: "interpolation", Layers: 2, Position: "upper", Mix: 0.5, FunctionPreserving: true}
	nothing := func(*program.Stage, ops.Param) bool { return false }
	adamw := tinyStage().Optimizer
	for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
		for _, c := range []struct {
			name          string
			before, after optim.Optimizer
		}{
			{"muon to muon", muon(false), muon(false)},
			{"adamw to muon", adamw, muon(false)},
			{"muon to adamw", muon(false), adamw},
		} {
			one := tinyStage()
			one.DType, one.Optimizer = dtype, c.before
			first := begun(t, d, one, "")
			first.trainStep(t, 1, batchFor(one))
			dir := filepath.Join(t.TempDir(), "result")
			_, err := first.save(dir, nil, true)
			must(t, err)

			two := grown(t, one, grow, peft.Spec{}, nothing)
			two.DType, two.Optimizer = dtype, c.after
			second := begun(t, d, two, dir)
			old, now := first.values(t), second.values(t)
			begins := 0
			for _, p := range two.Params {
				layer := two.Layers[max(p.Layer, 0)]
				stays := p.Layer < 0 || layer.Old >= 0
				keeps := c.before.States(p, dtype)[0].Name == c.after.States(p, dtype)[0].Name
				if stays && !keeps {
					begins++
				}
				if n := second.state.OptimizerSteps[p.ID]; (n == 1) != (stays && keeps) {
					t.Errorf("%s in %v: %s, which stays %t, has had %d updates", c.name, dtype, p.Name, stays, n)
				}
				for _, s := range two.States(p) {
					name := s.Buffer(p.ID)
					switch zero := make([]float32, p.Shape.Elems()); {
					case s.Copy && stays, !s.Copy && stays && keeps:
						if !slices.Equal(now[name], old[name]) {
							t.Errorf("%s in %v: %s is not what it was", c.name, dtype, name)
						}
					case s.Copy:
						rounded := gpu.BytesFloat32(gpu.Float32Bytes(now[name], dtype), dtype)
						if !slices.Equal(rounded, now[p.ID]) {
							t.Errorf("%s in %v: %s is not the weight", c.name, dtype, name)
						}
					case !slices.Equal(now[name], zero):
						t.Errorf("%s in %v: %s does not begin as zeros", c.name, dtype, name)
					}
				}
			}
			if second.begun != begins {
				t.Errorf("%s in %v: %d parameters are said to begin again, and %d do", c.name, dtype, second.begun, begins)
			}
		}
	}
}

// TestMuonRestartsAdapters: adapters have the moments of AdamW, which begin again with them, while the momentum of the
// projections that train goes on.
func TestMuonRestartsAdapters(t *testing.T) {
	d := cpuDevice(t, 2)
	one := tinyStage()
	first := begun(t, d, one, "")
	first.trainStep(t, 1, batchFor(one))
	dir := filepath.Join(t.TempDir(), "result")
	_, err := first.save(dir, nil, true)
	must(t, err)
	relora := peft.Spec{Method: "relora", R: 2, Alpha: 4, TargetModules: []string{"all-linear"}, ResetEvery: 2}
	grow := growth.Spec{Method: "interpolation", Layers: 2, Position: "upper", Mix: 0.5, FunctionPreserving: true}
	inherited := (*program.Stage).Inherited
	two := grown(t, one, grow, relora, inherited)
	two.Optimizer = muon(false)
	second := begun(t, d, two, dir)
	second.trainStep(t, 1, batchFor(two))
	second.trainStep(t, 2, batchFor(two))
	before := second.values(t)
	_, err = second.restart()
	must(t, err)
	dir = filepath.Join(t.TempDir(), "step")
	_, err = second.save(dir, nil, false)
	must(t, err)
	asPlanned(t, "adapters that are restarted", second, dir, false)
	after := second.values(t)
	for _, p := range two.Trainable() {
		for _, s := range two.States(p) {
			name, zero := s.Buffer(p.ID), make([]float32, p.Shape.Elems())
			switch {
			case slices.Equal(before[name], zero):
				t.Errorf("%s is zero before the restart", name)
			case p.Kind.IsAdapter() && !slices.Equal(after[name], zero):
				t.Errorf("%s does not begin again", name)
			case !p.Kind.IsAdapter() && !slices.Equal(after[name], before[name]):
				t.Errorf("%s does not go on", name)
			}
		}
		want := int64(2)
		switch {
		case p.Kind.IsAdapter():
			want = 0
		case p.Layer < 0:
			want = 3 // one in the stage before
		}
		if n := second.state.OptimizerSteps[p.ID]; n != want {
			t.Errorf("%s has had %d updates, want %d", p.Name, n, want)
		}
	}
}
