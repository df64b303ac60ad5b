package main

import (
	"fmt"
	"io"
)

// ahead is how far in front of the reader rows are fetched, in bytes.
const ahead = 256

// packers writes the copies that lay operands of a product out as panels: a row of a panel is w
// elements of one k. Both run on AVX-512 with its masks, so they touch nothing beside the operand.
func packers(w io.Writer) {
	transpose(w)
	interleave(w)
	copyRows(w)
}

// transposePanelAVX512 turns rows of k contiguous 32-bit elements, ld bytes apart, into columns of a
// panel: element l of row r goes to dst[l*w+r] for r < rows, zero for rows <= r < lanes <= 16.
func transpose(w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, "\t"+format+"\n", args...) }
	fmt.Fprint(w, "\n// func transposePanelAVX512(k int, dst unsafe.Pointer, w int, src unsafe.Pointer, ld, rows, "+
		"lanes int)\nTEXT ·transposePanelAVX512(SB), NOSPLIT, $0-56\n")
	p("MOVQ k+0(FP), CX\n\tMOVQ dst+8(FP), DI\n\tMOVQ w+16(FP), R8\n\tMOVQ src+24(FP), SI\n\tMOVQ ld+32(FP), R9\n" +
		"\tMOVQ rows+40(FP), R10\n\tMOVQ lanes+48(FP), R11")
	p("SHLQ $2, R8")
	mask := func(n, k string) {
		p("MOVQ $1, AX\n\tMOVQ %s, BX\n\tSHLXQ BX, AX, AX\n\tDECQ AX\n\tKMOVW AX, %s", n, k)
	}
	mask("R11", "K2") // lanes to store
	fmt.Fprint(w, "block:\n\tTESTQ CX, CX\n\tJLE done\n")
	p("MOVQ $16, DX\n\tCMPQ CX, DX\n\tCMOVQLT CX, DX") // columns of this block
	mask("DX", "K1")
	p("MOVQ SI, R12")
	for i := 0; i < 16; i++ {
		if i > 0 {
			p("CMPQ R10, $%d\n\tJLE zero%d", i, i)
		}
		p("VMOVUPS.Z (R12), K1, Z%d\n\tPREFETCHT0 %d(R12)\n\tADDQ R9, R12", i, ahead)
	}
	p("JMP loaded")
	for i := 1; i < 16; i++ {
		fmt.Fprintf(w, "zero%d:\n", i)
		p("VPXORD Z%d, Z%d, Z%d", i, i, i)
	}
	fmt.Fprint(w, "loaded:\n")
	// Four rounds of interleaving: pairs, quads, then quarters of registers.
	for i := 0; i < 16; i += 2 {
		p("VUNPCKLPS Z%d, Z%d, Z%d\n\tVUNPCKHPS Z%d, Z%d, Z%d", i+1, i, 16+i, i+1, i, 17+i)
	}
	for i := 0; i < 16; i += 4 {
		p("VUNPCKLPD Z%d, Z%d, Z%d\n\tVUNPCKHPD Z%d, Z%d, Z%d", 16+i+2, 16+i, i, 16+i+2, 16+i, i+1)
		p("VUNPCKLPD Z%d, Z%d, Z%d\n\tVUNPCKHPD Z%d, Z%d, Z%d", 16+i+3, 16+i+1, i+2, 16+i+3, 16+i+1, i+3)
	}
	// Zi, of rows 4(i/4).., holds in quarter q column 4q+i%4.
	for j := 0; j < 4; j++ {
		p("VSHUFF32X4 $0x88, Z%d, Z%d, Z%d\n\tVSHUFF32X4 $0xdd, Z%d, Z%d, Z%d", 4+j, j, 16+j, 4+j, j, 20+j)
		p("VSHUFF32X4 $0x88, Z%d, Z%d, Z%d\n\tVSHUFF32X4 $0xdd, Z%d, Z%d, Z%d", 12+j, 8+j, 24+j, 12+j, 8+j, 28+j)
	}
	for j := 0; j < 4; j++ { // 16+j: columns j, 8+j of rows 0-7; 20+j: columns 4+j, 12+j
		p("VSHUFF32X4 $0x88, Z%d, Z%d, Z%d\n\tVSHUFF32X4 $0xdd, Z%d, Z%d, Z%d", 24+j, 16+j, j, 24+j, 16+j, 8+j)
		p("VSHUFF32X4 $0x88, Z%d, Z%d, Z%d\n\tVSHUFF32X4 $0xdd, Z%d, Z%d, Z%d", 28+j, 20+j, 4+j, 28+j, 20+j, 12+j)
	}
	for i := 0; i < 16; i++ {
		if i > 0 {
			p("CMPQ DX, $%d\n\tJLE next", i)
		}
		p("VMOVUPS Z%d, K2, (DI)\n\tADDQ R8, DI", i)
	}
	fmt.Fprint(w, "next:\n")
	p("ADDQ $64, SI\n\tSUBQ $16, CX\n\tJMP block")
	fmt.Fprint(w, "done:\n\tVZEROUPPER\n\tRET\n")
}

// The masks of copyRows and interleave: n elements are read into a panel row of w <= 32 elements, the rest zero.
func panelMasks(p func(string, ...any), read, width string) {
	for i, n := range []string{read, width} {
		p("MOVQ $1, AX\n\tSHLXQ %s, AX, AX\n\tDECQ AX\n\tKMOVW AX, K%d\n\tSHRQ $16, AX\n\tKMOVW AX, K%d",
			n, 2*i+1, 2*i+2)
	}
}

// copyPanelAVX512 copies rows of n <= w <= 32 float32 into a panel: dst[l*w+c] = src[l*ld+c], zero for c >= n.
func copyRows(w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, "\t"+format+"\n", args...) }
	fmt.Fprint(w, "\n// func copyPanelAVX512(k int, dst unsafe.Pointer, w int, src unsafe.Pointer, ld, n int)\n"+
		"TEXT ·copyPanelAVX512(SB), NOSPLIT, $0-48\n")
	p("MOVQ k+0(FP), CX\n\tMOVQ dst+8(FP), DI\n\tMOVQ w+16(FP), R8\n\tMOVQ src+24(FP), SI\n\tMOVQ ld+32(FP), R9\n" +
		"\tMOVQ n+40(FP), R10")
	panelMasks(p, "R10", "R8")
	p("MOVQ R8, R11\n\tSHLQ $2, R8\n\tSHLQ $2, R9\n\tCMPQ R11, $16\n\tJLE narrow")
	fmt.Fprint(w, "loop:\n\tTESTQ CX, CX\n\tJLE done\n")
	p("PREFETCHT0 (SI)(R9*8)\n\tPREFETCHT0 64(SI)(R9*8)\n\tVMOVUPS.Z (SI), K1, Z0\n\tVMOVUPS.Z 64(SI), K2, Z1\n" +
		"\tVMOVUPS Z0, K3, (DI)\n\tVMOVUPS Z1, K4, 64(DI)\n\tADDQ R9, SI\n\tADDQ R8, DI\n\tDECQ CX\n\tJMP loop")
	fmt.Fprint(w, "narrow:\n\tTESTQ CX, CX\n\tJLE done\n")
	p("PREFETCHT0 (SI)(R9*8)\n\tVMOVUPS.Z (SI), K1, Z0\n\tVMOVUPS Z0, K3, (DI)\n\tADDQ R9, SI\n\tADDQ R8, DI\n" +
		"\tDECQ CX\n\tJMP narrow")
	fmt.Fprint(w, "done:\n\tVZEROUPPER\n\tRET\n")
}

// pairPanelAVX512 lays rows of n <= w <= 32 bf16 out in pairs of rows: element c of panel row l is src[2l*ld+c]
// in the low half and src[(2l+1)*ld+c] in the high one, zero past the last row k.
func interleave(w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, "\t"+format+"\n", args...) }
	fmt.Fprint(w, "\n// func pairPanelAVX512(k int, dst unsafe.Pointer, w int, src unsafe.Pointer, ld, n int)\n"+
		"TEXT ·pairPanelAVX512(SB), NOSPLIT, $0-48\n")
	p("MOVQ k+0(FP), CX\n\tMOVQ dst+8(FP), DI\n\tMOVQ w+16(FP), R8\n\tMOVQ src+24(FP), SI\n\tMOVQ ld+32(FP), R9\n" +
		"\tMOVQ n+40(FP), R10")
	panelMasks(p, "R10", "R8")
	p("SHLQ $2, R8\n\tSHLQ $1, R9\n\tLEAQ (R9)(R9*1), R11") // fetches eight and sixteen rows ahead
	fmt.Fprint(w, "loop:\n\tTESTQ CX, CX\n\tJLE done\n")
	p("PREFETCHT0 (SI)(R9*8)\n\tPREFETCHT0 (SI)(R11*8)\n\tVPMOVZXWD.Z (SI), K1, Z0\n\tVPMOVZXWD.Z 32(SI), K2, Z1\n" +
		"\tADDQ R9, SI\n\tCMPQ CX, $1\n\tJE last")
	p("VPMOVZXWD.Z (SI), K1, Z2\n\tVPMOVZXWD.Z 32(SI), K2, Z3\n\tADDQ R9, SI\n\tVPSLLD $16, Z2, Z2\n" +
		"\tVPSLLD $16, Z3, Z3\n\tVPORD Z2, Z0, Z0\n\tVPORD Z3, Z1, Z1")
	fmt.Fprint(w, "last:\n")
	p("VMOVUPS Z0, K3, (DI)\n\tVMOVUPS Z1, K4, 64(DI)\n\tADDQ R8, DI\n\tSUBQ $2, CX\n\tJMP loop")
	fmt.Fprint(w, "done:\n\tVZEROUPPER\n\tRET\n")
}

// converters widens bf16 to float32 and narrows it with rounding to nearest even, NaN kept, on
// whole vectors.
func converters(w io.Writer) {
	for _, v := range []isa{avx512, avx2} {
		p := func(format string, args ...any) { fmt.Fprintf(w, "\t"+format+"\n", args...) }
		fmt.Fprintf(w, "\n// func widen%s(n int, dst *float32, src *uint16)\nTEXT ·widen%s(SB), NOSPLIT, $0-24\n",
			v.suffix, v.suffix)
		p("MOVQ n+0(FP), CX\n\tMOVQ dst+8(FP), DI\n\tMOVQ src+16(FP), SI")
		fmt.Fprintf(w, "loop:\n\tPREFETCHT0 2048(SI)\n\tVPMOVZXWD (SI), %s0\n", v.reg)
		p("VPSLLD $16, %s0, %s0\n\tVMOVUPS %s0, (DI)\n\tADDQ $%d, SI\n\tADDQ $%d, DI\n\tSUBQ $%d, CX\n\tJG loop\n"+
			"\tVZEROUPPER\n\tRET", v.reg, v.reg, v.reg, 2*v.width, 4*v.width, v.width)

		fmt.Fprintf(w, "\n// func narrow%s(n int, dst *uint16, src *float32)\nTEXT ·narrow%s(SB), NOSPLIT, $0-24\n",
			v.suffix, v.suffix)
		p("MOVQ n+0(FP), CX\n\tMOVQ dst+8(FP), DI\n\tMOVQ src+16(FP), SI")
		for i, c := range []uint32{0x7fff, 1, 0x400000} {
			p("MOVL $0x%x, AX\n\tVMOVD AX, X%d\n\tVPBROADCASTD X%d, %s%d", c, 5+i, 5+i, v.reg, 5+i)
		}
		fmt.Fprintf(w, "loop:\n\tVMOVUPS (SI), %s0\n", v.reg)
		if v.reg == "Z" {
			// rounded = (x + 0x7fff + (x >> 16 & 1)) >> 16; a NaN keeps its upper half, made quiet
			p("VPSRLD $16, Z0, Z1\n\tVPANDD Z6, Z1, Z1\n\tVPADDD Z5, Z1, Z1\n\tVPADDD Z0, Z1, Z1")
			p("VCMPPS $3, Z0, Z0, K1\n\tVPORD Z7, Z0, K1, Z1\n\tVPSRLD $16, Z1, Z1\n\tVPMOVDW Z1, (DI)")
		} else {
			p("VPSRLD $16, Y0, Y1\n\tVPAND Y6, Y1, Y1\n\tVPADDD Y5, Y1, Y1\n\tVPADDD Y0, Y1, Y1")
			p("VCMPPS $3, Y0, Y0, Y2\n\tVPOR Y7, Y0, Y3\n\tVBLENDVPS Y2, Y3, Y1, Y1\n\tVPSRLD $16, Y1, Y1")
			p("VPACKUSDW Y1, Y1, Y1\n\tVPERMQ $8, Y1, Y1\n\tVMOVUPS X1, (DI)")
		}
		p("ADDQ $%d, SI\n\tADDQ $%d, DI\n\tSUBQ $%d, CX\n\tJG loop\n\tVZEROUPPER\n\tRET", 4*v.width, 2*v.width, v.width)
	}
}
