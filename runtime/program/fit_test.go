package program

import (
	"errors"
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/ops/arch"
	"stepflow/ops/graph"
	"stepflow/ops/optim"
)

// stageOf is a stage that trains all of a small model with so many layers.
func stageOf(layers int) *Stage {
	c := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 512, HiddenSize: 32, IntermediateSize: 64, NumHiddenLayers: layers, NumAttentionHeads: 2, NumKeyValueHeads: 2,
		HeadDim: 16, MaxPositionEmbeddings: 2048, RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.02}}
	s := &Stage{Model: c, DType: gpu.F32, Seq: 32, Batch: 4, Micro: 4, Mask: true, Steps: 6, Horizon: 1, Frozen: map[string]bool{},
		Schedule: optim.Schedule{Kind: "constant"}, Optimizer: optim.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, MaxGradNorm: 1}}
	s.Layers = s.NewLayers(layers)
	s.Params = c.Declare(s.LayerIDs())
	return s
}

// TestNoiseIsPartOfTheProgram: stages that differ in the noise on embeddings alone do not share a program, which holds its scale.
func TestNoiseIsPartOfTheProgram(t *testing.T) {
	p := NewPrograms(cpu.PlanCaps(""))
	for _, alpha := range []float64{0, 5, 10} {
		s := stageOf(1)
		s.NEFTuneAlpha = alpha
		must(t, p.Compile(s, "none"))
		if _, ok := s.Program.Buffer(BufNoise); ok != (alpha > 0) {
			t.Errorf("alpha %g: the program takes noise: %t", alpha, ok)
		}
	}
	if n := len(p.stages); n != 3 {
		t.Errorf("%d programs for three amounts of noise", n)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestFullModelIsItsOwnYardstick: a stage that is the full model is not compiled once more.
func TestFullModelIsItsOwnYardstick(t *testing.T) {
	p, s := NewPrograms(cpu.PlanCaps("")), stageOf(2)
	must(t, p.Compile(s, "none"))
	f, err := p.Vanilla(s, s.Model, "none")
	must(t, err)
	if n := len(p.stages); n != 1 || f.Peak != FiguresOf(s, 0).Peak {
		t.Errorf("%d programs were compiled for 1, of peaks %d and %d", n, f.Peak, FiguresOf(s, 0).Peak)
	}
}

// TestUncountableBytes: the sum of all buffers is counted before any of them gets an offset.
func TestUncountableBytes(t *testing.T) {
	s := stageOf(2)
	s.Batch, s.Micro, s.Seq, s.Chunk = 1<<26, 1<<26, 1<<24, 256
	if _, err := CompileStage(s, cpu.PlanCaps("")); !errors.Is(err, graph.ErrTooLarge) {
		t.Errorf("a micro-batch of 2^50 tokens gives %v", err)
	}
	s.Batch, s.Micro, s.Seq = 1<<62, 1<<62, 1<<62
	if _, err := CompileStage(s, cpu.PlanCaps("")); !errors.Is(err, graph.ErrTooLarge) {
		t.Errorf("a micro-batch of 2^124 tokens gives %v", err)
	}
}

// TestChunkRows: a CPU's rows of logits fit a cache, a card's a part of its memory, if that is enough for its products.
func TestChunkRows(t *testing.T) {
	card := func(memory int64) gpu.Caps { return gpu.Caps{Workspace: 1, Memory: memory} }
	for _, x := range []struct {
		name              string
		caps              gpu.Caps
		rows, vocab, want int
	}{
		{"a CPU's cache", gpu.Caps{Memory: 1 << 40}, 8192, 4096, 512},
		{"efficient products on a CPU", gpu.Caps{}, 8192, 32000, 256},
		{"fewer rows than that", gpu.Caps{}, 100, 32000, 100},
		{"all rows of a large card", card(192 << 30), 8192, 32000, 8192},
		{"chunks of like size", card(80 << 30), 10000, 32000, 5056},
		{"a part of a card's memory", card(80 << 30), 8192, 32000, 4096},
		{"efficient products on a small card", card(8 << 30), 8192, 128256, 2048},
		{"like sizes of those", card(8 << 30), 2049, 128256, 1088},
		{"memory that is not known", card(0), 1 << 20, 152064, 2048},
		{"many columns", card(0), 1 << 20, 1 << 40, 2048},
	} {
		if got := ChunkRows(x.caps, x.rows, x.vocab); got != x.want {
			t.Errorf("%s: %d rows, not %d", x.name, got, x.want)
		}
	}
}

func TestDivisors(t *testing.T) {
	for n, want := range map[int][]int{1: {1}, 12: {1, 2, 3, 4, 6, 12}, 16: {1, 2, 4, 8, 16}, 13: {1, 13}} {
		if got := divisorsOf(n); !slices.Equal(got, want) {
			t.Errorf("divisors of %d: %v", n, got)
		}
	}
}

// TestFitsIsWhatIsCompiled: the search for what fits is told the arena of the program that is made.
func TestFitsIsWhatIsCompiled(t *testing.T) {
	for _, c := range []struct {
		checkpointing string
		micro         int
	}{{"none", 4}, {"block", 4}, {"none", 1}} {
		s := stageOf(5)
		s.Micro = c.micro
		must(t, NewPrograms(cpu.PlanCaps("")).Compile(s, c.checkpointing))
		for _, chunk := range []int{leastChunk, s.Chunk} {
			s.Chunk = chunk
			p, err := CompileStage(s, cpu.PlanCaps(""))
			must(t, err)
			for limit, want := range map[int64]bool{p.ArenaBytes: true, p.ArenaBytes - 1: false, p.ResidentBytes: false} {
				if fits, err := graph.Fits(StageGraph(s, cpu.PlanCaps("")), cpu.PlanCaps(""), limit); err != nil || fits != want {
					t.Errorf("%v, %d rows: an arena of %d bytes fits in %d: %t, %v", c, chunk, p.ArenaBytes, limit, fits, err)
				}
			}
		}
	}
}
