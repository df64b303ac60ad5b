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

var (
	codingAVX512 = coding{
		decode: decodeWith(16, inBlocksOf(func(c *codes, n int, to *float32, from *byte, scale float32) {
			decodeAVX512(n, to, from, &c.Values[0], scale)
		})),
		encode: encodeWith(64, func(c *codes, n int, to *byte, from, scales *float32) {
			encode := encodeAVX512
			if c.even {
				encode = encodeEvenAVX512
			}
			encode(n, to, from, &c.octaves, &c.Slope[0], int(c.Zero), scales)
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
		encode: encodeWith(8, inBlocksOf(func(c *codes, n int, to *byte, from *float32, scale float32) {
			encodeAVX2(n, to, from, &c.Bounds[0], &c.Slope[0], int(c.Zero), 1/scale)
		})),
		draw:   drawWith(8, drawAVX2),
		random: randomLoop,
	}
)

// decodeWith and encodeWith run whole vectors of several blocks through the assembly, the rest in Go.
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

// inBlocksOf calls what decodes or encodes a single block for each of several.
func inBlocksOf[T, F any](f func(c *codes, n int, to *T, from *F, scale float32)) func(*codes, int, *T, *F, *float32) {
	return func(c *codes, n int, to *T, from *F, scales *float32) {
		tos, froms, all := unsafe.Slice(to, n), unsafe.Slice(from, n), unsafe.Slice(scales, blocksOf(n, gpu.CodeBlock))
		eachBlock(n, func(i, at, end int) { f(c, end-at, &tos[at], &froms[at], all[i]) })
	}
}
