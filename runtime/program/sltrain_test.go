package program

import (
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/ops"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
)

// sltrain lets adapters take the place of all projections that train.
func sltrain(t *testing.T, s *Stage, sparsity float64) {
	t.Helper()
	spec := peft.Spec{Method: "sltrain", R: 3, Alpha: 3, Sparsity: sparsity, TargetModules: []string{"all-linear"}}
	as, err := spec.Match(s.Params, func(p ops.Param) bool { return !s.Frozen[p.ID] })
	must(t, err)
	s.Adapt(&spec, as)
}

// TestBytesOfSLTrainAreThoseOfTheArena: a projection takes what its parts take, and its places 4 bytes each; a weight that is made
// is in memory with no other.
func TestBytesOfSLTrainAreThoseOfTheArena(t *testing.T) {
	for _, fused := range []bool{false, true} {
		s := stageOf(6)
		s.DType, s.Optimizer = gpu.BF16, optim.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, BF16StochasticRound: true}
		if s.Fused = fused; fused {
			s.Micro = s.Batch
		}
		sltrain(t, s, 0.1)
		must(t, NewPrograms(cpu.PlanCaps("")).Compile(s, "block"))
		each := int64(12) // weight and gradient in bf16, moments in fp32
		if fused {
			each = 10
		}
		var want, places, largest, dense int64
		for _, p := range s.Params {
			if p.Kind != ops.KindLinear {
				want += each * p.Elems()
				continue
			}
			out, in := int64(p.Shape[0]), int64(p.Shape[1])
			some := int64(0.1 * float64(out*in))
			want, places = want+each*(3*(out+in)+some), places+4*some
			largest, dense = max(largest, 2*p.Elems()), dense+2*p.Elems()
		}
		f := FiguresOf(s, 0)
		if f.PaperStates != want+places || f.States != want+places {
			t.Errorf("fused %t: planned are %d bytes, buffers have %d, want %d", fused, f.PaperStates, f.States, want+places)
		}
		if got := f.ByKind["weights"] + f.ByKind["optimizer"] + f.ByKind["adapters"]; f.CheckpointSize != got {
			t.Errorf("fused %t: a checkpoint is planned with %d bytes, the buffers it holds have %d", fused, f.CheckpointSize, got)
		}
		for _, b := range s.Program.Buffers {
			for id := range s.Composed {
				if strings.HasSuffix(b.Name, "/"+id) && b.Name != BufPlaces(id) || b.Name == id {
					t.Errorf("fused %t: %s is a buffer of %v", fused, b.Name, b.Operand.Type)
				}
			}
		}
		plain := stageOf(6)
		plain.DType, plain.Optimizer, plain.Fused, plain.Micro = s.DType, s.Optimizer, s.Fused, s.Micro
		must(t, NewPrograms(cpu.PlanCaps("")).Compile(plain, "block"))
		more := s.Program.TransientBytes - plain.Program.TransientBytes
		if more > 2*largest || dense < 20*largest {
			t.Errorf("fused %t: activations take %d bytes more than with whole weights, of which the largest has %d and all %d", fused,
				more, largest, dense)
		}
	}
}

// TestSLTrainBetweenSteps: what is asked of a model between its steps makes its weights in the same way, without a gradient.
func TestSLTrainBetweenSteps(t *testing.T) {
	s := stageOf(2)
	sltrain(t, s, 0.1)
	s.Inference = &Inference{Context: 8, Continuation: 4, Texts: 2}
	must(t, NewPrograms(cpu.PlanCaps("")).Compile(s, "none"))
	for _, name := range []string{SegProbe, SegDecode} {
		x, ok := s.Program.Segment(name)
		made := 0
		for _, l := range s.Program.Launches[x.Lo:x.Hi] {
			if l.Kernel == "scatter_add" {
				made++
			}
		}
		if !ok || made != len(s.Adapters) {
			t.Errorf("%s makes %d weights of %d", name, made, len(s.Adapters))
		}
	}
}
