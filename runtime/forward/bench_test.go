package forward_test

import (
	"math/rand/v2"
	"testing"

	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/runtime/forward"
)

// shapes are those of models that are measured: the quickstart's, and one of 110 million parameters.
var shapes = []struct {
	name string
	arch.Config
}{
	{"quickstart", arch.Config{VocabSize: 2048, HiddenSize: 128, IntermediateSize: 384, NumHiddenLayers: 6, NumAttentionHeads: 4,
		MaxPositionEmbeddings: 512}},
	{"110M", arch.Config{VocabSize: 32000, HiddenSize: 768, IntermediateSize: 2048, NumHiddenLayers: 12, NumAttentionHeads: 12,
		MaxPositionEmbeddings: 1024}},
}

// BenchmarkGenerate continues texts by 256 tokens: one, and eight at once.
func BenchmarkGenerate(b *testing.B) {
	for i, s := range shapes {
		n := []int{256, 32}[i]
		m := newModel(b, arch.Model{Arch: arch.Lookup("llama"), Config: s.Config})
		for _, texts := range []int{1, 8} {
			b.Run(s.name+map[int]string{1: "/alone", 8: "/eight"}[texts], func(b *testing.B) {
				g := m.generator(b, openCPU(b), texts, 300)
				rng := rand.New(rand.NewPCG(1, 2))
				prompts := make([]forward.Prompt, texts)
				for i := range prompts {
					prompts[i] = forward.Prompt{IDs: m.ids(rng, 16), NewTokens: n}
				}
				for b.Loop() {
					_, err := g.Generate(b.Context(), prompts, nil)
					must(b, err)
				}
				b.ReportMetric(float64(n*texts*b.N)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}

// BenchmarkScore scores four continuations of each of 64 contexts, of lengths as HellaSwag has them.
func BenchmarkScore(b *testing.B) {
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			m := newModel(b, arch.Model{Arch: arch.Lookup("llama"), Config: s.Config})
			rng := rand.New(rand.NewPCG(1, 2))
			var requests []forward.Request
			tokens := 0
			for range 64 {
				context := m.ids(rng, 30+rng.IntN(90))
				tokens += len(context)
				for range 4 {
					requests = append(requests, forward.Request{Context: context, Continuation: m.ids(rng, 10+rng.IntN(40))})
					tokens += len(requests[len(requests)-1].Continuation)
				}
			}
			scorer := m.scorer(b, openCPU(b), gpu.F32, requests)
			for b.Loop() {
				_, err := scorer.Score(b.Context(), requests, nil)
				must(b, err)
			}
			b.ReportMetric(float64(tokens*b.N)/b.Elapsed().Seconds(), "tokens/s")
			b.ReportMetric(float64(64*b.N)/b.Elapsed().Seconds(), "questions/s")
		})
	}
}
