//go:build arm64 && !noasm

package cpu

import "unsafe"

// pause tells the processor that this is a waiting loop.
func pause()

//go:noescape
func gemmF32NEON8x12(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func nf4NEON(blocks int, to *float32, from, scales *byte, levels, values *float32, group, mean float32)

//go:noescape
func int8NEON(n int, to *float32, from *byte, scale, step float32)

// Every arm64 processor has NEON.
func archVariants() []variant {
	t := &tile{8, 12, gemmF32NEON8x12}
	return []variant{{name: "neon", f32: tileSet{t, t, t, nil}, loopTable: loopsNEON, coding: portableCoding,
		unpacking: unpacking{8, nf4NEON, nil, int8NEON, nil},
		widen:     widenLoop, narrow: narrowLoop}}
}
