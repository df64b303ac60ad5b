package main

import (
	"fmt"
	"io"
)

// tile is a micro-kernel: it multiplies a packed panel of A (mr rows, k-major) with a packed panel
// of B (nv registers of columns, k-major) and stores the mr x nr tile. All sums stay in registers.
// With pairs, an element of a panel is two bf16 values that follow each other in k.
type tile struct {
	isa
	mr, nv int
	pairs  bool
}

var tiles = []tile{
	{avx512, 14, 2, false}, {avx512, 14, 1, false}, {avx512, 8, 2, false},
	{avx512, 14, 2, true}, {avx512, 14, 1, true}, {avx512, 8, 2, true},
	{avx2, 6, 2, false},
}

func (t tile) name() string {
	kind := "F32"
	if t.pairs {
		kind = "BF16"
	}
	return fmt.Sprintf("gemm%s%s%dx%d", kind, t.suffix, t.mr, t.nv*t.width)
}

func (t tile) write(w io.Writer) {
	p := func(format string, args ...any) { fmt.Fprintf(w, "\t"+format+"\n", args...) }
	acc := func(i, j int) int { return i*t.nv + j }
	first := t.mr * t.nv // first register behind the accumulators
	vec := t.vec()
	fmt.Fprintf(w, "\n// func %s(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)\nTEXT ·%s(SB), NOSPLIT, $0-60\n", t.name(), t.name())
	p("MOVQ k+0(FP), CX\n\tMOVQ a+8(FP), AX\n\tMOVQ b+16(FP), BX\n\tMOVQ c+24(FP), DX\n\tMOVQ from+32(FP), R10\n\tMOVQ ldc+40(FP), SI\n\tMOVQ mode+48(FP), DI")
	// The tile of c comes while the sums are made. R8 is its row in bytes: two bytes an element at least.
	p("LEAQ (SI)(SI*1), R8\n\tTESTQ $2, DI\n\tJNZ fetch\n\tSHLQ $1, R8")
	fmt.Fprint(w, "fetch:\n")
	p("MOVQ DX, R9")
	for i := 0; i < t.mr; i++ {
		p("PREFETCHT0 (R9)")
		if t.nv*vec > 64 {
			p("PREFETCHT0 64(R9)")
		}
		p("ADDQ R8, R9")
	}
	for i := 0; i < first; i++ {
		p("VXORPS %s, %s, %s", t.r(i), t.r(i), t.r(i))
	}
	step := func(u int) {
		for j := 0; j < t.nv; j++ {
			p("VMOVUPS %d(BX), %s", u*vec*t.nv+j*vec, t.r(first+j))
		}
		for i := 0; i < t.mr; i++ {
			at := (u*t.mr + i) * 4
			if t.reg == "Y" {
				p("VBROADCASTSS %d(AX), %s", at, t.r(first+t.nv+i%2))
			}
			for j := 0; j < t.nv; j++ {
				switch {
				case t.pairs:
					p("%s // VDPBF16PS.BCST %d(AX), Z%d, Z%d", dpbf16(acc(i, j), first+j, at), at, first+j, acc(i, j))
				case t.reg == "Z":
					p("VFMADD231PS.BCST %d(AX), Z%d, Z%d", at, first+j, acc(i, j))
				default:
					p("VFMADD231PS %s, %s, %s", t.r(first+j), t.r(first+t.nv+i%2), t.r(acc(i, j)))
				}
			}
		}
	}
	const unroll = 4
	fmt.Fprintf(w, "\tCMPQ CX, $%d\n\tJLT tail\nloop:\n", unroll)
	for u := 0; u < unroll; u++ {
		step(u)
	}
	p("ADDQ $%d, AX\n\tADDQ $%d, BX\n\tSUBQ $%d, CX\n\tCMPQ CX, $%d\n\tJGE loop", unroll*t.mr*4, unroll*vec*t.nv, unroll, unroll)
	fmt.Fprint(w, "tail:\n\tTESTQ CX, CX\n\tJZ done\none:\n")
	step(0)
	p("ADDQ $%d, AX\n\tADDQ $%d, BX\n\tDECQ CX\n\tJNZ one", t.mr*4, vec*t.nv)

	// The modes of storing; see the constants in gemm.go.
	alpha, tmp := first, first+1
	fmt.Fprintf(w, "done:\n\tVBROADCASTSS alpha+56(FP), %s\n", t.r(alpha))
	each := func(size int, f func(r, at int)) {
		p("SHLQ $%d, SI", size/2)
		for i := 0; i < t.mr; i++ {
			for j := 0; j < t.nv; j++ {
				f(acc(i, j), j*t.width*size)
			}
			p("ADDQ SI, DX\n\tADDQ SI, R10")
		}
		p("VZEROUPPER\n\tRET")
	}
	if t.pairs {
		p("CMPQ DI, $2\n\tJE bf16\n\tCMPQ DI, $3\n\tJE addbf16")
	}
	p("TESTQ DI, DI\n\tJNZ add")
	each(4, func(r, at int) {
		p("VMULPS %s, %s, %s\n\tVMOVUPS %s, %d(DX)", t.r(r), t.r(alpha), t.r(r), t.r(r), at)
	})
	fmt.Fprint(w, "add:\n")
	each(4, func(r, at int) {
		p("VFMADD213PS %d(R10), %s, %s\n\tVMOVUPS %s, %d(DX)", at, t.r(alpha), t.r(r), t.r(r), at)
	})
	if t.pairs {
		fmt.Fprint(w, "bf16:\n")
		each(2, func(r, at int) {
			p("VMULPS %s, %s, %s\n\t%s // VCVTNEPS2BF16 Z%d, Y%d\n\tVMOVUPS Y%d, %d(DX)", t.r(r), t.r(alpha), t.r(r), cvtbf16(r), r, r, r, at)
		})
		fmt.Fprint(w, "addbf16:\n")
		each(2, func(r, at int) {
			p("VPMOVZXWD %d(R10), Z%d\n\tVPSLLD $16, Z%d, Z%d\n\tVFMADD213PS Z%d, Z%d, Z%d", at, tmp, tmp, tmp, tmp, alpha, r)
			p("%s // VCVTNEPS2BF16 Z%d, Y%d\n\tVMOVUPS Y%d, %d(DX)", cvtbf16(r), r, r, r, at)
		})
	}
}

// Go's assembler does not know the AVX512_BF16 instructions: these are their bytes. An EVEX prefix
// holds the high bits of register numbers inverted.
func inv(x, bit int) int { return ^x >> bit & 1 }

// dpbf16 is VDPBF16PS dst, b, [AX+disp]{1to16}: EVEX.512.F3.0F38.W0 52 /r.
func dpbf16(dst, b, disp int) string {
	p0 := inv(dst, 3)<<7 | 1<<6 | 1<<5 | inv(dst, 4)<<4 | 2
	p1 := (^b&15)<<3 | 1<<2 | 2
	p2 := 2<<5 | 1<<4 | inv(b, 4)<<3
	return fmt.Sprintf("LONG $0x%02x%02x%02x62; BYTE $0x52; BYTE $0x%02x; LONG $0x%08x", p2, p1, p0, 0x80|(dst&7)<<3, disp)
}

// cvtbf16 is VCVTNEPS2BF16 ymm r, zmm r: EVEX.512.F3.0F38.W0 72 /r.
func cvtbf16(r int) string {
	p0 := inv(r, 3)<<7 | inv(r, 4)<<6 | inv(r, 3)<<5 | inv(r, 4)<<4 | 2
	p1 := 15<<3 | 1<<2 | 2
	p2 := 2<<5 | 1<<3
	return fmt.Sprintf("LONG $0x%02x%02x%02x62; WORD $0x%02x72", p2, p1, p0, 0xc0|(r&7)<<3|r&7)
}
