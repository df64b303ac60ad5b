package program

import (
	"fmt"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/graph"
	"stepflow/ops/peft"
)

// paperStage is a stage of the paper's models: the lower half of the layers is frozen behind adapters.
func paperStage(t *testing.T, hidden, intermediate, rank int) *Stage {
	t.Helper()
	s := stageOf(24)
	s.Model.Config = arch.Config{VocabSize: 32000, HiddenSize: hidden, IntermediateSize: intermediate,
		NumHiddenLayers: 24, NumAttentionHeads: 16, NumKeyValueHeads: 16, HeadDim: hidden / 16,
		MaxPositionEmbeddings: 2048, RopeTheta: 1e4, RMSNormEps: 1e-5, InitializerRange: 0.02}
	s.Params = s.Model.Declare(s.LayerIDs())
	s.DType, s.Seq, s.Batch, s.Micro, s.Chunk = gpu.BF16, 1024, 8, 8, 2048
	s.Peft = &peft.Spec{Method: "relora", R: rank, Alpha: 1, TargetModules: []string{"all-linear"}, ResetEvery: 1,
		MergeRounding: peft.RoundRemainder}
	for _, p := range s.Params {
		s.Frozen[p.ID] = p.Layer >= 0 && p.Layer < 12
	}
	var err error
	s.Adapters, err = s.Peft.Match(s.Params, func(p ops.Param) bool { return s.Frozen[p.ID] })
	must(t, err)
	return s
}

// matrices are the operands of a launch that are matrices of a product on tensor cores.
func matrices(l gpu.Launch) []gpu.Operand {
	switch l.Kernel {
	case "matmul", "matmul_swiglu":
		return append(l.In[:len(l.In):len(l.In)], l.Out...)
	case "linear_cross_entropy":
		return l.In[:2]
	case "linear_cross_entropy_grad":
		return append(l.In[1:3:3], l.Out[1:]...)
	}
	return nil
}

// TestProductsAreAligned: on a card, all rows of matrices in the paper's models begin at multiples of 16 bytes, and
// all their extents are multiples of 64, or of ranks.
func TestProductsAreAligned(t *testing.T) {
	for _, x := range []struct{ hidden, intermediate, rank, wide int }{
		{1024, 2736, 100, 104}, {1536, 4096, 150, 152}, {2048, 5461, 200, 200},
	} {
		s := paperStage(t, x.hidden, x.intermediate, x.rank)
		p, err := CompileStage(s, cuda.PlanCaps("card", 80<<30))
		must(t, err)
		products := 0
		for _, l := range p.Launches {
			for i, o := range matrices(l) {
				products++
				where := fmt.Sprintf("hidden %d: %s %s, matrix %d of %v", x.hidden, l.Kernel, l.Name, i, o.Type)
				if size := o.Type.DType.Size(); o.Offset%16 != 0 || int64(o.RowStride())*size%16 != 0 {
					t.Errorf("%s: its rows do not begin at multiples of 16 bytes", where)
				}
				for _, n := range []int{o.Type.Shape.Rows(), o.Type.Shape.Cols()} {
					if n%64 != 0 && n%x.wide != 0 {
						t.Errorf("%s: %d is a multiple neither of 64 nor of the rank", where, n)
					}
				}
			}
		}
		if products < 24*7*3*3 {
			t.Errorf("hidden %d: %d matrices were looked at", x.hidden, products)
		}
	}
}

// TestFiguresOfPaddedStages: padding is a row of its own, and every other figure that a device does not decide is that
// of a device without padding.
func TestFiguresOfPaddedStages(t *testing.T) {
	const hidden, intermediate, rank = 2048, 5461, 100
	card := cuda.PlanCaps("card", 80<<30)
	plain := card
	plain.Width = 0
	figures := func(caps gpu.Caps) Figures {
		s := paperStage(t, hidden, intermediate, rank)
		var err error
		s.Program, err = CompileStage(s, caps)
		must(t, err)
		return FiguresOf(s, 1)
	}
	got, want := figures(card), figures(plain)
	// Of a trained weight: weight and gradient in bf16, master and moments in fp32. Of a frozen one that adapters are
	// merged into: the weight and its remainder.
	const trained, merged = 2 + 2 + 4 + 4 + 4, 2 + 2
	mlp := int64(3 * (5504 - intermediate) * hidden)
	// The factors of q, k, v and o have an extent of the hidden size and one of the rank, and so has one of each of the
	// others, whose other factor has both extents padded.
	factors := int64(11*hidden*(104-rank) + 3*(5504*104-intermediate*rank))
	if n := 12 * (mlp*(trained+merged) + factors*trained); got.ByKind["padding"] != n {
		t.Errorf("the padding takes %d bytes, want %d", got.ByKind["padding"], n)
	}
	if _, ok := want.ByKind["padding"]; ok {
		t.Error("a stage without padding has a row of it")
	}
	for _, k := range []string{"weights", "gradients", "optimizer", "adapters"} {
		if got.ByKind[k] != want.ByKind[k] {
			t.Errorf("%s take %d bytes beside the padding, and %d without", k, got.ByKind[k], want.ByKind[k])
		}
	}
	sum := int64(0)
	for _, k := range ByteKinds {
		sum += got.ByKind[k]
	}
	if sum != got.Peak {
		t.Errorf("the rows add up to %d bytes of %d", sum, got.Peak)
	}
	if !(got.Peak > want.Peak+got.ByKind["padding"]/2) {
		t.Errorf("a peak of %d bytes, %d without padding", got.Peak, want.Peak)
	}
	for what, x := range map[string][2]int64{
		"trainable parameters": {got.Trainable, want.Trainable}, "frozen parameters": {got.Frozen, want.Frozen},
		"parameters of adapters": {got.Adapter, want.Adapter}, "states": {got.States, want.States},
		"paper's states": {got.PaperStates, want.PaperStates}, "checkpoint": {got.CheckpointSize, want.CheckpointSize},
		"operations of a step": {got.StepFLOPs, want.StepFLOPs},
	} {
		if x[0] != x[1] {
			t.Errorf("%s: %d with padding, %d without", what, x[0], x[1])
		}
	}
}

// TestWholeWidthsStayAsTheyAre: a model whose sizes are multiples already has the same program.
func TestWholeWidthsStayAsTheyAre(t *testing.T) {
	card := cuda.PlanCaps("card", 80<<30)
	plain := card
	plain.Width = 0
	var hashes []string
	for _, caps := range []gpu.Caps{card, plain} {
		s := stageOf(2)
		s.Model.HiddenSize, s.Chunk = 64, 64
		s.Params = s.Model.Declare(s.LayerIDs())
		p, err := CompileStage(s, caps)
		must(t, err)
		hashes = append(hashes, p.Hash())
	}
	if hashes[0] != hashes[1] {
		t.Error("the program is another one")
	}
}

// TestOperationsAreCountedWithoutCompiling: operations that are read off a graph are those of its program.
func TestOperationsAreCountedWithoutCompiling(t *testing.T) {
	s := stageOf(3)
	s.Recompute, s.Chunk = 2, 64
	p, err := CompileStage(s, gpu.Caps{})
	must(t, err)
	count := graph.FLOPs(StageGraph(s, gpu.Caps{}))
	for _, segment := range append(StepSegments, SegProbe) {
		n, again := count(segment)
		if want, recomputed := p.FLOPs(segment); n != want || again != recomputed {
			t.Errorf("%s: %d and %d operations are counted, and the program has %d and %d", segment, n, again, want,
				recomputed)
		}
	}
	if _, again := count(SegMicro); again == 0 {
		t.Error("nothing is computed again")
	}
}
