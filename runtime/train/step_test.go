package train

import (
	"context"
	"fmt"
	"os"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/growth"
	"stepflow/ops/optim"
	"stepflow/ops/peft"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
)

// stepOf loads a stage with random weights and a batch in its input buffers.
func stepOf(tb testing.TB, d *cpu.Device, c arch.Model, dtype gpu.DType, micro, seq, frozen int) *trainer {
	tb.Helper()
	s := &program.Stage{Model: c, DType: dtype, Seq: seq, Batch: micro, Micro: micro,
		Chunk: program.ChunkRows(d.Caps(), micro*seq, c.VocabSize), Steps: 100, Horizon: 1, Frozen: map[string]bool{}, Mask: true,
		Schedule: optim.Schedule{Kind: "constant"}, Optimizer: optim.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.95,
			Eps: 1e-8, WeightDecay: 0.1, MaxGradNorm: 1}}
	for i := 0; i < c.NumHiddenLayers; i++ {
		s.Layers = append(s.Layers, growth.Layer{ID: fmt.Sprint("l", i), Old: -1})
	}
	s.Params = c.Declare(s.LayerIDs())
	if frozen > 0 {
		s.Peft = &peft.Spec{Method: "lora", R: 8, Alpha: 16, TargetModules: []string{"all-linear"}}
		for _, p := range s.Params {
			if p.Layer >= 0 && p.Layer < frozen {
				s.Frozen[p.ID] = true
			}
		}
		var err error
		s.Adapters, err = s.Peft.Match(s.Params, func(p ops.Param) bool { return s.Frozen[p.ID] })
		must(tb, err)
	}
	var err error
	s.Program, err = program.CompileStage(s, d.Caps())
	must(tb, err)
	t := &trainer{stage: s}
	t.loaded, err = d.Load(s.Program)
	must(tb, err)
	tb.Cleanup(func() { t.loaded.Close() })
	must(tb, forward.SetConstants(t.loaded, s.Program, c, seq))
	must(tb, t.start(context.Background(), ""))
	ids, segments := make([]int32, micro*seq), make([]int32, micro*seq)
	for i := range ids {
		ids[i], segments[i] = int32(i*7919%c.VocabSize), int32(i%seq/(seq/2))
	}
	for name, v := range map[string][]int32{program.BufIDs: ids, program.BufTargets: ids, program.BufSegments: segments} {
		must(tb, t.loaded.CopyIn(t.named(name).Operand, gpu.Int32Bytes(v)))
	}
	must(tb, t.set(program.BufScale, []float32{1 / float32(len(ids))}))
	must(tb, t.hyper(1))
	return t
}

func (t *trainer) runStep(tb testing.TB) {
	for _, segment := range []string{program.SegZero, program.SegMicro, program.SegUpdate} {
		if err := t.run(segment); err != nil {
			tb.Fatal(err)
		}
	}
}

var stepSizes = []struct {
	name       string
	c          arch.Model
	micro, seq int
	frozen     int
}{
	{"hidden256", arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 4096, HiddenSize: 256,
		IntermediateSize: 688, NumHiddenLayers: 8, NumAttentionHeads: 4, NumKeyValueHeads: 4, HeadDim: 64,
		MaxPositionEmbeddings: 256, RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.02}}, 8, 256, 0},
	{"hidden512", arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 32000, HiddenSize: 512,
		IntermediateSize: 1376, NumHiddenLayers: 12, NumAttentionHeads: 8, NumKeyValueHeads: 8, HeadDim: 64,
		MaxPositionEmbeddings: 256, RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.02}}, 8, 256, 0},
	{"quickstart", arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 2048, HiddenSize: 128,
		IntermediateSize: 344, NumHiddenLayers: 6, NumAttentionHeads: 4, NumKeyValueHeads: 2, HeadDim: 32,
		MaxPositionEmbeddings: 256, RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.02, TieWordEmbeddings: true}}, 4,
		128, 4},
}

// BenchmarkStep is a whole training step: forward, backward, clipping, update.
func BenchmarkStep(b *testing.B) {
	for _, z := range stepSizes {
		for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
			b.Run(fmt.Sprintf("%s/%v", z.name, dtype), func(b *testing.B) {
				d, err := cpu.Open(0, os.Getenv("STEPFLOW_CPU_ISA"))
				must(b, err)
				defer d.Close()
				t := stepOf(b, d, z.c, dtype, z.micro, z.seq, z.frozen)
				t.runStep(b) // touches the arena
				b.ReportAllocs()
				for b.Loop() {
					t.runStep(b)
				}
				var flops int64
				for _, l := range t.stage.Program.Launches {
					flops += l.FLOPs
				}
				probe, _ := t.stage.Program.FLOPs(program.SegProbe)
				merge, _ := t.stage.Program.FLOPs(program.SegMerge)
				b.ReportMetric(float64(flops-probe-merge)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
				b.ReportMetric(float64(z.micro*z.seq*b.N)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}

// TestStepAllocatesNothing counts what a training step allocates.
func TestStepAllocatesNothing(t *testing.T) {
	for _, z := range stepSizes[2:] {
		for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
			s := stepOf(t, cpuDevice(t, 2), z.c, dtype, 1, 64, z.frozen)
			if n := testing.AllocsPerRun(3, func() { s.runStep(t) }); n != 0 {
				t.Errorf("%s in %v: a step makes %v allocations", z.name, dtype, n)
			}
		}
	}
}
