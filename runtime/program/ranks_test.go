package program

import (
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/ops/optim"
)

// rankStage is a stage of four layers that rank 0 of some trains, of so many sequences a step, one at a time.
func rankStage(ranks int, shard Shard, batch int) *Stage {
	c := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 272, HiddenSize: 16, IntermediateSize: 24,
		NumHiddenLayers: 4, NumAttentionHeads: 2, NumKeyValueHeads: 1, HeadDim: 8, MaxPositionEmbeddings: 32, RopeTheta: 1e4,
		RMSNormEps: 1e-5, InitializerRange: 0.1}}
	s := &Stage{Model: c, DType: gpu.F32, Seq: 12, Batch: batch, Micro: 1, Chunk: 12, Steps: 6, Horizon: 1, Frozen: map[string]bool{},
		FromZero: true, Ranks: ranks, Shard: shard, Optimizer: optim.AdamW{LearningRate: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8}}
	s.Layers = s.NewLayers(4)
	s.Params = c.Declare(s.LayerIDs())
	return s
}

// collectives are the positions of launches of a segment that wait for other ranks, and how many launches it has.
func collectives(t *testing.T, p *gpu.Program, segment string) (at []int, n int) {
	t.Helper()
	seg, ok := p.Segment(segment)
	if !ok {
		t.Fatalf("there is no segment %s", segment)
	}
	for i, l := range p.Launches[seg.Lo:seg.Hi] {
		if gpu.Lookup(l.Kernel).Collective {
			at = append(at, i)
		}
	}
	return at, seg.Hi - seg.Lo
}

// TestSumsBesideTheBackwardPass: the gradients of the upper layers are added up over the ranks while those below are made, and no
// micro-batch before the last waits for other ranks.
func TestSumsBesideTheBackwardPass(t *testing.T) {
	for _, shard := range []Shard{ShardNone, ShardOptimizer, ShardGradients} {
		s := rankStage(2, shard, 4)
		p, err := CompileStage(s, gpu.Caps{Alignment: 64})
		if err != nil {
			t.Fatal(err)
		}
		if at, _ := collectives(t, p, SegMicro); len(at) > 0 {
			t.Errorf("%s: %d operations of the first micro-batch wait for other ranks", shard, len(at))
		}
		at, n := collectives(t, p, SegLast)
		if len(at) != len(s.Trainable())+1 {
			t.Errorf("%s: %d sums over ranks, of %d gradients and a loss", shard, len(at), len(s.Trainable()))
		}
		if early := len(slices.DeleteFunc(slices.Clone(at), func(i int) bool { return i > n*9/10 })); early < len(at)*3/4 {
			t.Errorf("%s: of %d sums only %d stand in the first nine tenths of %d operations: %v", shard, len(at), early, n, at)
		}
	}
}

// TestGradientsPass: where a rank has one micro-batch, it keeps no gradient of others, and each is gone before the last is made.
func TestGradientsPass(t *testing.T) {
	whole, err := CompileStage(rankStage(2, ShardNone, 2), gpu.Caps{Alignment: 64})
	if err != nil {
		t.Fatal(err)
	}
	s := rankStage(2, ShardGradients, 2)
	p, err := CompileStage(s, gpu.Caps{Alignment: 64})
	if err != nil {
		t.Fatal(err)
	}
	owners := s.Owners()
	for _, x := range s.Trainable() {
		if _, has := p.Buffer(BufGrad(x.ID)); has != (owners[x.ID] == 0) {
			t.Errorf("%s of rank %d: rank 0 has a gradient: %t", x.Name, owners[x.ID], has)
		}
	}
	if a, b := p.TransientBytes, whole.TransientBytes; a > b+b/4 {
		t.Errorf("activations take %d bytes, without shards %d", a, b)
	}
}

// TestBalance: every tensor has one owner, no rank has more than 4/3 of the best, and equal tensors are shared out evenly.
func TestBalance(t *testing.T) {
	for _, c := range []struct {
		bytes []int64
		ranks int
		want  []int
	}{
		{[]int64{8, 8, 8, 8}, 2, []int{0, 1, 0, 1}},
		{[]int64{1, 2, 3, 4, 10}, 2, []int{1, 1, 1, 1, 0}},
		{[]int64{5}, 3, []int{0}},
		{[]int64{0, 0, 0, 0}, 2, []int{0, 1, 0, 1}},
		{nil, 2, []int{}},
	} {
		if got := balance(c.bytes, c.ranks); !slices.Equal(got, c.want) {
			t.Errorf("%v to %d ranks: %v, want %v", c.bytes, c.ranks, got, c.want)
		}
	}
}

// TestRanksGiveUpTheSame: ranks that keep unlike parts decide alike what does not fit the device, and all fit it.
func TestRanksGiveUpTheSame(t *testing.T) {
	bytes := func(r int, memory int64) (*Stage, int64) {
		s := rankStage(3, ShardOptimizer, 12)
		s.Rank, s.AutoMicro = r, true
		if err := NewPrograms(gpu.Caps{Alignment: 64, Memory: memory}).Compile(s, "auto"); err != nil {
			t.Fatal(err)
		}
		return s, s.Program.ArenaBytes
	}
	_, all := bytes(0, 0)
	first, _ := bytes(0, all*2/3)
	if first.Micro == 4 {
		t.Fatal("nothing is given up")
	}
	for r := range 3 {
		s, n := bytes(r, all*2/3)
		if s.Micro != first.Micro || s.Chunk != first.Chunk || s.Recompute != first.Recompute {
			t.Errorf("rank %d: micro-batch %d, %d rows of logits, %d layers again; rank 0: %d, %d, %d", r, s.Micro, s.Chunk, s.Recompute,
				first.Micro, first.Chunk, first.Recompute)
		}
		if n > all*2/3 {
			t.Errorf("rank %d takes %d bytes of %d", r, n, all*2/3)
		}
	}
}
