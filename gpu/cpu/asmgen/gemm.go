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
	{avx512, 14, 2, false}, {avx512, 14, 1, false}, {avx512, 8, 2, false}, {avx512, 4, 2, false}, {avx512, 1, 2, false},
	{avx512, 14, 2, true}, {avx512, 14, 1, true}, {avx512, 8, 2, true}, {avx512, 4, 2, true}, {avx512, 1, 2, true},
	{avx2, 6, 2, false}, {avx2, 1, 2, false},
}

func (t tile) name() string {
	kind := "F32"
	if t.pairs {
		kind = "BF16"
	}
	return fmt.Sprintf("gemm%s%s%dx%d", kind, t.suffix, t.mr, t.nv*t.width)
}

// The registers of a tile: the sums, then columns of B, with an element of A after them where an instruction cannot
// read it from memory. Once the sums are made, columns give way to alpha and to what is added.
func (t tile) sum(i, j int) int { return i*t.nv + j }
func (t tile) columns() int     { return t.mr * t.nv }

func (t tile) write(w io.Writer) {
	fmt.Fprintf(w, "\n// func %s(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)\n", t.name())
	fmt.Fprintf(w, "TEXT ·%s(SB), NOSPLIT, $0-60\n", t.name())
	line(w, "MOVQ k+0(FP), CX\n\tMOVQ a+8(FP), AX\n\tMOVQ b+16(FP), BX\n\tMOVQ c+24(FP), DX\n\t"+
		"MOVQ from+32(FP), R10\n\tMOVQ ldc+40(FP), SI\n\tMOVQ mode+48(FP), DI")
	t.fetch(w)
	for i := range t.columns() {
		line(w, "VXORPS %s, %s, %s", t.r(i), t.r(i), t.r(i))
	}
	t.multiply(w)
	t.store(w)
}

// fetch has the tile of c come while the sums are made. R8 is its row in bytes: two bytes an element at least.
func (t tile) fetch(w io.Writer) {
	line(w, "LEAQ (SI)(SI*1), R8\n\tTESTQ $2, DI\n\tJNZ fetch\n\tSHLQ $1, R8")
	fmt.Fprint(w, "fetch:\n")
	line(w, "MOVQ DX, R9")
	for range t.mr {
		line(w, "PREFETCHT0 (R9)")
		if t.nv*t.vec() > 64 {
			line(w, "PREFETCHT0 64(R9)")
		}
		line(w, "ADDQ R8, R9")
	}
}

// multiply adds up the products of CX columns of A and rows of B, four at a time.
func (t tile) multiply(w io.Writer) {
	const unroll = 4
	row := t.vec() * t.nv
	fmt.Fprintf(w, "\tCMPQ CX, $%d\n\tJLT tail\nloop:\n", unroll)
	for u := range unroll {
		t.step(w, u)
	}
	line(w, "ADDQ $%d, AX\n\tADDQ $%d, BX\n\tSUBQ $%d, CX\n\tCMPQ CX, $%d\n\tJGE loop",
		unroll*t.mr*4, unroll*row, unroll, unroll)
	fmt.Fprint(w, "tail:\n\tTESTQ CX, CX\n\tJZ done\none:\n")
	t.step(w, 0)
	line(w, "ADDQ $%d, AX\n\tADDQ $%d, BX\n\tDECQ CX\n\tJNZ one", t.mr*4, row)
}

// step adds the products of column u of A from AX on and row u of B from BX on.
func (t tile) step(w io.Writer, u int) {
	b, vec := t.columns(), t.vec()
	for j := range t.nv {
		line(w, "VMOVUPS %d(BX), %s", u*vec*t.nv+j*vec, t.r(b+j))
	}
	for i := range t.mr {
		at := (u*t.mr + i) * 4
		a := t.r(b + t.nv + i%2)
		if t.reg == "Y" {
			line(w, "VBROADCASTSS %d(AX), %s", at, a)
		}
		for j := range t.nv {
			sum := t.sum(i, j)
			switch {
			case t.pairs:
				line(w, "%s // VDPBF16PS.BCST %d(AX), Z%d, Z%d", dpbf16(sum, b+j, at), at, b+j, sum)
			case t.reg == "Z":
				line(w, "VFMADD231PS.BCST %d(AX), Z%d, Z%d", at, b+j, sum)
			default:
				line(w, "VFMADD231PS %s, %s, %s", t.r(b+j), a, t.r(sum))
			}
		}
	}
}

// store writes the tile in one of the modes; see the constants in gemm.go.
func (t tile) store(w io.Writer) {
	alpha, tmp := t.columns(), t.columns()+1
	fmt.Fprintf(w, "done:\n\tVBROADCASTSS alpha+56(FP), %s\n", t.r(alpha))
	if t.pairs {
		line(w, "CMPQ DI, $2\n\tJE bf16\n\tCMPQ DI, $3\n\tJE addbf16")
	}
	line(w, "TESTQ DI, DI\n\tJNZ add")
	t.each(w, 4, func(r, at int) {
		line(w, "VMULPS %s, %s, %s\n\tVMOVUPS %s, %d(DX)", t.r(r), t.r(alpha), t.r(r), t.r(r), at)
	})
	fmt.Fprint(w, "add:\n")
	t.each(w, 4, func(r, at int) {
		line(w, "VFMADD213PS %d(R10), %s, %s\n\tVMOVUPS %s, %d(DX)", at, t.r(alpha), t.r(r), t.r(r), at)
	})
	if !t.pairs {
		return
	}
	round := func(r, at int) {
		line(w, "%s // VCVTNEPS2BF16 Z%d, Y%d\n\tVMOVUPS Y%d, %d(DX)", cvtbf16(r), r, r, r, at)
	}
	fmt.Fprint(w, "bf16:\n")
	t.each(w, 2, func(r, at int) {
		line(w, "VMULPS %s, %s, %s", t.r(r), t.r(alpha), t.r(r))
		round(r, at)
	})
	fmt.Fprint(w, "addbf16:\n")
	t.each(w, 2, func(r, at int) {
		line(w, "VPMOVZXWD %d(R10), Z%d\n\tVPSLLD $16, Z%d, Z%d\n\tVFMADD213PS Z%d, Z%d, Z%d",
			at, tmp, tmp, tmp, tmp, alpha, r)
		round(r, at)
	})
}

// each writes what f does with each sum r and its place in a row of c, of elements of a size in bytes, and returns.
func (t tile) each(w io.Writer, size int, f func(r, at int)) {
	line(w, "SHLQ $%d, SI", size/2)
	for i := range t.mr {
		for j := range t.nv {
			f(t.sum(i, j), j*t.width*size)
		}
		line(w, "ADDQ SI, DX\n\tADDQ SI, R10")
	}
	line(w, "VZEROUPPER\n\tRET")
}

// Go's assembler does not know the AVX512_BF16 instructions: these are their bytes. An EVEX prefix
// holds the high bits of register numbers inverted.
func inv(x, bit int) int { return ^x >> bit & 1 }

// dpbf16 is VDPBF16PS dst, b, [AX+disp]{1to16}: EVEX.512.F3.0F38.W0 52 /r.
func dpbf16(dst, b, disp int) string {
	p0 := inv(dst, 3)<<7 | 1<<6 | 1<<5 | inv(dst, 4)<<4 | 2
	p1 := (^b&15)<<3 | 1<<2 | 2
	p2 := 2<<5 | 1<<4 | inv(b, 4)<<3
	return fmt.Sprintf("LONG $0x%02x%02x%02x62; BYTE $0x52; BYTE $0x%02x; LONG $0x%08x",
		p2, p1, p0, 0x80|(dst&7)<<3, disp)
}

// cvtbf16 is VCVTNEPS2BF16 ymm r, zmm r: EVEX.512.F3.0F38.W0 72 /r.
func cvtbf16(r int) string {
	p0 := inv(r, 3)<<7 | inv(r, 4)<<6 | inv(r, 3)<<5 | inv(r, 4)<<4 | 2
	p1 := 15<<3 | 1<<2 | 2
	p2 := 2<<5 | 1<<3
	return fmt.Sprintf("LONG $0x%02x%02x%02x62; WORD $0x%02x72", p2, p1, p0, 0xc0|(r&7)<<3|r&7)
}
