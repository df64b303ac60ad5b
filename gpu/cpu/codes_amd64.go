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
func encodeAVX512(n int, to *byte, from *float32, octaves *octaves, classes *float32, zero int, inverses *float32)

//go:noescape
func encodeEvenAVX512(n int, to *byte, from *float32, octaves *octaves, classes *float32, zero int, inverses *float32)

//go:noescape
func encodeAVX2(n int, to *byte, from, bounds, classes *float32, zero int, inverse float32)

//go:noescape
func drawAVX512(n int, to *uint16, from *float32, z uint64)

var (
	codingAVX512 = coding{
		decode: decodeWith(16, inBlocksOf(func(c *codes, n int, to *float32, from *byte, scale float32) {
			decodeAVX512(n, to, from, &c.Values[0], scale)
		})),
		encode: encodeWith(64, func(c *codes, n int, to *byte, from, inverses *float32) {
			if c.even {
				encodeEvenAVX512(n, to, from, &c.octaves, &c.Slope[0], int(c.Zero), inverses)
				return
			}
			encodeAVX512(n, to, from, &c.octaves, &c.Slope[0], int(c.Zero), inverses)
		}),
		draw: func(to []uint16, from []float32, seed uint32, first int64) {
			n := len(from) / 32 * 32
			z := uint64(seed)<<40 + uint64(first) + 0x9e3779b97f4a7c15
			if z>>30 != (z+uint64(n))>>30 { // rare
				n = 0
			}
			if n > 0 {
				_ = to[n-1]
				drawAVX512(n, &to[0], &from[0], z)
			}
			drawLoop(to[n:], from[n:], seed, first+int64(n))
		},
	}
	decodeBytes = decodeWith(64, func(c *codes, n int, to *float32, from *byte, scales *float32) {
		decodeVBMI(n, to, from, &c.planes[0][0], scales)
	})
	codingAVX2 = coding{
		decode: decodeWith(8, inBlocksOf(func(c *codes, n int, to *float32, from *byte, scale float32) {
			decodeAVX2(n, to, from, &c.Values[0], scale)
		})),
		encode: encodeWith(8, func(c *codes, n int, to *byte, from, inverses *float32) {
			tos, froms, all := unsafe.Slice(to, n), unsafe.Slice(from, n), unsafe.Slice(inverses, blocksOf(n, gpu.CodeBlock))
			for i, inverse := range all {
				at := i * gpu.CodeBlock
				encodeAVX2(min(n-at, gpu.CodeBlock), &tos[at], &froms[at], &c.Bounds[0], &c.Slope[0], int(c.Zero), inverse)
			}
		}),
		draw: drawLoop,
	}
)
