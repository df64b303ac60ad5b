package train

import (
	"testing"
	"time"

	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/ops/optim"
	"stepflow/runtime/program"
)

// BenchmarkProjections is GaLore's search for subspaces in models of two shapes: the time of a refresh, as a share of that
// of the 200 steps that it serves. Each is the fastest of those that take turns.
func BenchmarkProjections(b *testing.B) {
	const every = 200
	for _, c := range []struct {
		name                    string
		vocab, hidden, inner    int
		layers, heads, kv, rank int
		seq, batch, micro       int
		dtype                   gpu.DType
	}{
		{"quickstart", 2048, 128, 344, 6, 4, 2, 32, 128, 8, 4, gpu.F32},
		{"60M", 32000, 512, 1376, 8, 8, 8, 128, 256, 8, 8, gpu.BF16},
	} {
		b.Run(c.name, func(b *testing.B) {
			galore := optim.GaLore{LearningRate: 1e-2, Rank: c.rank, UpdateProjGap: every, Factor: 0.25, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8,
				MaxGradNorm: 1}
			s := tinyStage()
			s.Model = arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: c.vocab, HiddenSize: c.hidden,
				IntermediateSize: c.inner, NumHiddenLayers: c.layers, NumAttentionHeads: c.heads, NumKeyValueHeads: c.kv,
				HeadDim: c.hidden / c.heads, MaxPositionEmbeddings: 256, RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.02}}
			s.DType, s.Seq, s.Batch, s.Micro = c.dtype, c.seq, c.batch, c.micro
			s.Optimizer = galore.With(optim.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8})
			s.Layers = s.NewLayers(c.layers)
			s.Params = s.Model.Declare(s.LayerIDs())
			t := begun(b, cpuDevice(b, 0), s, "")
			t.trainStep(b, 1, batchFor(s))
			fastest := map[string]time.Duration{}
			for b.Loop() {
				for _, segment := range []string{program.SegMicro, program.SegUpdate, program.SegRefresh(every)} {
					start := time.Now()
					must(b, t.run(segment))
					if took := time.Since(start); fastest[segment] == 0 || took < fastest[segment] {
						fastest[segment] = took
					}
				}
			}
			step := time.Duration(c.batch/c.micro)*fastest[program.SegMicro] + fastest[program.SegUpdate]
			refresh := fastest[program.SegRefresh(every)]
			b.ReportMetric(100*refresh.Seconds()/(every*step.Seconds()), "%of200steps")
			b.ReportMetric(refresh.Seconds()*1e3, "ms/refresh")
			b.ReportMetric(step.Seconds()*1e3, "ms/step")
		})
	}
}
