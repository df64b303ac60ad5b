package forward_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"stepflow/fineweb"
	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
)

// TestStreamed: a pass that holds one layer at a time gives the bits of a pass that holds all of them, in every architecture.
func TestStreamed(t *testing.T) {
	d := openCPU(t)
	rng := rand.New(rand.NewPCG(5, 6))
	for _, a := range arch.All() {
		for _, layers := range []int{0, 4} {
			for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
				config := arch.Config{VocabSize: 37, HiddenSize: 20, IntermediateSize: 28, NumHiddenLayers: layers, NumAttentionHeads: 2,
					NumKeyValueHeads: 1, HeadDim: 6, MaxPositionEmbeddings: 48, LayerNormScaling: !a.Features.PostNorm}
				m := newModel(t, arch.Model{Arch: a, Config: config})
				x := program.Pass{Model: m.Model, Params: m.params, DType: dtype, Batch: 2, Seq: 24, Mask: true}
				n := x.Batch * x.Seq
				b := &fineweb.Batch{IDs: m.ids(rng, n), Targets: m.ids(rng, n), Segments: make([]int32, n)}
				b.Targets[5] = fineweb.Ignored
				for i := range b.Segments {
					b.Segments[i] = int32(i % x.Seq / 10)
				}
				programs := program.NewPrograms(d.Caps())
				p, err := programs.Pass(x)
				must(t, err)
				whole, err := forward.Load(t.Context(), d, p, x, m.folder)
				must(t, err)
				want, err := whole.NLL(b)
				must(t, err)
				must(t, whole.Close())
				streamed, err := programs.Streamed(x)
				must(t, err)
				from, err := forward.OpenFolder(m.folder)
				must(t, err)
				got, err := forward.StreamedNLL(t.Context(), d, streamed, x, from, b)
				must(t, err)
				must(t, from.Close())
				if !slices.Equal(got, want) {
					t.Errorf("%s in %v, %d layers: losses differ from those of the pass", a.Type, dtype, layers)
				}
				if layers > 2 && streamed.ArenaBytes >= p.ArenaBytes {
					t.Errorf("%s: a streamed pass takes %d bytes, the pass %d", a.Type, streamed.ArenaBytes, p.ArenaBytes)
				}
			}
		}
	}
}
