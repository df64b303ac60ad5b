package cpu

import "stepflow/gpu"

func drawLoop(to []uint16, from []float32, seed uint32, first int64) {
	for i, x := range from {
		to[i] = gpu.ToBF16Stochastic(x, seed, first+int64(i))
	}
}

func randomLoop(to []float32, seed uint32, row, col int, alpha float32) {
	for i := range to {
		to[i] = alpha * gpu.RandomElement(seed, row, col+i)
	}
}

// splitmixState is the state from which splitmix64 makes the draw for element i of a seed: gpu.ToBF16Stochastic rounds
// with it, and gpu.RandomElement counts its bits.
func splitmixState(seed uint32, i int64) uint64 {
	return uint64(seed)<<40 + uint64(i) + 0x9e3779b97f4a7c15
}

// sameUpper reports whether the n states from z on differ only in their lower 30 bits, as vector code requires: it has
// one z>>30 for all of them.
func sameUpper(z uint64, n int) bool { return z>>30 == (z+uint64(n))>>30 }
