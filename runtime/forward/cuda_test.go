//go:build cudaemu

package forward_test

import (
	"math"
	"slices"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/gpu/cuda/emu"
	"stepflow/ops/arch"
	"stepflow/runtime/forward"
)

// TestCUDAInference scores and generates with the card's kernels, whose matrices are padded, as the CPU does.
func TestCUDAInference(t *testing.T) {
	card, err := cuda.Open(emu.New())
	must(t, err)
	defer card.Close()
	d := openCPU(t)
	m := small(t, arch.Lookup("qwen3"))
	m.tokens = 32
	requests := m.requests(2)
	var got [2][]forward.Likelihood
	var texts [2][]forward.Generated
	for i, d := range []gpu.Device{d, card} {
		got[i], err = m.scorer(t, d, gpu.F32, requests).Score(t.Context(), requests, nil)
		must(t, err)
		texts[i], err = m.generator(t, d, 2, 20).Generate(t.Context(), []forward.Prompt{{IDs: []int32{1, 2, 3}, NewTokens: 4},
			{IDs: []int32{4}, NewTokens: 3}, {IDs: []int32{5, 6}, NewTokens: 3}}, nil)
		must(t, err)
	}
	for i, x := range got[0] {
		if y := got[1][i]; !(math.Abs(x.Sum-y.Sum) <= 1e-4*math.Abs(x.Sum)) || x.Greedy != y.Greedy {
			t.Errorf("request %d: %v, and %v on the CPU", i, y, x)
		}
	}
	for i, x := range texts[0] {
		if y := texts[1][i]; !slices.Equal(x.IDs, y.IDs) {
			t.Errorf("text %d: %v, and %v on the CPU", i, y.IDs, x.IDs)
		}
	}
}
