package main

import (
	"fmt"
	"io"
)

// isa is an instruction set of amd64.
type isa struct {
	suffix string // of the functions
	reg    string // register letter
	width  int    // float32 in a register
	count  int    // registers
}

var (
	avx512 = isa{"AVX512", "Z", 16, 32}
	avx2   = isa{"AVX2", "Y", 8, 16}
)

// vec is the size of a register in bytes.
func (v isa) vec() int { return v.width * 4 }

func (v isa) r(i int) string { return fmt.Sprintf("%s%d", v.reg, i) }

// x86 writes loops for amd64.
type x86 struct {
	isa
	w     io.Writer
	alloc func() int
	free  func(int)
}

var pointers = []string{"DI", "SI", "R8", "R9", "R10", "R11", "R12", "R13"}

func (m *x86) p(format string, args ...any) { fmt.Fprintf(m.w, "\t"+format+"\n", args...) }

func (m *x86) name() string   { return m.suffix }
func (m *x86) lanes() int     { return m.width }
func (m *x86) registers() int { return m.count }

func (m *x86) scratch(alloc func() int, free func(int)) { m.alloc, m.free = alloc, free }

func (m *x86) begin(l *loop) {
	m.p("MOVQ n+0(FP), CX")
	for i, s := range l.slices {
		m.p("MOVQ %s+%d(FP), %s", s, 8+8*i, pointers[i])
	}
	m.p("XORQ AX, AX")
}

func (m *x86) head() { fmt.Fprint(m.w, "loop:\n") }

func (m *x86) next() { m.p("ADDQ $%d, AX\n\tCMPQ AX, CX\n\tJLT loop", m.width) }

func (m *x86) end(l *loop, regs []int, results int) {
	for i, s := range l.results {
		m.p("VMOVSS X%d, %s+%d(FP)", regs[i], s, results+4*i)
	}
	m.p("VZEROUPPER\n\tRET")
}

// memory is the operand of a value that is not in a register; whole is set if it is as wide as one.
func (m *x86) memory(v value) (operand string, whole bool) {
	switch v.kind {
	case inSlice:
		return fmt.Sprintf("(%s)(AX*4)", pointers[v.index]), !v.half
	case inParameter:
		return fmt.Sprintf("%s+%d(FP)", v.name, v.at), false
	}
	return fmt.Sprintf("consts<>+%d(SB)", v.at), m.reg == "Y"
}

func (m *x86) load(v value, dst int) {
	operand, _ := m.memory(v)
	switch {
	case v.half:
		m.p("PREFETCHT0 2048(%s)(AX*2)\n\tVPMOVZXWD (%s)(AX*2), %s\n\tVPSLLD $16, %s, %s", pointers[v.index], pointers[v.index],
			m.r(dst), m.r(dst), m.r(dst))
	case v.kind == inSlice:
		m.p("VMOVUPS %s, %s", operand, m.r(dst))
	default:
		m.p("VBROADCASTSS %s, %s", operand, m.r(dst))
	}
}

func (m *x86) store(src, slice int) { m.p("VMOVUPS %s, (%s)(AX*4)", m.r(src), pointers[slice]) }

var x86ops = map[operation]string{opAdd: "VADDPS", opSub: "VSUBPS", opMul: "VMULPS", opDiv: "VDIVPS", opMax: "VMAXPS",
	opMin: "VMINPS",
	opFMA: "VFMADD231PS", opFNMA: "VFNMADD231PS", opFMS: "VFMSUB231PS", opFMA3: "VFMADD213PS"}

// The first operand of an instruction may be memory.
func (m *x86) do(op operation, a value, b, dst int) {
	if a.kind == inRegister {
		m.p("%s %s, %s, %s", x86ops[op], m.r(a.reg), m.r(b), m.r(dst))
		return
	}
	operand, whole := m.memory(a)
	switch {
	case whole:
		m.p("%s %s, %s, %s", x86ops[op], operand, m.r(b), m.r(dst))
	case a.kind == inConstants:
		m.p("%s.BCST %s, %s, %s", x86ops[op], operand, m.r(b), m.r(dst))
	default:
		t := m.alloc()
		m.load(a, t)
		m.p("%s %s, %s, %s", x86ops[op], m.r(t), m.r(b), m.r(dst))
		m.free(t)
	}
}

func (m *x86) move(src, dst int) { m.p("VMOVAPS %s, %s", m.r(src), m.r(dst)) }

func (m *x86) zero(dst int) { m.p("VXORPS %s, %s, %s", m.r(dst), m.r(dst), m.r(dst)) }

func (m *x86) negate(src, dst int) {
	t := m.alloc()
	m.zero(t)
	m.p("VSUBPS %s, %s, %s", m.r(src), m.r(t), m.r(dst))
	m.free(t)
}

func (m *x86) sqrt(src, dst int) { m.p("VSQRTPS %s, %s", m.r(src), m.r(dst)) }

func (m *x86) exponent(n, y int) {
	m.p("VPSLLD $23, %s, %s\n\tVPADDD %s, %s, %s", m.r(n), m.r(n), m.r(n), m.r(y), m.r(y))
}

// Halves first.
func (m *x86) join(op operation, r, t int) {
	o := x86ops[op]
	if m.reg == "Z" {
		m.p("VEXTRACTF64X4 $1, Z%d, Y%d\n\t%s Y%d, Y%d, Y%d", r, t, o, t, r, r)
	}
	m.p("VEXTRACTF128 $1, Y%d, X%d\n\t%s X%d, X%d, X%d", r, t, o, t, r, r)
	m.p("VPERMILPS $14, X%d, X%d\n\t%s X%d, X%d, X%d", r, t, o, t, r, r)
	m.p("VPERMILPS $1, X%d, X%d\n\t%s X%d, X%d, X%d", r, t, o, t, r, r)
}
