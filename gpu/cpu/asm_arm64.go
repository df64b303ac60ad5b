//go:build arm64 && !noasm

package cpu

import "unsafe"

// pause tells the processor that this is a waiting loop.
func pause()

//go:noescape
func gemmF32NEON8x12(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

// Every arm64 processor has NEON.
func archVariants() []variant {
	t := &tile{8, 12, gemmF32NEON8x12}
	return []variant{{name: "neon", f32: tileSet{t, t, t, nil}, loopTable: loopsNEON, coding: portableCoding,
		widen: widenLoop, narrow: narrowLoop}}
}
