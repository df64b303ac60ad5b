//go:build amd64 && !noasm

package cpu

import (
	"unsafe"

	"stepflow/gpu"
)

//go:noescape
func decodeAVX512(n int, to *float32, from *byte, values *float32, scale float32)

//go:noescape
func decodeAVX2(n int, to *float32, from *byte, values *float32, scale float32)

//go:noescape
func decodeVBMI(n int, to *float32, from, planes *byte, scales *float32)

//go:noescape
func encodeAVX512(n int, to *byte, from *float32, octaves *octaves, classes *float32, zero int, scales *float32)

//go:noescape
func encodeEvenAVX512(n int, to *byte, from *float32, octaves *octaves, classes *float32, zero int, scales *float32)

//go:noescape
func encodeAVX2(n int, to *byte, from, bounds, classes *float32, zero int, inverse float32)

//go:noescape
func drawAVX512(n int, to *uint16, from *float32, z uint64)

//go:noescape
func narrowStepVBMI(n int, w, grad *uint16, m, v *byte, om, ov *float32, planesM, planesV *byte, a *stepArgs, z uint64)

//go:noescape
func drawAVX2(n int, to *uint16, from *float32, z uint64)

//go:noescape
func randomAVX512(n int, to *float32, z uint64, factor float32)

var (
	codingAVX512 = coding{
		decode: decodeWith(16, inBlocksOf(func(c *codes, n int, to *float32, from *byte, scale float32) {
			decodeAVX512(n, to, from, &c.Values[0], scale)
		})),
		encode: encodeWith(64, func(c *codes, n int, to *byte, from, scales *float32) {
			if c.even {
				encodeEvenAVX512(n, to, from, &c.octaves, &c.Slope[0], int(c.Zero), scales)
				return
			}
			encodeAVX512(n, to, from, &c.octaves, &c.Slope[0], int(c.Zero), scales)
		}),
		draw:   drawWith(32, drawAVX512),
		random: randomLoop,
	}
	decodeBytes = decodeWith(64, func(c *codes, n int, to *float32, from *byte, scales *float32) {
		decodeVBMI(n, to, from, &c.planes[0][0], scales)
	})
	codingAVX2 = coding{
		decode: decodeWith(8, inBlocksOf(func(c *codes, n int, to *float32, from *byte, scale float32) {
			decodeAVX2(n, to, from, &c.Values[0], scale)
		})),
		encode: encodeWith(8, func(c *codes, n int, to *byte, from, scales *float32) {
			tos, froms, all := unsafe.Slice(to, n), unsafe.Slice(from, n), unsafe.Slice(scales, blocksOf(n, gpu.CodeBlock))
			for i, scale := range all {
				at := i * gpu.CodeBlock
				encodeAVX2(min(n-at, gpu.CodeBlock), &tos[at], &froms[at], &c.Bounds[0], &c.Slope[0], int(c.Zero), 1/scale)
			}
		}),
		draw:   drawWith(8, drawAVX2),
		random: randomLoop,
	}
)

// drawWith draws whole vectors in vector code, the rest in Go.
func drawWith(lanes int, f func(n int, to *uint16, from *float32, z uint64)) func([]uint16, []float32, uint32, int64) {
	return func(to []uint16, from []float32, seed uint32, first int64) {
		n := len(from) / lanes * lanes
		z := splitmixState(seed, first)
		if !sameUpper(z, n) { // rare
			n = 0
		}
		if n > 0 {
			_ = to[n-1]
			f(n, &to[0], &from[0], z)
		}
		drawLoop(to[n:], from[n:], seed, first+int64(n))
	}
}

// randomBits counts the bits of splitmix64 by VPOPCNTQ.
func randomBits(to []float32, seed uint32, row, col int, alpha float32) {
	n := len(to) / 16 * 16
	z := splitmixState(seed, int64(row)<<20+int64(col))
	if !sameUpper(z, n) {
		n = 0
	}
	if n > 0 {
		randomAVX512(n, &to[0], z, alpha/4)
	}
	randomLoop(to[n:], seed, row, col+n, alpha)
}

// decodeWith makes a decoder of what reads whole vectors of whole blocks: the rest is read in Go.
func decodeWith(lanes int, f func(c *codes, n int, to *float32, from *byte, scales *float32)) func(*codes, []float32, []byte, []float32) {
	return func(c *codes, to []float32, from []byte, scales []float32) {
		n := len(to) / lanes * lanes
		if n > 0 {
			_, _ = from[n-1], scales[(n-1)/gpu.CodeBlock]
			f(c, n, &to[0], &from[0], &scales[0])
		}
		if n < len(to) {
			c.Decode(to[n:], from[n:len(to)], scales[n/gpu.CodeBlock])
		}
	}
}

// inBlocksOf makes a decoder of blocks of one that reads a single one.
func inBlocksOf(f func(c *codes, n int, to *float32, from *byte, scale float32)) func(*codes, int, *float32, *byte, *float32) {
	return func(c *codes, n int, to *float32, from *byte, scales *float32) {
		tos, froms, all := unsafe.Slice(to, n), unsafe.Slice(from, n), unsafe.Slice(scales, blocksOf(n, gpu.CodeBlock))
		for i, scale := range all {
			at := i * gpu.CodeBlock
			f(c, min(n-at, gpu.CodeBlock), &tos[at], &froms[at], scale)
		}
	}
}

// encodeWith makes an encoder of what finds the codes of whole vectors of whole blocks: the rest are found in Go.
func encodeWith(lanes int, f func(c *codes, n int, to *byte, from, scales *float32)) func(*codes, []byte, []float32, []float32) {
	return func(c *codes, to []byte, from, scales []float32) {
		n := len(from) / lanes * lanes
		for _, scale := range scales {
			if !(scale >= gpu.LeastScale) {
				n = 0
			}
		}
		if n == 0 {
			portableCoding.encode(c, to, from, scales)
			return
		}
		_ = to[n-1]
		f(c, n, &to[0], &from[0], &scales[0])
		for i, x := range from[n:] {
			to[n+i] = c.Of(x * (1 / scales[(n+i)/gpu.CodeBlock]))
		}
	}
}
