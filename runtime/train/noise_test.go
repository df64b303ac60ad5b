package train

import (
	"math"
	"testing"

	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/runtime/program"
)

// TestNoise holds the noise on embeddings to what it is in transformers, with tokens that all differ: the loss of a step is that of
// a table whose rows have it added, whatever the micro-batch; the probe has none.
func TestNoise(t *testing.T) {
	d := cpuDevice(t, 2)
	stage := func(alpha float64, micro int) *program.Stage {
		s := tinyStage()
		s.Model.TieWordEmbeddings = false
		s.Params = s.Model.Declare(s.LayerIDs())
		s.NEFTuneAlpha, s.Micro, s.PeftSeed = alpha, micro, 3
		return s
	}
	const step, alpha = 7, 5.0
	losses := func(s *program.Stage, change func(table []float32, of *program.Stage)) (loss, probe float64) {
		tr := begun(t, d, s, "")
		var table string
		for _, p := range s.Params {
			if p.Name == arch.EmbedTokens {
				table = p.ID
			}
		}
		v, err := tr.get(table)
		must(t, err)
		change(v, s)
		must(t, tr.set(table, v))
		b := batchFor(s)
		must(t, tr.backpropagate(&flight{step: step, batch: b}))
		x, err := tr.get(program.BufLoss)
		must(t, err)
		nll, err := tr.probe()
		must(t, err)
		return float64(x[0]), mean(nll)
	}
	same := func([]float32, *program.Stage) {}
	plain, before := losses(stage(0, 2), same)
	want, _ := losses(stage(0, 2), func(table []float32, s *program.Stage) {
		h := s.Model.HiddenSize
		scale, seed := alpha/math.Sqrt(float64(s.Seq*h)), uint32(s.NoiseSeed(step))
		for i, id := range batchFor(s).IDs {
			for c := range h {
				table[int(id)*h+c] += float32(scale * float64(gpu.Uniform(seed, int64(i*h+c))))
			}
		}
	})
	if math.Abs(want-plain) < 1e-3 {
		t.Fatalf("the noise changes the loss from %g to %g only", plain, want)
	}
	for _, micro := range []int{1, 2, 4} {
		loss, probe := losses(stage(alpha, micro), same)
		if math.Abs(loss-want) > 2e-6 {
			t.Errorf("micro-batches of %d: loss %.7f, want %.7f", micro, loss, want)
		}
		if micro == 2 && probe != before {
			t.Errorf("the probe gives %g, and %g without noise", probe, before)
		}
	}
	if s := stage(alpha, 2); s.NoiseSeed(7) == s.NoiseSeed(8) {
		t.Error("two steps have the same noise")
	}
}
