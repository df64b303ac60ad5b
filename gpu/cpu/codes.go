package cpu

import (
	"math"

	"stepflow/gpu"
)

// coding is how a variant reads and writes numbers that are kept in fewer bytes: blocks of codes, and bf16 that is
// rounded stochastically.
type coding struct {
	decode func(c *codes, to []float32, from []byte, scale float32)
	// encode is given the largest magnitude.
	encode func(c *codes, to []byte, from []float32, most float32) (scale float32)
	// draw rounds with the draws of elements from number first on.
	draw func(to []uint16, from []float32, seed uint32, first int64)
}

var portableCoding = coding{
	decode: func(c *codes, to []float32, from []byte, scale float32) { c.Decode(to, from, scale) },
	encode: func(c *codes, to []byte, from []float32, _ float32) float32 { return c.Encode(to, from) },
	draw:   drawLoop,
}

func drawLoop(to []uint16, from []float32, seed uint32, first int64) {
	for i, x := range from {
		to[i] = gpu.ToBF16Stochastic(x, seed, first+int64(i))
	}
}

// codes are those of an element type in the forms that vector code reads.
type codes struct {
	*gpu.Codes
	planes  [4][256]byte // the bytes of each of the Values
	octaves octaves
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

// decodeWith runs whole vectors through vector code, the rest in Go.
func decodeWith(lanes int, f func(c *codes, n int, to *float32, from *byte, scale float32)) func(*codes, []float32, []byte, float32) {
	return func(c *codes, to []float32, from []byte, scale float32) {
		n := len(to) / lanes * lanes
		if n > 0 {
			_ = from[n-1]
			f(c, n, &to[0], &from[0], scale)
		}
		c.Decode(to[n:], from[n:len(to)], scale)
	}
}

// encodeWith does so with what finds codes.
func encodeWith(lanes int, f func(c *codes, n int, to *byte, from *float32, inverse float32)) func(*codes, []byte, []float32, float32) float32 {
	return func(c *codes, to []byte, from []float32, scale float32) float32 {
		n := len(from) / lanes * lanes
		if n == 0 || !(scale >= gpu.LeastScale) {
			return c.Encode(to, from)
		}
		_ = to[n-1]
		inverse := 1 / scale
		f(c, n, &to[0], &from[0], inverse)
		for i, x := range from[n:] {
			to[n+i] = c.Of(x * inverse)
		}
		return scale
	}
}
