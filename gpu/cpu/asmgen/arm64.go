package main

import (
	"fmt"
	"io"
)

// neon writes loops, tiles and conversions for arm64. Go's assembler lacks most of NEON's
// floating-point instructions: they are written as the words they are.
type neon struct {
	w     io.Writer
	steps []int // bytes of each slice that an iteration reads
	alloc func() int
	free  func(int)
}

func (m *neon) p(format string, args ...any) { fmt.Fprintf(m.w, "\t"+format+"\n", args...) }

// word writes an instruction of registers d = n op m, with its name for the reader.
func (m *neon) word(base uint32, name string, d, n, r int) {
	m.p("WORD $0x%08x // %s V%d.4S, V%d.4S, V%d.4S", base|uint32(r)<<16|uint32(n)<<5|uint32(d), name, d, n, r)
}

// word2 writes an instruction of registers d = op n.
func (m *neon) word2(base uint32, name string, d, n int) {
	m.p("WORD $0x%08x // %s V%d.4S, V%d.4S", base|uint32(n)<<5|uint32(d), name, d, n)
}

func (m *neon) name() string   { return "NEON" }
func (m *neon) lanes() int     { return 4 }
func (m *neon) registers() int { return 32 }

func (m *neon) scratch(alloc func() int, free func(int)) { m.alloc, m.free = alloc, free }

// R0 counts down; the slices lie at R1 and following, the constants at R20.
func (m *neon) begin(l *loop) {
	m.steps = nil
	m.p("MOVD n+0(FP), R0")
	for i, s := range l.slices {
		m.p("MOVD %s+%d(FP), R%d", s, 8+8*i, i+1)
		step := 16
		if l.halves[s] {
			step = 8
		}
		m.steps = append(m.steps, step)
	}
	m.p("MOVD $consts<>(SB), R20")
}

func (m *neon) head() { fmt.Fprint(m.w, "loop:\n") }

func (m *neon) next() {
	for i, step := range m.steps {
		m.p("ADD $%d, R%d", step, i+1)
	}
	m.p("SUBS $4, R0\n\tBGT loop")
}

func (m *neon) end(l *loop, regs []int, results int) {
	for i, s := range l.results {
		m.p("FMOVS F%d, %s+%d(FP)", regs[i], s, results+4*i)
	}
	m.p("RET")
}

func (m *neon) load(v value, dst int) {
	switch {
	case v.half:
		m.p("VLD1 (R%d), [V%d.H4]", v.index+1, dst)
		m.wordOf(0x2E613800, fmt.Sprintf("SHLL V%d.4S, V%d.4H, #16", dst, dst), dst, dst)
	case v.kind == inSlice:
		m.p("VLD1 (R%d), [V%d.S4]", v.index+1, dst)
	case v.kind == inParameter:
		m.p("FMOVS %s+%d(FP), F%d\n\tVDUP V%d.S[0], V%d.S4", v.name, v.at, dst, dst, dst)
	default:
		m.p("FMOVQ %d(R20), F%d", v.at, dst)
	}
}

func (m *neon) store(src, slice int) { m.p("VST1 [V%d.S4], (R%d)", src, slice+1) }

var neonOps = map[operation]struct {
	base uint32
	name string
}{opAdd: {0x4E20D400, "FADD"}, opSub: {0x4EA0D400, "FSUB"}, opMul: {0x6E20DC00, "FMUL"}, opDiv: {0x6E20FC00, "FDIV"},
	opMax: {0x4E20F400, "FMAX"}, opMin: {0x4EA0F400, "FMIN"}, opFMA: {0x4E20CC00, "FMLA"}, opFNMA: {0x4EA0CC00, "FMLS"}}

func (m *neon) do(op operation, a value, b, dst int) {
	t := -1
	if a.kind != inRegister {
		t = m.alloc()
		m.load(a, t)
		a = value{reg: t}
	}
	switch op {
	case opFMS:
		m.negate(dst, dst)
		m.do(opFMA, a, b, dst)
	case opFMA3: // dst = dst b + a, by way of the addend's register
		if t < 0 {
			t = m.alloc()
			m.move(a.reg, t)
		}
		m.word(neonOps[opFMA].base, "FMLA", t, dst, b)
		m.move(t, dst)
	default:
		o := neonOps[op]
		m.word(o.base, o.name, dst, b, a.reg)
	}
	if t >= 0 {
		m.free(t)
	}
}

func (m *neon) move(src, dst int) { m.p("VMOV V%d.B16, V%d.B16", src, dst) }
func (m *neon) zero(dst int)      { m.p("VEOR V%d.B16, V%d.B16, V%d.B16", dst, dst, dst) }

func (m *neon) negate(src, dst int) { m.word2(0x6EA0F800, "FNEG", dst, src) }
func (m *neon) sqrt(src, dst int)   { m.word2(0x6EA1F800, "FSQRT", dst, src) }

func (m *neon) exponent(n, y int) {
	m.p("VSHL $23, V%d.S4, V%d.S4\n\tVADD V%d.S4, V%d.S4, V%d.S4", n, n, n, y, y)
}

func (m *neon) join(op operation, r, t int) {
	o := neonOps[op]
	m.p("VEXT $8, V%d.B16, V%d.B16, V%d.B16", r, r, t)
	m.word(o.base, o.name, r, r, t)
	m.p("VDUP V%d.S[1], V%d.S4", r, t)
	m.word(o.base, o.name, r, r, t)
}

// tile writes the 8x12 micro-kernel: 24 accumulators, three registers of B, two of A, whose lanes
// multiply one at a time.
func (m *neon) tile() {
	const mr, nv = 8, 3
	acc := func(i, j int) int { return i*nv + j }
	fmt.Fprint(m.w, "\n// func gemmF32NEON8x12(k int, a, b, c, from unsafe.Pointer, ldc, mode int, alpha float32)\n"+
		"TEXT ·gemmF32NEON8x12(SB), NOSPLIT, $0-60\n")
	m.p("MOVD k+0(FP), R0\n\tMOVD a+8(FP), R1\n\tMOVD b+16(FP), R2\n\tMOVD c+24(FP), R3\n\tMOVD from+32(FP), R6\n" +
		"\tMOVD ldc+40(FP), R4\n\tMOVD mode+48(FP), R5\n\tLSL $2, R4")
	for i := 0; i < mr*nv; i++ {
		m.zero(i)
	}
	fmt.Fprint(m.w, "loop:\n")
	m.p("VLD1.P 32(R1), [V27.S4, V28.S4]\n\tVLD1.P 48(R2), [V24.S4, V25.S4, V26.S4]")
	for i := 0; i < mr; i++ {
		for j := 0; j < nv; j++ {
			// FMLA by element: the lane's bits are L and H.
			lane, a := i%4, 27+i/4
			m.p("WORD $0x%08x // FMLA V%d.4S, V%d.4S, V%d.S[%d]",
				0x4F801000|uint32(lane&1)<<21|uint32(a)<<16|uint32(lane>>1)<<11|uint32(24+j)<<5|uint32(acc(i, j)),
				acc(i, j), 24+j, a, lane)
		}
	}
	m.p("SUBS $1, R0\n\tBGT loop")
	m.p("FMOVS alpha+56(FP), F31\n\tVDUP V31.S[0], V31.S4\n\tCBNZ R5, add")
	for _, add := range []bool{false, true} {
		if add {
			fmt.Fprint(m.w, "add:\n")
		}
		for i := 0; i < mr; i++ {
			if add {
				m.p("VLD1 (R6), [V24.S4, V25.S4, V26.S4]\n\tADD R4, R6")
				for j := 0; j < nv; j++ {
					m.word(neonOps[opFMA].base, "FMLA", 24+j, acc(i, j), 31)
				}
			} else {
				for j := 0; j < nv; j++ {
					m.word(neonOps[opMul].base, "FMUL", 24+j, acc(i, j), 31)
				}
			}
			m.p("VST1 [V24.S4, V25.S4, V26.S4], (R3)\n\tADD R4, R3")
		}
		m.p("RET")
	}
}
