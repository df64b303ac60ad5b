package main

import (
	"fmt"
	"io"
)

// drawers writes what rounds to bf16 stochastically, and what makes random matrices.
func drawers(w io.Writer) {
	drawerAVX512(w)
	drawerAVX2(w)
	randomizer(w)
}

// drawerAVX512 rounds as gpu.ToBF16Stochastic does, 32 elements at a time, with splitmix64 in eight lanes. z is the state
// for the first element, and all states have the same bits from 30 on. The last step of splitmix64 is left out: a draw takes only
// the upper 16 bits, which that step does not change.
func drawerAVX512(w io.Writer) {
	p := func(format string, args ...any) { line(w, format, args...) }
	fmt.Fprint(w, "\n// func drawAVX512(n int, to *uint16, from *float32, z uint64)\nTEXT ·drawAVX512(SB), NOSPLIT, $0-32\n")
	p("MOVQ n+0(FP), CX\n\tMOVQ to+8(FP), DI\n\tMOVQ from+16(FP), SI")
	p("VPBROADCASTQ z+24(FP), Z10\n\tVPSRLQ $30, Z10, Z17\n\tVPADDQ iota<>(SB), Z10, Z10") // of the first eight elements
	for i, c := range []string{"0xbf58476d1ce4e5b9", "0x94d049bb133111eb", "8"} {
		p("MOVQ $%s, AX\n\tVPBROADCASTQ AX, Z%d", c, 11+i)
	}
	p("MOVL $0x400000, AX\n\tVPBROADCASTD AX, Z15\n\tMOVL $0x55555555, AX\n\tKMOVD AX, K3")
	p("VMOVDQU64 upper<>(SB), Z16\n\tVMOVDQU64 odd<>(SB), Z18")
	fmt.Fprint(w, "loop:\n")
	for i := range 4 {
		p("VPXORQ Z17, Z10, Z%d\n\tVPADDQ Z13, Z10, Z10\n\tVPMULLQ Z11, Z%d, Z%d", i, i, i)
	}
	for i := range 4 {
		p("VPSRLQ $27, Z%d, Z%d\n\tVPXORQ Z%d, Z%d, Z%d\n\tVPMULLQ Z12, Z%d, Z%d", i, 4+i, 4+i, i, i, i, i)
	}
	for i := range 2 {
		p("VPERMT2W.Z Z%d, Z16, K3, Z%d\n\tVMOVUPS %d(SI), Z%d\n\tVPADDD Z%d, Z%d, Z%d", 2*i+1, 2*i, 64*i, 4+i, 4+i, 2*i, 2*i)
		p("VCMPPS $3, Z%d, Z%d, K%d\n\tVPORD Z15, Z%d, K%d, Z%d", 4+i, 4+i, 1+i, 4+i, 1+i, 2*i)
	}
	p("VPERMT2W Z2, Z18, Z0\n\tVMOVDQU64 Z0, (DI)")
	p("ADDQ $128, SI\n\tADDQ $64, DI\n\tSUBQ $32, CX\n\tJG loop\n\tVZEROUPPER\n\tRET")
	data(w, "iota", 8, 0, 1, 2, 3, 4, 5, 6, 7)
	var upper, odd []int // upper: the upper words of 16 numbers in two registers, each with zeros above it; odd: the upper words of 32
	for i := range 16 {
		upper = append(upper, 4*i+3, 0)
	}
	for i := range 32 {
		odd = append(odd, 2*i+1)
	}
	data(w, "upper", 2, upper...)
	data(w, "odd", 2, odd...)
}

// drawerAVX2 does what drawerAVX512 does, eight elements at a time. AVX2 does not multiply 64-bit numbers, so x c, modulo 2^64, is
// computed from the halves of 32 bits: low(x) low(c) + 2^32 (low(x) high(c) + high(x) low(c)).
func drawerAVX2(w io.Writer) {
	p := func(format string, args ...any) { line(w, format, args...) }
	fmt.Fprint(w, "\n// func drawAVX2(n int, to *uint16, from *float32, z uint64)\nTEXT ·drawAVX2(SB), NOSPLIT, $0-32\n")
	p("MOVQ n+0(FP), CX\n\tMOVQ to+8(FP), DI\n\tMOVQ from+16(FP), SI")
	p("VPBROADCASTQ z+24(FP), Y6\n\tVPSRLQ $30, Y6, Y7\n\tVPADDQ iota<>(SB), Y6, Y6")
	for i, c := range []string{"0xbf58476d1ce4e5b9", "0xbf58476d", "0x94d049bb133111eb", "0x94d049bb", "4"} {
		p("MOVQ $%s, AX\n\tVMOVQ AX, X%d\n\tVPBROADCASTQ X%d, Y%d", c, 8+i, 8+i, 8+i)
	}
	p("MOVL $0x400000, AX\n\tVMOVD AX, X13\n\tVPBROADCASTD X13, Y13")
	multiply := func(x, t, c int) {
		p("VPSRLQ $32, Y%d, Y%d\n\tVPMULUDQ Y%d, Y%d, Y%d\n\tVPMULUDQ Y%d, Y%d, Y%d", x, t, c, t, t, c+1, x, t+1)
		p("VPADDQ Y%d, Y%d, Y%d\n\tVPSLLQ $32, Y%d, Y%d", t+1, t, t, t, t)
		p("VPMULUDQ Y%d, Y%d, Y%d\n\tVPADDQ Y%d, Y%d, Y%d", c, x, x, t, x, x)
	}
	fmt.Fprint(w, "loop:\n")
	for i := range 2 {
		t := 2 + 2*i
		p("VPXOR Y7, Y6, Y%d\n\tVPADDQ Y12, Y6, Y6", i)
		multiply(i, t, 8)
		p("VPSRLQ $27, Y%d, Y%d\n\tVPXOR Y%d, Y%d, Y%d", i, t, t, i, i)
		multiply(i, t, 10)
		p("VPSRLQ $48, Y%d, Y%d", i, i)
	}
	p("VSHUFPS $0x88, Y1, Y0, Y0\n\tVPERMQ $0xd8, Y0, Y0\n\tVMOVUPS (SI), Y1\n\tVPADDD Y1, Y0, Y0")
	p("VCMPPS $3, Y1, Y1, Y2\n\tVPOR Y13, Y1, Y1\n\tVBLENDVPS Y2, Y1, Y0, Y0\n\tVPSRLD $16, Y0, Y0")
	p("VPACKUSDW Y0, Y0, Y0\n\tVPERMQ $8, Y0, Y0\n\tVMOVUPS X0, (DI)")
	p("ADDQ $32, SI\n\tADDQ $16, DI\n\tSUBQ $8, CX\n\tJG loop\n\tVZEROUPPER\n\tRET")
}

// randomizer makes what gpu.RandomElement gives, times alpha, 16 at a time; z is the state for the first element, and all
// states have the same bits from 30 on. factor is a quarter of alpha.
func randomizer(w io.Writer) {
	p := func(format string, args ...any) { line(w, format, args...) }
	fmt.Fprint(w, "\n// func randomAVX512(n int, to *float32, z uint64, factor float32)\nTEXT ·randomAVX512(SB), NOSPLIT, $0-28\n")
	p("MOVQ n+0(FP), CX\n\tMOVQ to+8(FP), DI\n\tVBROADCASTSS factor+24(FP), Z14")
	p("VPBROADCASTQ z+16(FP), Z10\n\tVPSRLQ $30, Z10, Z17\n\tVPADDQ iota<>(SB), Z10, Z10")
	for i, c := range []string{"0xbf58476d1ce4e5b9", "0x94d049bb133111eb", "8"} {
		p("MOVQ $%s, AX\n\tVPBROADCASTQ AX, Z%d", c, 11+i)
	}
	p("MOVL $32, AX\n\tVPBROADCASTD AX, Z15")
	fmt.Fprint(w, "loop:\n")
	for i := range 2 {
		p("VPXORQ Z17, Z10, Z%d\n\tVPADDQ Z13, Z10, Z10\n\tVPMULLQ Z11, Z%d, Z%d", i, i, i)
		p("VPSRLQ $27, Z%d, Z%d\n\tVPXORQ Z%d, Z%d, Z%d\n\tVPMULLQ Z12, Z%d, Z%d", i, 2+i, 2+i, i, i, i, i)
		p("VPSRLQ $31, Z%d, Z%d\n\tVPXORQ Z%d, Z%d, Z%d\n\tVPOPCNTQ Z%d, Z%d\n\tVPMOVQD Z%d, Y%d", i, 2+i, 2+i, i, i, i, i, i, i)
	}
	p("VINSERTI64X4 $1, Y1, Z0, Z0\n\tVPSUBD Z15, Z0, Z0\n\tVCVTDQ2PS Z0, Z0\n\tVMULPS Z14, Z0, Z0\n\tVMOVUPS Z0, (DI)")
	p("ADDQ $64, DI\n\tSUBQ $16, CX\n\tJG loop\n\tVZEROUPPER\n\tRET")
}
