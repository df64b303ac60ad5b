package main

import (
	"fmt"
	"io"
)

// narrowStep writes AdamW of weights and gradients in bf16 with moments in codes, as one pass over a block. It computes what
// decoderVBMI, halfAdamWLoop and drawerAVX512 do one after the other; in one pass the roots and quotients, the products of 64
// bits and the memory are waited for at the same time. The new moments go to om and ov, since their scales are known only at
// the end of the block.
//
// Registers 0 to 3 hold 64 first moments and then weights, 4 to 7 second moments, 14 and 15 the largest so far, and 16 to
// 31 the table of the second moments.
func narrowStep(w io.Writer) {
	p := func(format string, args ...any) { line(w, format, args...) }
	fmt.Fprint(w, "\n// func narrowStepVBMI(n int, w, grad *uint16, m, v *byte, om, ov *float32, "+
		"planesM, planesV *byte, a *stepArgs, z uint64)\nTEXT ·narrowStepVBMI(SB), NOSPLIT, $0-88\n")
	for i, x := range []struct{ name, register string }{{"n", "CX"}, {"w", "DI"}, {"grad", "SI"}, {"m", "R8"}, {"v", "R9"},
		{"om", "R10"}, {"ov", "R11"}, {"planesM", "BX"}, {"planesV", "DX"}, {"a", "R12"}} {
		p("MOVQ %s+%d(FP), %s", x.name, 8*i, x.register)
	}
	for i := range 16 {
		p("VMOVDQU64 %d(DX), Z%d", 64*i, 16+i)
	}
	p("MOVQ z+80(FP), DX\n\tMOVL $0x55555555, AX\n\tKMOVD AX, K3\n\tVPXORD Z14, Z14, Z14\n\tVPXORD Z15, Z15, Z15")
	fmt.Fprint(w, "loop:\n")
	field := map[string]int{} // offsets in stepArgs
	for i, name := range []string{"k", "b1", "c1", "b2", "c2", "r1", "r2", "eps", "lr", "keep", "scaleM", "scaleV", "mostM", "mostV"} {
		field[name] = 4 * i
	}
	// moments decodes 64 moments into four registers, as decoderVBMI does.
	moments := func(from, scale string, to int, permute func(plane, half, dst int)) {
		p("VMOVDQU64 quarters<>(SB), Z8\n\tVPERMD (%s), Z8, Z8\n\tVPMOVB2M Z8, K1\n\tPREFETCHT0 1024(%s)", from, from)
		for plane := range 4 {
			p("VMOVDQA64 Z8, Z%d\n\tVMOVDQA64 Z8, Z13", 9+plane)
			permute(plane, 0, 9+plane)
			permute(plane, 1, 13)
			p("VPBLENDMB Z13, Z%d, K1, Z%d", 9+plane, 9+plane)
		}
		for i, half := range []string{"L", "H"} {
			p("VPUNPCK%sBW Z10, Z9, Z%d\n\tVPUNPCK%sBW Z12, Z11, Z%d", half, to+2*i, half, to+2*i+1)
		}
		for i := range 4 {
			p("VPUNPCK%cWD Z%d, Z%d, Z%d", "LH"[i%2], to+1+i&2, to+i&2, 9+i)
		}
		for i := range 4 {
			p("VMULPS.BCST %d(R12), Z%d, Z%d", field[scale], 9+i, to+i)
		}
	}
	// Registers have room for one table. The other is read from memory.
	moments("R8", "scaleM", 0, func(plane, half, dst int) {
		at := 256*plane + 128*half
		p("VMOVDQU64 %d(BX), Z0\n\tVPERMI2B %d(BX), Z0, Z%d", at, at+64, dst)
	})
	moments("R9", "scaleV", 4, func(plane, half, dst int) {
		table := 16 + 4*plane + 2*half
		p("VPERMI2B Z%d, Z%d, Z%d", table+1, table, dst)
	})
	// by computes with a scalar of stepArgs.
	by := func(op, name string, from, to int) { p("%s.BCST %d(R12), Z%d, Z%d", op, field[name], from, to) }
	for u := range 4 { // 16 elements: the new weight takes the place of the first moment
		m, v := u, 4+u
		p("VPMOVZXWD %d(SI), Z8\n\tVPSLLD $16, Z8, Z8", 32*u)
		by("VMULPS", "k", 8, 8)
		by("VMULPS", "b1", m, 9)
		by("VFMADD231PS", "c1", 8, 9)
		by("VMULPS", "c2", 8, 10)
		by("VMULPS", "b2", v, 11)
		p("VFMADD231PS Z8, Z10, Z11\n\tVMOVUPS Z9, %d(R10)\n\tVMOVUPS Z11, %d(R11)", 64*u, 64*u)
		p("VPANDD.BCST magnitude<>(SB), Z9, Z12\n\tVMAXPS Z12, Z14, Z14\n\tVMAXPS Z11, Z15, Z15")
		by("VMULPS", "r1", 9, 12)
		by("VMULPS", "lr", 12, 12)
		by("VMULPS", "r2", 11, 13)
		p("VSQRTPS Z13, Z13")
		by("VADDPS", "eps", 13, 13)
		p("VDIVPS Z13, Z12, Z%d\n\tVPMOVZXWD %d(DI), Z8\n\tVPSLLD $16, Z8, Z8", m, 32*u)
		by("VFMSUB231PS", "keep", 8, m)
	}
	p("PREFETCHT0 2048(SI)\n\tPREFETCHT0 2112(SI)\n\tPREFETCHT0 2048(DI)\n\tPREFETCHT0 2112(DI)")
	// The weights are rounded as drawerAVX512 does.
	p("VPBROADCASTQ DX, Z4\n\tVPSRLQ $30, Z4, Z7\n\tVPADDQ iota<>(SB), Z4, Z4\n\tVMOVDQU64 upper<>(SB), Z6\n\tVMOVDQU64 odd<>(SB), Z5")
	for half := range 2 {
		for i := range 4 {
			p("VPADDQ.BCST eighths<>+%d(SB), Z4, Z%d\n\tVPXORQ Z7, Z%d, Z%d\n\tVPMULLQ.BCST mixers<>(SB), Z%d, Z%d",
				8*(4*half+i), 8+i, 8+i, 8+i, 8+i, 8+i)
		}
		for i := range 4 {
			p("VPSRLQ $27, Z%d, Z%d\n\tVPXORQ Z%d, Z%d, Z%d\n\tVPMULLQ.BCST mixers<>+8(SB), Z%d, Z%d", 8+i, 12+i%2, 12+i%2, 8+i, 8+i, 8+i, 8+i)
		}
		for i := range 2 {
			x, d := 2*half+i, 8+2*i
			p("VPERMT2W.Z Z%d, Z6, K3, Z%d\n\tVPADDD Z%d, Z%d, Z%d\n\tVCMPPS $3, Z%d, Z%d, K1\n\tVPORD.BCST quiet<>(SB), Z%d, K1, Z%d",
				d+1, d, x, d, d, x, x, x, d)
		}
		p("VPERMT2W Z10, Z5, Z8\n\tVMOVDQU64 Z8, %d(DI)", 64*half)
	}
	p("ADDQ $64, DX\n\tADDQ $128, DI\n\tADDQ $128, SI\n\tADDQ $64, R8\n\tADDQ $64, R9\n\tADDQ $256, R10\n\tADDQ $256, R11")
	p("SUBQ $64, CX\n\tJG loop")
	m := &x86{isa: avx512, w: w}
	m.join(opMax, 14, 0)
	m.join(opMax, 15, 0)
	p("VMOVSS X14, %d(R12)\n\tVMOVSS X15, %d(R12)\n\tVZEROUPPER\n\tRET", field["mostM"], field["mostV"])
	data(w, "eighths", 8, 0, 8, 16, 24, 32, 40, 48, 56)
	data(w, "magnitude", 4, 0x7fffffff)
	data(w, "quiet", 4, 0x400000)
	fmt.Fprintln(w, "\nDATA mixers<>+0(SB)/8, $0xbf58476d1ce4e5b9\nDATA mixers<>+8(SB)/8, $0x94d049bb133111eb\n"+
		"GLOBL mixers<>(SB), RODATA|NOPTR, $16")
}
