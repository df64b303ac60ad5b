package main

import (
	"fmt"
	"io"
)

// coders writes what reads and writes whole vectors of codes (gpu.Codes).
func coders(w io.Writer) {
	decoder(w, avx512)
	decoder(w, avx2)
	decoderVBMI(w)
	encoderAVX512(w, false)
	encoderAVX512(w, true)
	encoderAVX2(w)
}

// decoder looks the values of codes up in a table.
func decoder(w io.Writer, v isa) {
	p := func(format string, args ...any) { line(w, format, args...) }
	fmt.Fprintf(w, "\n// func decode%s(n int, to *float32, from *byte, values *float32, scale float32)\n"+
		"TEXT ·decode%s(SB), NOSPLIT, $0-36\n", v.suffix, v.suffix)
	p("MOVQ n+0(FP), CX\n\tMOVQ to+8(FP), DI\n\tMOVQ from+16(FP), SI\n\tMOVQ values+24(FP), BX")
	p("VBROADCASTSS scale+32(FP), %s0", v.reg)
	fmt.Fprintf(w, "loop:\n\tVPMOVZXBD (SI), %s1\n", v.reg)
	if v.reg == "Z" {
		p("KXNORW K1, K1, K1\n\tVGATHERDPS (BX)(Z1*4), K1, Z2")
	} else {
		p("VPCMPEQD Y3, Y3, Y3\n\tVGATHERDPS Y3, (BX)(Y1*4), Y2")
	}
	p("VMULPS %s0, %s2, %s2\n\tVMOVUPS %s2, (DI)", v.reg, v.reg, v.reg, v.reg)
	p("ADDQ $%d, SI\n\tADDQ $%d, DI\n\tSUBQ $%d, CX\n\tJG loop\n\tVZEROUPPER\n\tRET", v.width, 4*v.width, v.width)
}

// decoderVBMI is decoder where bytes can be permuted across a register: each of the four bytes of a value comes from a table
// of 256 bytes, and the four are put together again, which leaves the values in another order. The codes are permuted
// beforehand, so that the values come out in the order of memory.
func decoderVBMI(w io.Writer) {
	p := func(format string, args ...any) { line(w, format, args...) }
	fmt.Fprint(w, "\n// func decodeVBMI(n int, to *float32, from, planes *byte, scales *float32)\n"+
		"TEXT ·decodeVBMI(SB), NOSPLIT, $0-40\n")
	p("MOVQ n+0(FP), CX\n\tMOVQ to+8(FP), DI\n\tMOVQ from+16(FP), SI\n\tMOVQ planes+24(FP), BX")
	p("MOVQ scales+32(FP), DX\n\tVMOVDQU64 quarters<>(SB), Z15")
	for i := range 16 {
		p("VMOVDQU64 %d(BX), Z%d", 64*i, 16+i)
	}
	fmt.Fprint(w, "block:\n\tVBROADCASTSS (DX), Z14\n\tADDQ $4, DX\n\tMOVQ $4, R8\nloop:\n")
	p("VPERMD (SI), Z15, Z0\n\tVPMOVB2M Z0, K1\n\tPREFETCHT0 1024(SI)")
	for plane := range 4 {
		table := 16 + 4*plane
		p("VMOVDQA64 Z0, Z%d\n\tVPERMI2B Z%d, Z%d, Z%d", 1+plane, table+1, table, 1+plane)
		p("VMOVDQA64 Z0, Z5\n\tVPERMI2B Z%d, Z%d, Z5\n\tVPBLENDMB Z5, Z%d, K1, Z%d", table+3, table+2, 1+plane, 1+plane)
	}
	for i, half := range []string{"L", "H"} {
		p("VPUNPCK%sBW Z2, Z1, Z%d\n\tVPUNPCK%sBW Z4, Z3, Z%d", half, 5+2*i, half, 6+2*i)
	}
	for i := range 4 {
		p("VPUNPCK%cWD Z%d, Z%d, Z9\n\tVMULPS Z14, Z9, Z9\n\tVMOVUPS Z9, %d(DI)", "LH"[i%2], 6+i&2, 5+i&2, 64*i)
	}
	p("ADDQ $64, SI\n\tADDQ $256, DI\n\tSUBQ $64, CX\n\tJLE done\n\tDECQ R8\n\tJNZ loop\n\tJMP block")
	fmt.Fprint(w, "done:\n\tVZEROUPPER\n\tRET\n")
	data(w, "quarters", 4, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
}

// encoderAVX512 finds codes as gpu.Codes.Of does, 64 at a time. At most one bound lies within an octave: octaves hold the
// bound in each of 32, and the class below it. An even map has a single class, and needs no bounds. The signs are applied
// when the codes are bytes.
func encoderAVX512(w io.Writer, even bool) {
	p := func(format string, args ...any) { line(w, format, args...) }
	name, class := "encodeAVX512", "VBROADCASTF64X4"
	if even {
		name, class = "encodeEvenAVX512", "VBROADCASTSS"
	}
	fmt.Fprintf(w, "\n// func %s(n int, to *byte, from *float32, octaves *octaves, classes *float32, zero int, "+
		"scales *float32)\nTEXT ·%s(SB), NOSPLIT, $0-56\n", name, name)
	p("MOVQ n+0(FP), CX\n\tMOVQ to+8(FP), DI\n\tMOVQ from+16(FP), SI\n\tMOVQ octaves+24(FP), BX\n\tMOVQ classes+32(FP), DX")
	for i := range 4 {
		p("VMOVUPS %d(BX), Z%d", 64*i, 16+i)
	}
	for i := range 3 {
		p("%s %d(DX), Z%d", class, 32*i, 4+i)
	}
	p("MOVL $0x3f800000, AX\n\tVMOVD AX, X13\n\tMOVQ scales+48(FP), R9")
	p("MOVQ zero+40(FP), AX\n\tVPBROADCASTB AX, Z11\n\tVMOVDQU64 quarters<>(SB), Z12")
	for i, c := range []uint32{0x7fffffff, 96 << 23, 1} {
		p("MOVL $0x%x, AX\n\tVPBROADCASTD AX, Z%d", c, 8+i)
	}
	fmt.Fprint(w, "block:\n\tVDIVSS (R9), X13, X7\n\tVBROADCASTSS X7, Z7\n\tADDQ $4, R9\n\tMOVQ $4, R8\nloop:\n")
	for u := range 4 {
		p("VMULPS %d(SI), Z7, Z0\n\tVPMOVD2M Z0, K%d\n\tVPANDD Z8, Z0, Z0", 64*u, 1+u)
		if even {
			p("VMULPS Z0, Z4, Z1\n\tVADDPS Z5, Z1, Z1\n\tVMINPS Z6, Z1, Z1\n\tVCVTTPS2DQ Z1, Z%d", 20+u)
			continue
		}
		p("VMAXPS Z9, Z0, Z1\n\tVPSRLD $23, Z1, Z1\n\tVMOVDQA64 Z1, Z2")
		p("VPERMI2PS Z17, Z16, Z1\n\tVCMPPS $13, Z1, Z0, K5\n\tVPERMI2D Z19, Z18, Z2\n\tVPADDD Z10, Z2, K5, Z2")
		p("VPERMPS Z4, Z2, Z1\n\tVMULPS Z0, Z1, Z1\n\tVPERMPS Z5, Z2, Z3\n\tVADDPS Z3, Z1, Z1")
		p("VPERMPS Z6, Z2, Z3\n\tVMINPS Z3, Z1, Z1\n\tVCVTTPS2DQ Z1, Z%d", 20+u)
	}
	p("VPACKUSDW Z21, Z20, Z20\n\tVPACKUSDW Z23, Z22, Z22\n\tVPACKUSWB Z22, Z20, Z20\n\tVPERMD Z20, Z12, Z20")
	p("KUNPCKWD K1, K2, K1\n\tKUNPCKWD K3, K4, K3\n\tKUNPCKDQ K1, K3, K1")
	p("VPADDB Z20, Z11, Z0\n\tVPSUBUSB Z20, Z11, K1, Z0\n\tVMOVDQU64 Z0, (DI)")
	p("ADDQ $256, SI\n\tADDQ $64, DI\n\tSUBQ $64, CX\n\tJLE done\n\tDECQ R8\n\tJNZ loop\n\tJMP block")
	fmt.Fprint(w, "done:\n\tVZEROUPPER\n\tRET\n")
}

// encoderAVX2 finds codes as gpu.Codes.Of does. It compares with three of the seven bounds, as in a tree: the middle one in
// register 8, then one of 9, then one of 10, by the class so far. Registers 4 to 6 hold slope, offset and most of each class.
func encoderAVX2(w io.Writer) {
	p := func(format string, args ...any) { line(w, format, args...) }
	fmt.Fprint(w, "\n// func encodeAVX2(n int, to *byte, from, bounds, classes *float32, zero int, inverse float32)\n"+
		"TEXT ·encodeAVX2(SB), NOSPLIT, $0-52\n")
	p("MOVQ n+0(FP), CX\n\tMOVQ to+8(FP), DI\n\tMOVQ from+16(FP), SI\n\tMOVQ bounds+24(FP), BX\n\tMOVQ classes+32(FP), DX")
	for i := range 3 {
		p("VMOVUPS %d(DX), Y%d", 32*i, 4+i)
	}
	p("VBROADCASTSS 12(BX), Y8\n\tVMOVUPS 4(BX), Y9\n\tVMOVUPS (BX), Y10")
	p("VBROADCASTSS inverse+48(FP), Y7\n\tVPBROADCASTD zero+40(FP), Y15")
	for i, c := range []int{4, 2, 1} {
		p("MOVL $%d, AX\n\tVMOVD AX, X%d\n\tVPBROADCASTD X%d, Y%d", c, 11+i, 11+i, 11+i)
	}
	p("VPXOR Y14, Y14, Y14")
	fmt.Fprint(w, "loop:\n\tVMULPS (SI), Y7, Y0\n\tVPSLLD $1, Y0, Y1\n\tVPSRLD $1, Y1, Y1\n\tVPSRAD $31, Y0, Y0\n")
	p("VCMPPS $13, Y8, Y1, Y2\n\tVPAND Y11, Y2, Y2")
	for i := range 2 {
		p("VPERMPS Y%d, Y2, Y3\n\tVCMPPS $13, Y3, Y1, Y3\n\tVPAND Y%d, Y3, Y3\n\tVPADDD Y3, Y2, Y2", 9+i, 12+i)
	}
	p("VPERMPS Y4, Y2, Y3\n\tVMULPS Y1, Y3, Y1\n\tVPERMPS Y5, Y2, Y3\n\tVADDPS Y3, Y1, Y1")
	p("VPERMPS Y6, Y2, Y3\n\tVMINPS Y3, Y1, Y1\n\tVCVTTPS2DQ Y1, Y1")
	p("VPXOR Y0, Y1, Y1\n\tVPSUBD Y0, Y1, Y1\n\tVPADDD Y15, Y1, Y1\n\tVPMAXSD Y14, Y1, Y1")
	p("VPACKUSDW Y1, Y1, Y1\n\tVPERMQ $8, Y1, Y1\n\tVPACKUSWB X1, X1, X1\n\tVMOVQ X1, (DI)")
	p("ADDQ $32, SI\n\tADDQ $8, DI\n\tSUBQ $8, CX\n\tJG loop\n\tVZEROUPPER\n\tRET")
}
