package main

import (
	"fmt"
	"io"
)

// unpackers writes what decodes frozen matrices. An element of NF4 is four bits that choose one of 16 levels, two elements a
// byte, the first in the upper half. The levels times the scale of a block of 64 elements lie in registers.
func unpackers(w io.Writer) {
	levelsAVX512(w)
	halvesAVX512(w)
	levelsAVX2(w)
	bytesTo(w, avx512, false)
	bytesTo(w, avx512, true)
	bytesTo(w, avx2, false)
	var element, shift, half []int
	for i := range 16 {
		element = append(element, i/2, 0x80, 0x80, 0x80)
		shift = append(shift, 4*(1-i%2))
	}
	for i := range 32 {
		half = append(half, i/2, 0x80)
	}
	data(w, "element", 1, element...)
	data(w, "shift", 4, shift...)
	data(w, "half", 1, half...)
}

func unpacker(w io.Writer, name, to string) {
	fmt.Fprintf(w, "\n// func %s(blocks int, to *%s, from, scales *byte, levels, values *float32, group, mean float32)\n"+
		"TEXT ·%s(SB), NOSPLIT, $0-56\n", name, to, name)
	line(w, "MOVQ blocks+0(FP), CX\n\tMOVQ to+8(FP), DI\n\tMOVQ from+16(FP), SI\n\tMOVQ scales+24(FP), DX\n\tMOVQ levels+32(FP), BX")
	line(w, "MOVQ values+40(FP), R8\n\tVMOVSS group+48(FP), X14\n\tVMOVSS mean+52(FP), X15")
}

// scale broadcasts the scale of the next block.
func (v isa) scale(w io.Writer, to int) {
	line(w, "PREFETCHT0 256(SI)\n\tMOVBLZX (DX), AX\n\tINCQ DX\n\tVMOVSS (R8)(AX*4), X%d", to)
	line(w, "VMULSS X14, X%d, X%d\n\tVADDSS X15, X%d, X%d\n\tVBROADCASTSS X%d, %s", to, to, to, to, to, v.r(to))
}

// levelsAVX512 copies eight bytes to each quarter of a register, gives every element its own of them, and shifts its four bits
// down. VPERMPS heeds no other bits.
func levelsAVX512(w io.Writer) {
	unpacker(w, "nf4AVX512", "float32")
	line(w, "VMOVUPS (BX), Z0\n\tVMOVDQU64 element<>(SB), Z1\n\tVMOVDQU64 shift<>(SB), Z2")
	fmt.Fprint(w, "loop:\n")
	avx512.scale(w, 3)
	line(w, "VMULPS Z0, Z3, Z3")
	for i := range 4 {
		line(w, "VPBROADCASTQ %d(SI), Z4\n\tVPSHUFB Z1, Z4, Z4\n\tVPSRLVD Z2, Z4, Z4\n\tVPERMPS Z3, Z4, Z4\n\tVMOVUPS Z4, %d(DI)", 8*i, 64*i)
	}
	line(w, "ADDQ $32, SI\n\tADDQ $256, DI\n\tDECQ CX\n\tJNZ loop\n\tVZEROUPPER\n\tRET")
}

// halvesAVX512 rounds the levels of a block to bf16 before it looks them up, 32 at a time.
func halvesAVX512(w io.Writer) {
	unpacker(w, "nf4HalfAVX512", "uint16")
	line(w, "VMOVUPS (BX), Z0\n\tVMOVDQU64 half<>(SB), Z1\n\tVMOVDQU64 shift<>(SB), Z2\n\tVPMOVDW Z2, Y2\n\tVINSERTI64X4 $1, Y2, Z2, Z2")
	for i, c := range []uint32{0x7fff, 1, 0x000f000f} {
		line(w, "MOVL $0x%x, AX\n\tVPBROADCASTD AX, Z%d", c, 5+i)
	}
	fmt.Fprint(w, "loop:\n")
	avx512.scale(w, 3)
	line(w, "VMULPS Z0, Z3, Z3")
	roundHalf(w, 3, 4)
	line(w, "VPMOVDW Z3, Y3")
	for i := range 2 {
		line(w, "VBROADCASTI32X4 %d(SI), Z4\n\tVPSHUFB Z1, Z4, Z4\n\tVPSRLVW Z2, Z4, Z4", 16*i)
		line(w, "VPANDD Z7, Z4, Z4\n\tVPERMW Z3, Z4, Z4\n\tVMOVDQU64 Z4, %d(DI)", 64*i)
	}
	line(w, "ADDQ $32, SI\n\tADDQ $128, DI\n\tDECQ CX\n\tJNZ loop\n\tVZEROUPPER\n\tRET")
}

// roundHalf leaves the bits of finite numbers, rounded to bf16, in the lower halves of their lanes; registers 5 and 6 hold
// 0x7fff and 1.
func roundHalf(w io.Writer, x, t int) {
	line(w, "VPSRLD $16, Z%d, Z%d\n\tVPANDD Z6, Z%d, Z%d\n\tVPADDD Z5, Z%d, Z%d\n\tVPADDD Z%d, Z%d, Z%d\n\tVPSRLD $16, Z%d, Z%d",
		x, t, t, t, t, t, t, x, x, x, x)
}

// levelsAVX2 has the levels in two registers; the highest of the four bits chooses between them.
func levelsAVX2(w io.Writer) {
	unpacker(w, "nf4AVX2", "float32")
	line(w, "VMOVUPS (BX), Y0\n\tVMOVUPS 32(BX), Y1\n\tVMOVDQU element<>(SB), Y2\n\tVMOVDQU shift<>(SB), Y3")
	fmt.Fprint(w, "loop:\n")
	avx2.scale(w, 5)
	line(w, "VMULPS Y0, Y5, Y4\n\tVMULPS Y1, Y5, Y5")
	for i := range 8 {
		line(w, "VPBROADCASTD %d(SI), Y6\n\tVPSHUFB Y2, Y6, Y6\n\tVPSRLVD Y3, Y6, Y6\n\tVPSLLD $28, Y6, Y7\n\tVPERMPS Y4, Y6, Y8\n"+
			"\tVPERMPS Y5, Y6, Y6\n\tVBLENDVPS Y7, Y6, Y8, Y6\n\tVMOVUPS Y6, %d(DI)", 4*i, 32*i)
	}
	line(w, "ADDQ $32, SI\n\tADDQ $256, DI\n\tDECQ CX\n\tJNZ loop\n\tVZEROUPPER\n\tRET")
}

// bytesTo decodes elements of a row of gpu.RowInt8, and rounds them to bf16 if half is true.
func bytesTo(w io.Writer, v isa, half bool) {
	r, name, to, size := v.reg, "int8"+v.suffix, "float32", 4
	if half {
		name, to, size = "int8Half"+v.suffix, "uint16", 2
	}
	fmt.Fprintf(w, "\n// func %s(n int, to *%s, from *byte, scale, step float32)\nTEXT ·%s(SB), NOSPLIT, $0-32\n", name, to, name)
	line(w, "MOVQ n+0(FP), CX\n\tMOVQ to+8(FP), DI\n\tMOVQ from+16(FP), SI")
	line(w, "VBROADCASTSS scale+24(FP), %s0\n\tVBROADCASTSS step+28(FP), %s1", r, r)
	if half {
		for i, c := range []int{0x7fff, 1} {
			line(w, "MOVL $%d, AX\n\tVPBROADCASTD AX, Z%d", c, 5+i)
		}
	}
	fmt.Fprint(w, "loop:\n")
	line(w, "PREFETCHT0 256(SI)\n\tVPMOVSXBD (SI), %s2\n\tVCVTDQ2PS %s2, %s2\n\tVMULPS %s0, %s2, %s2\n\tVMULPS %s1, %s2, %s2",
		r, r, r, r, r, r, r, r, r)
	if half {
		roundHalf(w, 2, 3)
		line(w, "VPMOVDW Z2, (DI)")
	} else {
		line(w, "VMOVUPS %s2, (DI)", r)
	}
	line(w, "ADDQ $%d, SI\n\tADDQ $%d, DI\n\tSUBQ $%d, CX\n\tJG loop\n\tVZEROUPPER\n\tRET", v.width, size*v.width, v.width)
}

// unpackers does the same for arm64: a level is four bytes, and a permutation of bytes moves all four.
func (m *neon) unpackers() {
	fmt.Fprint(m.w, "\n// func nf4NEON(blocks int, to *float32, from, scales *byte, levels, values *float32, group, mean float32)\n"+
		"TEXT ·nf4NEON(SB), NOSPLIT, $0-56\n")
	m.p("MOVD blocks+0(FP), R0\n\tMOVD to+8(FP), R1\n\tMOVD from+16(FP), R2\n\tMOVD scales+24(FP), R4\n\tMOVD levels+32(FP), R3")
	m.p("MOVD values+40(FP), R6\n\tFMOVS group+48(FP), F21\n\tFMOVS mean+52(FP), F22")
	m.p("VLD1 (R3), [V0.S4, V1.S4, V2.S4, V3.S4]\n\tMOVD $spread<>(SB), R5\n\tVLD1 (R5), [V8.B16, V9.B16, V10.B16, V11.B16]")
	m.p("MOVD $ofFour<>(SB), R5\n\tVLD1 (R5), [V12.B16]\n\tVMOVI $15, V13.B8")
	fmt.Fprint(m.w, "loop:\n")
	m.p("MOVBU.P 1(R4), R7\n\tADD R7<<2, R6, R7\n\tFMOVS (R7), F20\n\tFMULS F21, F20, F20\n\tFADDS F22, F20, F20\n\tVDUP V20.S[0], V20.S4")
	for i := range 4 {
		m.word(neonOps[opMul].base, "FMUL", 16+i, i, 20)
	}
	for range 4 { // 16 elements
		m.p("VLD1.P 8(R2), [V4.B8]\n\tVUSHR $4, V4.B8, V5.B8\n\tVAND V13.B8, V4.B8, V4.B8")
		m.p("VZIP1 V4.B16, V5.B16, V4.B16\n\tVSHL $2, V4.B16, V4.B16")
		for i := range 4 {
			m.p("VTBL V%d.B16, [V4.B16], V%d.B16\n\tVADD V12.B16, V%d.B16, V%d.B16\n\tVTBL V%d.B16, [V16.B16, V17.B16, V18.B16, V19.B16], V%d.B16",
				8+i, 24+i, 24+i, 24+i, 24+i, 24+i)
		}
		m.p("VST1.P [V24.S4, V25.S4, V26.S4, V27.S4], 64(R1)")
	}
	m.p("SUBS $1, R0\n\tBGT loop\n\tRET")
	fmt.Fprint(m.w, "\n// func int8NEON(n int, to *float32, from *byte, scale, step float32)\nTEXT ·int8NEON(SB), NOSPLIT, $0-32\n")
	m.p("MOVD n+0(FP), R0\n\tMOVD to+8(FP), R1\n\tMOVD from+16(FP), R2\n\tFMOVS scale+24(FP), F20\n\tFMOVS step+28(FP), F21")
	m.p("VDUP V20.S[0], V20.S4\n\tVDUP V21.S[0], V21.S4")
	fmt.Fprint(m.w, "loop:\n")
	m.p("VLD1.P 8(R2), [V0.B8]")
	m.wordOf(0x0F08A400, "SSHLL V1.8H, V0.8B, #0", 1, 0)
	m.wordOf(0x0F10A400, "SSHLL V2.4S, V1.4H, #0", 2, 1)
	m.wordOf(0x4F10A400, "SSHLL2 V3.4S, V1.8H, #0", 3, 1)
	for i := 2; i < 4; i++ {
		m.word2(0x4E21D800, "SCVTF", i, i)
		m.word(neonOps[opMul].base, "FMUL", i, i, 20)
		m.word(neonOps[opMul].base, "FMUL", i, i, 21)
	}
	m.p("VST1.P [V2.S4, V3.S4], 32(R1)\n\tSUBS $8, R0\n\tBGT loop\n\tRET")
	var spread, ofFour []int
	for i := range 64 {
		spread = append(spread, i/4)
	}
	for i := range 16 {
		ofFour = append(ofFour, i%4)
	}
	data(m.w, "spread", 1, spread...)
	data(m.w, "ofFour", 1, ofFour...)
}

// wordOf writes an instruction of registers d and n; name is what a comment calls it.
func (m *neon) wordOf(base uint32, name string, d, n int) {
	m.p("WORD $0x%08x // %s", base|uint32(n)<<5|uint32(d), name)
}
