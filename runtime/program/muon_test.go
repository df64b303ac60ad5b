package program

import (
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/ops"
	"stepflow/ops/optim"
)

// muon is Muon for projections and AdamW for the rest.
func muon(stochastic bool) optim.Optimizer {
	rest := optim.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, BF16StochasticRound: stochastic}
	return optim.Muon{LearningRate: 0.02, Momentum: 0.95, NSCoefficients: optim.NSCoefficients, NSSteps: 5, Eps: 1e-7,
		MaxGradNorm: 1, BF16StochasticRound: stochastic}.With(rest)
}

// TestBytesOfMuonAreThoseOfTheArena: a projection keeps one moment, and everything else two.
func TestBytesOfMuonAreThoseOfTheArena(t *testing.T) {
	for _, c := range []struct {
		dtype             gpu.DType
		stochastic        bool
		projection, other int64 // bytes a parameter
	}{
		{gpu.F32, false, 12, 16},
		{gpu.BF16, false, 12, 16},
		{gpu.BF16, true, 8, 12},
	} {
		s := stageOf(2)
		s.DType, s.Optimizer = c.dtype, muon(c.stochastic)
		must(t, NewPrograms(cpu.PlanCaps("")).Compile(s, "none"))
		f := FiguresOf(s, 0)
		if f.WideGradients != 0 {
			t.Fatalf("%d parameters have gradients in fp32", f.WideGradients)
		}
		linear := ops.Count(s.Params, func(p ops.Param) bool { return p.Kind == ops.KindLinear })
		want := linear*c.projection + (ops.Count(s.Params, nil)-linear)*c.other
		if f.PaperStates != want || f.States != want {
			t.Errorf("%v, stochastic %t: planned are %d bytes, buffers have %d, want %d", c.dtype, c.stochastic, f.PaperStates,
				f.States, want)
		}
		if got := f.ByKind["weights"] + f.ByKind["optimizer"]; f.CheckpointSize != got {
			t.Errorf("%v, stochastic %t: a checkpoint is planned with %d bytes, the buffers it holds have %d", c.dtype,
				c.stochastic, f.CheckpointSize, got)
		}
	}
}

// TestMuonKeepsNothingOfFrozenProjections: of a frozen weight there is no momentum.
func TestMuonKeepsNothingOfFrozenProjections(t *testing.T) {
	s := stageOf(2)
	s.Optimizer = muon(false)
	for _, p := range s.Params {
		s.Frozen[p.ID] = p.Layer == 0
	}
	must(t, NewPrograms(cpu.PlanCaps("")).Compile(s, "none"))
	kept := map[string]bool{}
	for _, b := range s.Program.Buffers {
		if state, id, ok := strings.Cut(b.Name, "/"); ok && b.Role == gpu.RoleOptimizer {
			kept[id] = kept[id] || state == "muon_m"
		}
	}
	for _, p := range s.Params {
		if muon, ok := kept[p.ID]; ok == s.Frozen[p.ID] || muon != (p.Kind == ops.KindLinear && p.Layer == 1) {
			t.Errorf("%s, frozen %t: state is kept %t, by muon %t", p.Name, s.Frozen[p.ID], ok, muon)
		}
	}
}
