package train

import (
	"fmt"
	"sort"
	"testing"

	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/ops/optim"
	"stepflow/runtime/program"
)

func TestAdhoc(b *testing.T) {
	d := cpuDevice(b, 1)
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
	for name, o := range list {
		s := tinyStage()
		s.Model = arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 4096, HiddenSize: 512,
			IntermediateSize: 1376, NumHiddenLayers: 2, NumAttentionHeads: 8, NumKeyValueHeads: 8, HeadDim: 64,
			MaxPositionEmbeddings: 256, RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.02}}
		s.DType, s.Seq, s.Batch, s.Micro, s.Optimizer = gpu.BF16, 64, 1, 1, o
		s.Layers = s.NewLayers(2)
		s.Params = s.Model.Declare(s.LayerIDs())
		t := begun(b, d, s, "")
		t.trainStep(b, 1, batchFor(s))
		seg, _ := s.Program.Segment(program.SegUpdate)
		type acc struct {
			k     string
			t     float64
			bytes int64
			flops int64
			n     int
		}
		best := map[int]float64{}
		for range 15 {
			must(b, t.loaded.Run(seg.Lo, seg.Hi, true))
			ts, _ := t.loaded.Sync()
			for _, x := range ts {
				v := x.Duration.Seconds()
				if w, ok := best[x.Launch]; !ok || v < w {
					best[x.Launch] = v
				}
			}
		}
		by := map[string]*acc{}
		total := 0.0
		for i, v := range best {
			l := s.Program.Launches[i]
			k := l.Kernel
			if k == "matmul" {
				k += fmt.Sprint(l.In[0].Type.Shape, l.In[1].Type.Shape, l.In[0].Type.DType, l.Attrs.TransA, l.Attrs.TransB)
			}
			a := by[k]
			if a == nil {
				a = &acc{k: k}
				by[k] = a
			}
			a.t += v
			total += v
			a.bytes += l.Bytes
			a.flops += l.FLOPs
			a.n++
		}
		var as []*acc
		for _, a := range by {
			as = append(as, a)
		}
		sort.Slice(as, func(i, j int) bool { return as[i].t > as[j].t })
		fmt.Printf("== %s  total %.2f ms  copy %.1f GB/s\n", name, total*1e3, d.Bandwidth()/1e9)
		for _, a := range as[:min(len(as), 9)] {
			fmt.Printf("  %-60s n=%d %.3f ms %.1f GB/s %.1f GFLOP/s\n", a.k, a.n, a.t*1e3, float64(a.bytes)/a.t/1e9, float64(a.flops)/a.t/1e9)
		}
	}
}
