package cpu

import "stepflow/gpu"

// coding is how a variant reads and writes numbers that are kept in fewer bytes: blocks of codes, and bf16 that is
// rounded stochastically.
type coding struct {
	decode func(c *gpu.Codes, to []float32, from []byte, scale float32)
	encode func(c *gpu.Codes, to []byte, from []float32) (scale float32)
	// draw rounds with the draws of elements from number first on.
	draw func(to []uint16, from []float32, seed uint32, first int64)
}

var portableCoding = coding{decode: (*gpu.Codes).Decode, encode: (*gpu.Codes).Encode, draw: drawLoop}

func drawLoop(to []uint16, from []float32, seed uint32, first int64) {
	for i, x := range from {
		to[i] = gpu.ToBF16Stochastic(x, seed, first+int64(i))
	}
}
