package program

import (
	"testing"

	"stepflow/gpu"
)

// TestWhereGradientsAreAddedUp: pieces of the logits are parts of the head's gradient.
func TestWhereGradientsAreAddedUp(t *testing.T) {
	s := stageOf(2)
	s.DType, s.Micro, s.Batch, s.Seq, s.Chunk = gpu.BF16, 16, 16, 512, 64
	for _, p := range s.Params {
		want := gpu.BF16
		if p.Name == "lm_head.weight" {
			want = gpu.F32
		}
		if got := s.GradType(p); got != want {
			t.Errorf("%s, %d parts: %v", p.Name, s.additions(p), got)
		}
		s.SumsInF32 = true
		if got := s.GradType(p); got != gpu.BF16 {
			t.Errorf("%s, rounded once: %v", p.Name, got)
		}
		s.SumsInF32 = false
	}
}
