package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"io"
	"math"
	"strings"
)

// pool holds the constants of all loops, each as wide as an AVX2 register.
type pool struct{ values []float32 }

// at is the byte offset of a constant.
func (p *pool) at(x float32) int {
	for i, v := range p.values {
		if math.Float32bits(v) == math.Float32bits(x) {
			return 32 * i
		}
	}
	p.values = append(p.values, x)
	return 32 * (len(p.values) - 1)
}

func (p *pool) write(w io.Writer) {
	fmt.Fprintln(w)
	for i, c := range p.values {
		bits := uint64(math.Float32bits(c))
		for lane := 0; lane < 4; lane++ {
			fmt.Fprintf(w, "DATA consts<>+%d(SB)/8, $0x%x\n", 32*i+8*lane, bits<<32|bits)
		}
	}
	fmt.Fprintf(w, "GLOBL consts<>(SB), RODATA|NOPTR, $%d\n", 32*len(p.values))
}

// value is where the value of an expression is: in a register, in an element of a slice, in a scalar
// parameter, or among the constants.
type value struct {
	kind  valueKind
	reg   int
	temp  bool   // the register is given back after use
	name  string // of the slice or parameter
	at    int    // offset of the parameter or constant
	index int    // of the slice
	half  bool   // the slice is of bf16
}

type valueKind uint8

const (
	inRegister valueKind = iota
	inSlice
	inParameter
	inConstants
)

// operation is what a machine can do with three registers, the last the result.
type operation uint8

const (
	opAdd operation = iota
	opSub           // dst = b - a
	opMul
	opDiv // dst = b / a
	opMax
	opMin
	opFMA  // dst += a b
	opFNMA // dst -= a b
	opFMS  // dst = a b - dst
	opFMA3 // dst = dst b + a
)

// machine writes the code of an instruction set. Registers are numbered.
type machine interface {
	name() string
	lanes() int
	registers() int
	begin(l *loop)                        // loads the length and the slices' pointers
	head()                                // the loop starts here
	next()                                // the next elements, back to head while there are any
	end(l *loop, regs []int, results int) // stores first lanes to the results and returns
	load(v value, dst int)                // broadcasts what is one element
	store(src, slice int)                 // to the elements under way
	do(op operation, a value, b, dst int) // a may be anywhere; tmp registers come from scratch
	move(src, dst int)
	zero(dst int)
	negate(src, dst int)
	sqrt(src, dst int)
	exponent(n, y int)           // y = y 2^n, n in the low bits of its register
	join(op operation, r, t int) // folds the lanes into the first; t is a spare register
	scratch(alloc func() int, free func(int))
}

// many registers have room for the scalars of any loop, beside what it computes with.
const many = 32

// compiler turns one loop into code for one machine.
type compiler struct {
	machine
	l      *loop
	consts *pool
	used   []bool
	vars   map[string]int // locals and results in registers
	joins  map[string]operation
	frame  map[string]int // offsets of scalars
}

func (l *loop) compile(w io.Writer, m machine, consts *pool) {
	c := &compiler{machine: m, l: l, consts: consts, used: make([]bool, m.registers()), vars: map[string]int{},
		joins: map[string]operation{}, frame: map[string]int{}}
	at := 8 + 8*len(l.slices)
	sig := "n int, " + l.params("*")
	for _, s := range l.scalars {
		c.frame[s] = at
		at += 4
	}
	size := at
	if len(l.results) > 0 {
		at = (at + 7) / 8 * 8
		size = at + 4*len(l.results)
		sig += ") (" + strings.Join(l.results, ", ") + " float32"
	}
	fmt.Fprintf(w, "\n// func %s%s(%s)\nTEXT ·%s%s(SB), NOSPLIT, $0-%d\n",
		l.name, m.name(), sig, l.name, m.name(), size)
	c.scratch(c.alloc, func(r int) { c.used[r] = false })
	c.begin(l)
	for _, s := range l.body {
		a := s.(*ast.AssignStmt)
		id, ok := a.Lhs[0].(*ast.Ident)
		if !ok || !c.isResult(id.Name) {
			continue
		}
		r := c.alloc()
		c.vars[id.Name] = r
		if a.Tok == token.ADD_ASSIGN {
			c.joins[id.Name] = opAdd
			c.zero(r)
		} else {
			c.joins[id.Name] = opMax
			c.load(c.number(float32(math.Inf(-1))), r)
		}
	}
	if m.registers() >= many { // scalars stay in registers
		for _, s := range l.scalars {
			r := c.alloc()
			c.load(value{kind: inParameter, name: s, at: c.frame[s]}, r)
			c.vars[s] = r
		}
	}
	c.head()
	for _, s := range l.body {
		c.stmt(s.(*ast.AssignStmt))
	}
	c.next()
	var regs []int
	for _, s := range l.results {
		t := c.alloc()
		c.join(c.joins[s], c.vars[s], t)
		c.used[t] = false
		regs = append(regs, c.vars[s])
	}
	c.end(l, regs, at)
}

func (c *compiler) isResult(name string) bool {
	for _, r := range c.l.results {
		if r == name {
			return true
		}
	}
	return false
}

func (c *compiler) alloc() int {
	for i, u := range c.used {
		if !u {
			c.used[i] = true
			return i
		}
	}
	panic("asmgen: " + c.l.name + " needs more registers than there are")
}

// free gives a temporary back; locals stay.
func (c *compiler) free(v value) {
	if v.kind == inRegister && v.temp {
		c.used[v.reg] = false
	}
}

func (c *compiler) number(x float32) value { return value{kind: inConstants, at: c.consts.at(x)} }

func (c *compiler) slice(e *ast.IndexExpr) int {
	for i, s := range c.l.slices {
		if s == e.X.(*ast.Ident).Name {
			return i
		}
	}
	panic("asmgen: unknown slice in " + c.l.name)
}

func (c *compiler) stmt(a *ast.AssignStmt) {
	rhs := a.Rhs[0]
	switch lhs := a.Lhs[0].(type) {
	case *ast.IndexExpr: // y[i] = e
		v := c.register(c.expr(rhs))
		c.store(v.reg, c.slice(lhs))
		c.free(v)
	case *ast.Ident:
		switch {
		case a.Tok == token.ADD_ASSIGN: // s += e
			if m := product(rhs); m != nil {
				c.fma(opFMA, c.expr(m.X), c.expr(m.Y), c.vars[lhs.Name])
				return
			}
			v := c.expr(rhs)
			c.do(opAdd, v, c.vars[lhs.Name], c.vars[lhs.Name])
			c.free(v)
		case a.Tok == token.ASSIGN: // s = max(s, e)
			v := c.register(c.expr(rhs.(*ast.CallExpr).Args[1]))
			acc := c.vars[lhs.Name]
			c.do(opMax, value{reg: acc}, v.reg, acc)
			c.free(v)
		default: // x := e
			v := c.own(c.register(c.expr(rhs)))
			c.vars[lhs.Name] = v.reg // stays allocated
		}
	}
}

// register loads v if it is not in a register.
func (c *compiler) register(v value) value {
	if v.kind == inRegister {
		return v
	}
	r := c.alloc()
	c.load(v, r)
	return value{reg: r, temp: true}
}

// own copies a local into a register that may be overwritten.
func (c *compiler) own(v value) value {
	if v.temp {
		return v
	}
	r := c.alloc()
	c.move(v.reg, r)
	return value{reg: r, temp: true}
}

// result picks the register of a result: one of the temporaries it is made from, or a new one.
func (c *compiler) result(vs ...value) int {
	for _, v := range vs {
		if v.kind == inRegister && v.temp {
			return v.reg
		}
	}
	return c.alloc()
}

// fma changes dst by the product x y.
func (c *compiler) fma(op operation, x, y value, dst int) {
	if x.kind != inRegister && y.kind == inRegister {
		x, y = y, x
	}
	x = c.register(x)
	c.do(op, y, x.reg, dst)
	c.free(x)
	c.free(y)
}

func (c *compiler) expr(e ast.Expr) value {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return c.expr(e.X)
	case *ast.BasicLit:
		tv, err := types.Eval(token.NewFileSet(), nil, 0, types.ExprString(e))
		check(err)
		f, _ := constant.Float32Val(tv.Value)
		return c.number(f)
	case *ast.Ident:
		if r, ok := c.vars[e.Name]; ok {
			return value{reg: r}
		}
		return value{kind: inParameter, name: e.Name, at: c.frame[e.Name]}
	case *ast.IndexExpr:
		i := c.slice(e)
		return value{kind: inSlice, index: i, half: c.l.halves[c.l.slices[i]]}
	case *ast.UnaryExpr:
		v := c.register(c.expr(e.X))
		dst := c.result(v)
		c.negate(v.reg, dst)
		return value{reg: dst, temp: true}
	case *ast.CallExpr:
		return c.call(e)
	case *ast.BinaryExpr:
		return c.binary(e)
	}
	panic(fmt.Sprintf("asmgen: %s: %T is not known", c.l.name, e))
}

func (c *compiler) binary(e *ast.BinaryExpr) value {
	switch e.Op {
	case token.ADD, token.SUB:
		// x y + z, x y - z and z - x y are one instruction.
		mul, other, op := product(e.X), e.Y, opFMA
		if m := product(e.Y); m != nil {
			mul, other = m, e.X
			if e.Op == token.SUB {
				op = opFNMA
			}
		} else if mul != nil && e.Op == token.SUB {
			op = opFMS
		}
		if mul != nil {
			x, y := c.expr(mul.X), c.expr(mul.Y)
			z := c.own(c.register(c.expr(other)))
			c.fma(op, x, y, z.reg)
			return z
		}
		if e.Op == token.ADD {
			return c.plain(opAdd, e.X, e.Y, true)
		}
		return c.plain(opSub, e.X, e.Y, false)
	case token.MUL:
		return c.plain(opMul, e.X, e.Y, true)
	case token.QUO:
		return c.plain(opDiv, e.X, e.Y, false)
	}
	panic("asmgen: operator " + e.Op.String())
}

// product gives e as a multiplication, nil if it is none.
func product(e ast.Expr) *ast.BinaryExpr {
	for {
		switch x := e.(type) {
		case *ast.ParenExpr:
			e = x.X
			continue
		case *ast.BinaryExpr:
			if x.Op == token.MUL {
				return x
			}
		}
		return nil
	}
}

func (c *compiler) plain(op operation, x, y ast.Expr, commutes bool) value {
	a, b := c.expr(x), c.expr(y)
	if commutes && a.kind != inRegister && b.kind == inRegister {
		a, b = b, a
	}
	a = c.register(a)
	dst := c.result(a, b)
	c.do(op, b, a.reg, dst)
	for _, v := range []value{a, b} {
		if v.reg != dst {
			c.free(v)
		}
	}
	return value{reg: dst, temp: true}
}

func (c *compiler) call(e *ast.CallExpr) value {
	switch fn := e.Fun.(*ast.Ident).Name; fn {
	case "sqrt32":
		v := c.register(c.expr(e.Args[0]))
		dst := c.result(v)
		c.sqrt(v.reg, dst)
		return value{reg: dst, temp: true}
	case "max":
		return c.plain(opMax, e.Args[0], e.Args[1], false)
	case "half32": // loading widens
		return c.expr(e.Args[0])
	case "exp32":
		return c.exp(c.own(c.register(c.expr(e.Args[0]))))
	default:
		panic("asmgen: function " + fn)
	}
}

// exp is exp32 of exp.go on vectors: x clamped, n = round(x log2 e) by adding 1.5·2^23, r = x - n ln 2
// in two parts, e^r by its Taylor polynomial, n added to the exponent. A NaN stays one.
func (c *compiler) exp(x value) value {
	t, n, y := c.alloc(), c.alloc(), c.alloc()
	c.load(c.number(-87), t)
	c.do(opMax, x, t, x.reg)
	c.load(c.number(88), t)
	c.do(opMin, x, t, x.reg)
	c.load(c.number(12582912), t)
	c.do(opMul, c.number(1.4426950408889634), x.reg, n)
	c.do(opAdd, value{reg: t}, n, n)
	c.do(opSub, value{reg: t}, n, t)
	c.do(opFNMA, c.number(0.693359375), t, x.reg)
	c.do(opFNMA, c.number(-2.12194440e-4), t, x.reg)
	c.load(c.number(1.0/5040), y)
	for _, f := range []float32{1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1} {
		c.do(opFMA3, c.number(f), x.reg, y)
	}
	c.exponent(n, y)
	c.used[t], c.used[n], c.used[x.reg] = false, false, false
	return value{reg: y, temp: true}
}
