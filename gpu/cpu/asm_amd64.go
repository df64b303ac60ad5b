//go:build amd64 && !noasm

package cpu

import "golang.org/x/sys/cpu"

//go:noescape
func gemmAVX512(k int, a, b, c *float32, ldc int, add int)

//go:noescape
func gemmAVX2(k int, a, b, c *float32, ldc int, add int)

//go:noescape
func expAVX512(dst, src *float32, n int, scale, shift float32)

//go:noescape
func expAVX2(dst, src *float32, n int, scale, shift float32)

func archVariants() (list []variant) {
	if cpu.X86.HasAVX512F {
		list = append(list, variant{"avx512", 14, 32, gemmAVX512, expAVX512})
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		list = append(list, variant{"avx2", 6, 16, gemmAVX2, expAVX2})
	}
	return list
}
