package train

import (
	"strconv"
	"testing"
	"time"

	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/ops/optim"
	"stepflow/runtime/program"
)

// BenchmarkLowMemoryUpdate is the update of a model of 14M parameters in bf16 by each optimizer: the share of the rate of a large
// copy at which its operands are read and written, and the time of its projections, where it makes them anew every 200
// steps, as a share of that of 200 steps of 2,048 tokens.
func BenchmarkLowMemoryUpdate(b *testing.B) {
	d := cpuDevice(b, 0)
	list := lowMemory(true)
	for name, o := range list {
		if gs, ok := o.(optim.Groups); ok {
			rest := gs.List[1].Optimizer
			switch m := gs.Main.(type) {
			case optim.GaLore:
				m.Rank, m.UpdateProjGap = 128, 200
				list[name] = m.With(rest)
			case optim.Apollo:
				if !m.Mini {
					m.Rank = 128
				}
				m.UpdateProjGap = 200
				list[name] = m.With(rest)
			}
		}
	}
	list["adamw"] = optim.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, BF16StochasticRound: true}
	for name, o := range list {
		b.Run(name, func(b *testing.B) {
			s := tinyStage()
			s.Model = arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 4096, HiddenSize: 512,
				IntermediateSize: 1376, NumHiddenLayers: 4, NumAttentionHeads: 8, NumKeyValueHeads: 8, HeadDim: 64,
				MaxPositionEmbeddings: 256, RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.02}}
			s.DType, s.Seq, s.Batch, s.Micro, s.Optimizer = gpu.BF16, 256, 8, 8, o
			s.Layers = s.NewLayers(4)
			s.Params = s.Model.Declare(s.LayerIDs())
			t := begun(b, d, s, "")
			batch := batchFor(s)
			t.trainStep(b, 1, batch)
			timed := func(segment string) time.Duration {
				at := time.Now()
				must(b, t.run(segment))
				return time.Since(at)
			}
			step := timed(program.SegMicro)
			var bytes int64
			seg, _ := s.Program.Segment(program.SegUpdate)
			for _, l := range s.Program.Launches[seg.Lo:seg.Hi] {
				bytes += l.Bytes
			}
			b.ResetTimer()
			for range b.N {
				timed(program.SegUpdate)
			}
			update := b.Elapsed().Seconds() / float64(b.N)
			b.ReportMetric(100*float64(bytes)/update/d.Bandwidth(), "%ofcopy")
			b.ReportMetric(100*update/(update+step.Seconds()), "%ofstep")
			for _, every := range s.Refreshes() {
				took := timed(program.SegRefresh(every))
				b.ReportMetric(100*took.Seconds()/(float64(every)*(update+step.Seconds())), "%of"+strconv.Itoa(every)+"steps")
			}
		})
	}
}
