package program

import (
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/ops"
	"stepflow/ops/optim"
)

// TestBytesOfLowMemoryAreThoseOfTheArena: what is planned of each optimizer's states is what the program has, and what
// the formulas of docs/methods.md say.
func TestBytesOfLowMemoryAreThoseOfTheArena(t *testing.T) {
	const rank = 4
	adam := optim.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, BF16StochasticRound: true}
	apollo := optim.Apollo{Rank: rank, UpdateProjGap: 200, Factor: 1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, BF16StochasticRound: true}
	galore := optim.GaLore{Rank: rank, UpdateProjGap: 200, Factor: 1, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, BF16StochasticRound: true}
	fira := galore
	fira.Fira = true
	long := func(p ops.Param) int64 { return int64(max(p.Shape.Rows(), p.Shape.Cols())) }
	short := func(p ops.Param) int64 { return int64(min(p.Shape.Rows(), p.Shape.Cols())) }
	for name, c := range map[string]struct {
		o    optim.Optimizer
		kept func(p ops.Param) int64 // bytes of the states of a projection
		rest func(p ops.Param) int64 // of any other parameter
	}{
		"scale": {optim.Scale{Momentum: 0.9, Eps: 1e-8, BF16StochasticRound: true}.With(adam), func(ops.Param) int64 { return 0 },
			func(p ops.Param) int64 {
				return map[ops.Kind]int64{ops.KindEmbedding: 0, ops.KindHead: 4, ops.KindNorm: 8}[p.Kind] * p.Elems()
			}},
		"apollo": {apollo.With(adam), func(p ops.Param) int64 { return 8*rank*long(p) + 4 }, nil},
		"galore": {galore.With(adam), func(p ops.Param) int64 { return 8*rank*long(p) + 2*rank*short(p) }, nil},
		"fira":   {fira.With(adam), func(p ops.Param) int64 { return 8*rank*long(p) + 2*rank*short(p) + 4 }, nil},
		"adafactor": {optim.Adafactor{DecayRate: -0.8, ClipThreshold: 1, Eps: 1e-30, BF16StochasticRound: true},
			func(p ops.Param) int64 { return 4 * (long(p) + short(p)) },
			func(p ops.Param) int64 { return 4 * int64(p.Shape.Rows()+p.Shape.Cols()) }},
	} {
		s := stageOf(2)
		s.DType, s.Optimizer = gpu.BF16, c.o
		must(t, NewPrograms(cpu.PlanCaps("")).Compile(s, "none"))
		var want int64
		for _, p := range s.Params {
			kept := 8 * p.Elems()
			switch {
			case p.Kind == ops.KindLinear:
				kept = c.kept(p)
			case c.rest != nil:
				kept = c.rest(p)
			}
			want += 4*p.Elems() + kept // weight and gradient in bf16
		}
		f := FiguresOf(s, 0)
		if f.PaperStates != want || f.States != want {
			t.Errorf("%s: planned are %d bytes, buffers have %d, want %d", name, f.PaperStates, f.States, want)
		}
		if got := f.ByKind["weights"] + f.ByKind["optimizer"]; f.CheckpointSize != got {
			t.Errorf("%s: a checkpoint is planned with %d bytes, the buffers it holds have %d", name, f.CheckpointSize, got)
		}
		if _, ok := s.Program.Segment(SegRefresh(200)); ok != (name == "galore" || name == "fira") {
			t.Errorf("%s: there is a segment that makes projections anew: %t", name, ok)
		}
	}
}
