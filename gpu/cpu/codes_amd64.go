//go:build amd64 && !noasm

package cpu

import "stepflow/gpu"

//go:noescape
func decodeAVX512(n int, to *float32, from *byte, values *float32, scale float32)

//go:noescape
func decodeAVX2(n int, to *float32, from *byte, values *float32, scale float32)

//go:noescape
func encodeAVX512(n int, to *byte, from, bounds, classes *float32, zero int, inverse float32)

//go:noescape
func encodeAVX2(n int, to *byte, from, bounds, classes *float32, zero int, inverse float32)

//go:noescape
func drawAVX512(n int, to *uint16, from *float32, z uint64)

// codingWith runs whole vectors through the assembly, the rest in Go.
func codingWith(lanes int, loops *loopTable, decode func(n int, to *float32, from *byte, values *float32, scale float32),
	encode func(n int, to *byte, from, bounds, classes *float32, zero int, inverse float32)) coding {
	return coding{
		decode: func(c *gpu.Codes, to []float32, from []byte, scale float32) {
			n := len(to) / lanes * lanes
			if n > 0 {
				_ = from[n-1]
				decode(n, &to[0], &from[0], &c.Values[0], scale)
			}
			c.Decode(to[n:], from[n:len(to)], scale)
		},
		encode: func(c *gpu.Codes, to []byte, from []float32) float32 {
			n := len(from) / lanes * lanes
			scale := loops.absMax(from)
			if n == 0 || scale < gpu.LeastScale {
				return c.Encode(to, from)
			}
			_ = to[n-1]
			inverse := 1 / scale
			// Slope follows Bounds, Offset and Most follow Slope: the code reads eight of each.
			encode(n, &to[0], &from[0], &c.Bounds[0], &c.Slope[0], int(c.Zero), inverse)
			for i, x := range from[n:] {
				to[n+i] = c.Of(x * inverse)
			}
			return scale
		},
		draw: drawLoop,
	}
}

func drawWith(to []uint16, from []float32, seed uint32, first int64) {
	n := len(from) / 16 * 16
	if n > 0 {
		_ = to[n-1]
		drawAVX512(n, &to[0], &from[0], uint64(seed)<<40+uint64(first)+0x9e3779b97f4a7c15)
	}
	drawLoop(to[n:], from[n:], seed, first+int64(n))
}
