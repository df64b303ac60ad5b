//go:build amd64 && !noasm

package cpu

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// pause tells the processor that this is a waiting loop.
func pause()

//go:noescape
func gemmF32AVX51214x32(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func gemmF32AVX51214x16(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func gemmF32AVX5121x32(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func gemmF32AVX5124x32(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func gemmF32AVX5128x32(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func gemmBF16AVX51214x32(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func gemmBF16AVX51214x16(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func gemmBF16AVX5121x32(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func gemmBF16AVX5124x32(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func gemmBF16AVX5128x32(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func gemmF32AVX21x16(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func gemmF32AVX26x16(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)

//go:noescape
func transposePanelAVX512(k int, dst unsafe.Pointer, w int, src unsafe.Pointer, ld, rows, lanes int)

//go:noescape
func copyPanelAVX512(k int, dst unsafe.Pointer, w int, src unsafe.Pointer, ld, n int)

//go:noescape
func pairPanelAVX512(k int, dst unsafe.Pointer, w int, src unsafe.Pointer, ld, n int)

//go:noescape
func widenAVX512(n int, dst *float32, src *uint16)

//go:noescape
func narrowAVX512(n int, dst *uint16, src *float32)

//go:noescape
func widenAVX2(n int, dst *float32, src *uint16)

//go:noescape
func narrowAVX2(n int, dst *uint16, src *float32)

func archVariants() (list []variant) {
	x := cpu.X86
	wide := variant{
		name: "avx512",
		f32: tileSet{&tile{14, 32, gemmF32AVX51214x32}, &tile{14, 16, gemmF32AVX51214x16},
			&tile{8, 32, gemmF32AVX5128x32}, []*tile{{1, 32, gemmF32AVX5121x32}, {4, 32, gemmF32AVX5124x32}}},
		loopTable: loopsAVX512,
		coding:    codingAVX512,
		unpacking: unpacking{16, nf4AVX512, nf4HalfAVX512, int8AVX512, int8HalfAVX512},
		widen:     widenWith(16, widenAVX512),
		narrow:    narrowWith(16, narrowAVX512),
		copyPanel: func(k int, dst []float32, w int, src []float32, ld, n int) {
			copyPanelAVX512(k, unsafe.Pointer(&dst[0]), w, unsafe.Pointer(&src[0]), ld, n)
		},
		transpose: func(k int, dst []float32, w int, src unsafe.Pointer, ldBytes, rows, lanes int) {
			transposePanelAVX512(k, unsafe.Pointer(&dst[0]), w, src, ldBytes, rows, lanes)
		},
	}
	has512 := x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasBMI2
	if has512 && x.HasAVX512BF16 {
		pairs := wide
		pairs.name = "avx512bf16"
		if x.HasAVX512VBMI {
			pairs.decode, pairs.step = decodeBytes, narrowStepVBMI
		}
		if x.HasAVX512VPOPCNTDQ {
			pairs.random = randomBits
		}
		pairs.pairs = &tileSet{&tile{14, 32, gemmBF16AVX51214x32}, &tile{14, 16, gemmBF16AVX51214x16},
			&tile{8, 32, gemmBF16AVX5128x32}, []*tile{{1, 32, gemmBF16AVX5121x32}, {4, 32, gemmBF16AVX5124x32}}}
		pairs.pairPanel = func(k int, dst []float32, w int, src []uint16, ld, n int) {
			pairPanelAVX512(k, unsafe.Pointer(&dst[0]), w, unsafe.Pointer(&src[0]), ld, n)
		}
		list = append(list, pairs)
	}
	if has512 {
		list = append(list, wide)
	}
	if x.HasAVX2 && x.HasFMA {
		t := &tile{6, 16, gemmF32AVX26x16}
		list = append(list, variant{name: "avx2", f32: tileSet{t, t, t, []*tile{{1, 16, gemmF32AVX21x16}}}, loopTable: loopsAVX2,
			coding: codingAVX2, unpacking: unpacking{8, nf4AVX2, nil, int8AVX2, nil},
			widen: widenWith(8, widenAVX2), narrow: narrowWith(8, narrowAVX2)})
	}
	return list
}

//go:noescape
func nf4AVX512(blocks int, to *float32, from, scales *byte, levels, values *float32, group, mean float32)

//go:noescape
func nf4HalfAVX512(blocks int, to *uint16, from, scales *byte, levels, values *float32, group, mean float32)

//go:noescape
func nf4AVX2(blocks int, to *float32, from, scales *byte, levels, values *float32, group, mean float32)

//go:noescape
func int8AVX512(n int, to *float32, from *byte, scale, step float32)

//go:noescape
func int8HalfAVX512(n int, to *uint16, from *byte, scale, step float32)

//go:noescape
func int8AVX2(n int, to *float32, from *byte, scale, step float32)

//go:noescape
func narrowStepVBMI(n int, w, grad *uint16, m, v *byte, om, ov *float32, planesM, planesV *byte, a *stepArgs, z uint64)

// widenWith and narrowWith run whole vectors through the assembly, the rest in Go.
func widenWith(lanes int, f func(n int, dst *float32, src *uint16)) func([]float32, []uint16) {
	return func(dst []float32, src []uint16) {
		n := len(src) / lanes * lanes
		if n > 0 {
			_ = dst[n-1]
			f(n, &dst[0], &src[0])
		}
		widenLoop(dst[n:], src[n:])
	}
}

func narrowWith(lanes int, f func(n int, dst *uint16, src *float32)) func([]uint16, []float32) {
	return func(dst []uint16, src []float32) {
		n := len(src) / lanes * lanes
		if n > 0 {
			_ = dst[n-1]
			f(n, &dst[0], &src[0])
		}
		narrowLoop(dst[n:], src[n:])
	}
}
