package cpu

import (
	"math"

	"stepflow/gpu"
)

// coding is how a variant reads and writes numbers that are kept in fewer bytes: blocks of codes, and bf16 that is
// rounded stochastically.
type coding struct {
	// decode and encode take blocks of at most blockElems elements together, and a scale for each block. Encode is called
	// with the largest magnitude of each block as its scale, and may replace it.
	decode func(c *codes, to []float32, from []byte, scales []float32)
	encode func(c *codes, to []byte, from, scales []float32)
	// draw rounds stochastically, with the draws for elements first and following.
	draw func(to []uint16, from []float32, seed uint32, first int64)
	// random makes the elements of a row of a random matrix from a column on, times alpha.
	random func(to []float32, seed uint32, row, col int, alpha float32)
	// step updates n elements of a block by AdamW in one pass. n is a multiple of 64, and z the splitmixState of the first
	// element. It is nil where several loops do it one after the other.
	step func(n int, w, grad *uint16, m, v *byte, om, ov *float32, planesM, planesV *byte, a *stepArgs, z uint64)
}

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

// codes are the gpu.Codes of an element type, and the same in the forms that vector code reads.
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
