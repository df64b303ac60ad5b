package cpu

import (
	"math"

	"stepflow/gpu"
)

// coding is how a variant reads and writes numbers that are kept in fewer bytes: blocks of codes, and bf16 that is
// rounded stochastically.
type coding struct {
	// decode and encode are given the scales of blocks, of blockElems elements at most: to begin with, encode is given
	// the largest magnitudes.
	decode func(c *codes, to []float32, from []byte, scales []float32)
	encode func(c *codes, to []byte, from, scales []float32)
	// draw rounds with the draws of elements from number first on.
	draw func(to []uint16, from []float32, seed uint32, first int64)
	// random gives elements of a random matrix, of a row from a column on, times alpha.
	random func(to []float32, seed uint32, row, col int, alpha float32)
	// step is a pass of AdamW over n elements of a block, n a multiple of 64, z the state of the first element's draw; nil
	// where loops do it one after the other.
	step func(n int, w, grad *uint16, m, v *byte, om, ov *float32, planesM, planesV *byte, a *stepArgs, z uint64)
}

// stepArgs are the scalars of halfAdamWLoop, the scales of a block, and what the loop gives.
type stepArgs struct{ k, b1, c1, b2, c2, r1, r2, eps, lr, keep, scaleM, scaleV, mostM, mostV float32 }

var portableCoding = coding{
	decode: func(c *codes, to []float32, from []byte, scales []float32) {
		eachBlock(len(to), func(i, at, end int) { c.Decode(to[at:end], from[at:end], scales[i]) })
	},
	encode: func(c *codes, to []byte, from, scales []float32) {
		eachBlock(len(from), func(i, at, end int) { scales[i] = c.Encode(to[at:end], from[at:end]) })
	},
	draw:   drawLoop,
	random: randomLoop,
}

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

// splitmixState is the number that splitmix64 makes that of element i of a seed of.
func splitmixState(seed uint32, i int64) uint64 {
	return uint64(seed)<<40 + uint64(i) + 0x9e3779b97f4a7c15
}

// sameUpper reports whether n states from z on differ in their lower 30 bits only, as vector code wants them.
func sameUpper(z uint64, n int) bool { return z>>30 == (z+uint64(n))>>30 }

// codes are those of an element type in the forms that vector code reads.
type codes struct {
	*gpu.Codes
	planes  [4][256]byte // the bytes of each of the Values
	octaves octaves
	even    bool // all values lie equally far apart
}

// octaves are, of magnitudes by the lower five bits of their exponents, from 2⁻³¹ to 1, the one bound that may lie among
// them, and the class of those below it.
type octaves struct {
	bound [32]float32
	class [32]int32
}

var codesOf = func() map[gpu.DType]*codes {
	all := map[gpu.DType]*codes{}
	for _, d := range []gpu.DType{gpu.Dynamic8, gpu.UDynamic8, gpu.Linear8} {
		c := &codes{Codes: d.Codes()}
		c.even = c.Bounds[0] > 1
		for i, x := range c.Values {
			for j := range c.planes {
				c.planes[j][i] = byte(math.Float32bits(x) >> (8 * j))
			}
		}
		for i := range c.octaves.bound {
			least := float32(math.Ldexp(1, i-31))
			c.octaves.bound[i] = 2
			for class, bound := range c.Bounds {
				if bound <= least {
					c.octaves.class[i] = int32(class) + 1
				} else if bound < 2*least {
					c.octaves.bound[i] = bound
				}
			}
		}
		all[d] = c
	}
	return all
}()
