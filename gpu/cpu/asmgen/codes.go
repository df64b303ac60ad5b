package main

import (
	"fmt"
	"io"
)

// coders writes what reads and writes blocks of codes (gpu.Codes), and what rounds to bf16 stochastically, on whole
// vectors.
func coders(w io.Writer) {
	for _, v := range []isa{avx512, avx2} {
		decoder(w, v)
		encoder(w, v)
	}
	drawer(w)
}

// decoder looks the values of bytes up in a table.
func decoder(w io.Writer, v isa) {
	p := func(format string, args ...any) { fmt.Fprintf(w, "\t"+format+"\n", args...) }
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

// encoder finds codes as gpu.Codes.Of does. Of the seven bounds it compares with three, as a tree: the middle one in
// register 8, then one of 9, then one of 10, by the class so far. Registers 4 to 6 hold slope, offset and most of each class.
func encoder(w io.Writer, v isa) {
	p := func(format string, args ...any) { fmt.Fprintf(w, "\t"+format+"\n", args...) }
	r := v.reg
	fmt.Fprintf(w, "\n// func encode%s(n int, to *byte, from, bounds, classes *float32, zero int, inverse float32)\n"+
		"TEXT ·encode%s(SB), NOSPLIT, $0-52\n", v.suffix, v.suffix)
	p("MOVQ n+0(FP), CX\n\tMOVQ to+8(FP), DI\n\tMOVQ from+16(FP), SI\n\tMOVQ bounds+24(FP), BX\n\tMOVQ classes+32(FP), DX")
	eight := "VMOVUPS"
	if r == "Z" {
		eight = "VBROADCASTF64X4"
	}
	for i := range 3 {
		p("%s %d(DX), %s%d", eight, 32*i, r, 4+i)
	}
	p("VBROADCASTSS 12(BX), %s8\n\t%s 4(BX), %s9\n\t%s (BX), %s10", r, eight, r, eight, r)
	p("VBROADCASTSS inverse+48(FP), %s7\n\tVPBROADCASTD zero+40(FP), %s15", r, r)
	for i, c := range []int{4, 2, 1} {
		p("MOVL $%d, AX\n\tVMOVD AX, X%d\n\tVPBROADCASTD X%d, %s%d", c, 11+i, 11+i, r, 11+i)
	}
	if r == "Z" {
		p("MOVL $0x7fffffff, AX\n\tVPBROADCASTD AX, Z16\n\tVPXORD Z18, Z18, Z18")
		fmt.Fprint(w, "loop:\n\tVMULPS (SI), Z7, Z0\n\tVPANDD Z16, Z0, Z1\n\tVCMPPS $1, Z18, Z0, K1\n")
		p("VCMPPS $13, Z8, Z1, K2\n\tVMOVDQA32.Z Z11, K2, Z2")
		for i := range 2 {
			p("VPERMPS Z%d, Z2, Z3\n\tVCMPPS $13, Z3, Z1, K2\n\tVPADDD Z%d, Z2, K2, Z2", 9+i, 12+i)
		}
		p("VPERMPS Z4, Z2, Z3\n\tVMULPS Z1, Z3, Z3\n\tVPERMPS Z5, Z2, Z19\n\tVADDPS Z19, Z3, Z3")
		p("VPERMPS Z6, Z2, Z19\n\tVMINPS Z19, Z3, Z3\n\tVCVTTPS2DQ Z3, Z3")
		p("VPADDD Z3, Z15, Z1\n\tVPSUBD Z3, Z15, K1, Z1\n\tVPMAXSD Z18, Z1, Z1\n\tVPMOVDB Z1, (DI)")
	} else {
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
	}
	p("ADDQ $%d, SI\n\tADDQ $%d, DI\n\tSUBQ $%d, CX\n\tJG loop\n\tVZEROUPPER\n\tRET", 4*v.width, v.width, v.width)
}

// drawer rounds as gpu.ToBF16Stochastic does, with splitmix64 in eight lanes; z is the state of the first element.
func drawer(w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, "\t"+format+"\n", args...) }
	fmt.Fprint(w, "\n// func drawAVX512(n int, to *uint16, from *float32, z uint64)\nTEXT ·drawAVX512(SB), NOSPLIT, $0-32\n")
	p("MOVQ n+0(FP), CX\n\tMOVQ to+8(FP), DI\n\tMOVQ from+16(FP), SI")
	p("VPBROADCASTQ z+24(FP), Z10\n\tVPADDQ iota<>(SB), Z10, Z10") // of the first eight elements
	for i, c := range []string{"0xbf58476d1ce4e5b9", "0x94d049bb133111eb", "8", "16"} {
		p("MOVQ $%s, AX\n\tVPBROADCASTQ AX, Z%d", c, 11+i)
	}
	p("MOVL $0x400000, AX\n\tVPBROADCASTD AX, Z15")
	fmt.Fprint(w, "loop:\n")
	p("VMOVDQA64 Z10, Z0\n\tVPADDQ Z13, Z10, Z1\n\tVPADDQ Z14, Z10, Z10")
	for step, shift := range []int{30, 27, 31} {
		for i := range 2 {
			p("VPSRLQ $%d, Z%d, Z%d\n\tVPXORQ Z%d, Z%d, Z%d", shift, i, 2+i, 2+i, i, i)
			if step < 2 {
				p("VPMULLQ Z%d, Z%d, Z%d", 11+step, i, i)
			}
		}
	}
	for i := range 2 {
		p("VPSRLQ $48, Z%d, Z%d\n\tVPMOVQD Z%d, Y%d", i, i, i, i)
	}
	p("VINSERTI64X4 $1, Y1, Z0, Z0\n\tVMOVUPS (SI), Z2\n\tVPADDD Z2, Z0, Z0")
	p("VCMPPS $3, Z2, Z2, K1\n\tVPORD Z15, Z2, K1, Z0\n\tVPSRLD $16, Z0, Z0\n\tVPMOVDW Z0, (DI)")
	p("ADDQ $64, SI\n\tADDQ $32, DI\n\tSUBQ $16, CX\n\tJG loop\n\tVZEROUPPER\n\tRET")
	fmt.Fprintln(w)
	for i := range 8 {
		p("DATA iota<>+%d(SB)/8, $%d", 8*i, i)
	}
	p("GLOBL iota<>(SB), RODATA|NOPTR, $64")
}
