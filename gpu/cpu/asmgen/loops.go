package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"math"
	"strings"
)

// loop is a function of loops.go: it runs over slices of float32 of one length, element by element.
// The generator knows
//
//	for i := range y { ... }           one such loop, the whole body of the function
//	x := e; y[i] = e; s += e; s = max(s, e)
//	+ - * / and unary -, exp32(e), sqrt32(e), max(a, b), constants, scalar parameters
//
// A named result of type float32 is a sum (or a maximum) over the elements; it is kept in one lane
// an element modulo the register's width, and the lanes are joined at the end.
type loop struct {
	name    string
	slices  []string
	scalars []string
	results []string
	body    []ast.Stmt
	index   string
}

func parse(path string) (list []*loop) {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	check(err)
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || !strings.HasSuffix(fn.Name.Name, "Loop") {
			continue
		}
		l := &loop{name: strings.TrimSuffix(fn.Name.Name, "Loop")}
		for _, field := range fn.Type.Params.List {
			for _, n := range field.Names {
				if _, ok := field.Type.(*ast.ArrayType); ok {
					l.slices = append(l.slices, n.Name)
				} else {
					l.scalars = append(l.scalars, n.Name)
				}
			}
		}
		if fn.Type.Results != nil {
			for _, field := range fn.Type.Results.List {
				for _, n := range field.Names {
					l.results = append(l.results, n.Name)
				}
			}
		}
		for _, s := range fn.Body.List {
			if r, ok := s.(*ast.RangeStmt); ok {
				l.index, l.body = r.Key.(*ast.Ident).Name, r.Body.List
			}
		}
		list = append(list, l)
	}
	return list
}

// pool holds the constants of all loops, each as wide as an AVX2 register; AVX-512 broadcasts.
type pool struct{ values []float32 }

func (p *pool) at(x float32) string {
	for i, v := range p.values {
		if math.Float32bits(v) == math.Float32bits(x) {
			return fmt.Sprintf("consts<>+%d(SB)", 32*i)
		}
	}
	p.values = append(p.values, x)
	return fmt.Sprintf("consts<>+%d(SB)", 32*(len(p.values)-1))
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

// compiler turns one loop into code for one instruction set.
type compiler struct {
	isa
	w      io.Writer
	l      *loop
	consts *pool
	used   []bool
	vars   map[string]int // locals and results in registers
	accs   map[string]string
	ptr    map[string]string
	frame  map[string]int // offsets of scalars
}

var pointers = []string{"DI", "SI", "R8", "R9", "R10", "R11", "R12", "R13"}

func (l *loop) compile(w io.Writer, v isa, consts *pool) {
	c := &compiler{isa: v, w: w, l: l, consts: consts, used: make([]bool, v.regs), vars: map[string]int{}, accs: map[string]string{}, ptr: map[string]string{}, frame: map[string]int{}}
	at := 8
	sig := "n int"
	for i, s := range l.slices {
		c.ptr[s] = pointers[i]
		sig += ", " + s + " *float32"
		at += 8
	}
	for _, s := range l.scalars {
		c.frame[s] = at
		sig += ", " + s + " float32"
		at += 4
	}
	size := at
	if len(l.results) > 0 {
		at = (at + 7) / 8 * 8
		size = at + 4*len(l.results)
		sig += ") (" + strings.Join(l.results, ", ") + " float32"
	}
	fmt.Fprintf(w, "\n// func %s%s(%s)\nTEXT ·%s%s(SB), NOSPLIT, $0-%d\n", l.name, v.name, sig, l.name, v.name, size)
	c.p("MOVQ n+0(FP), CX")
	for i, s := range l.slices {
		c.p("MOVQ %s+%d(FP), %s", s, 8+8*i, c.ptr[s])
	}
	c.p("XORQ AX, AX")
	for _, s := range l.body {
		if a, ok := s.(*ast.AssignStmt); ok {
			if id, ok := a.Lhs[0].(*ast.Ident); ok && c.isResult(id.Name) {
				r := c.alloc()
				c.vars[id.Name] = r
				if a.Tok == token.ADD_ASSIGN {
					c.accs[id.Name] = "VADDPS"
					c.p("VXORPS %s, %s, %s", c.r(r), c.r(r), c.r(r))
				} else {
					c.accs[id.Name] = "VMAXPS"
					c.p("VBROADCASTSS %s, %s", c.consts.at(float32(math.Inf(-1))), c.r(r))
				}
			}
		}
	}
	fmt.Fprint(w, "loop:\n")
	for _, s := range l.body {
		c.stmt(s.(*ast.AssignStmt))
	}
	c.p("ADDQ $%d, AX\n\tCMPQ AX, CX\n\tJLT loop", v.lanes)
	for i, s := range l.results {
		c.join(c.vars[s], c.accs[s])
		c.p("VMOVSS X%d, %s+%d(FP)", c.vars[s], s, at+4*i)
	}
	c.p("VZEROUPPER\n\tRET")
}

func (c *compiler) p(format string, args ...any) { fmt.Fprintf(c.w, "\t"+format+"\n", args...) }

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
	if v.temp {
		c.used[v.reg] = false
	}
}

// value is a register, or memory that an instruction can read as its first operand.
type value struct {
	reg   int
	temp  bool
	mem   string
	bcast bool // mem is one element for all lanes
}

func (c *compiler) stmt(a *ast.AssignStmt) {
	rhs := a.Rhs[0]
	switch lhs := a.Lhs[0].(type) {
	case *ast.IndexExpr: // y[i] = e
		v := c.register(c.expr(rhs))
		c.p("VMOVUPS %s, %s", c.r(v.reg), c.element(lhs))
		c.free(v)
	case *ast.Ident:
		switch {
		case a.Tok == token.ADD_ASSIGN: // s += e
			if m, ok := rhs.(*ast.BinaryExpr); ok && m.Op == token.MUL {
				x, y := c.expr(m.X), c.expr(m.Y)
				c.fma("VFMADD231PS", x, y, c.vars[lhs.Name])
				return
			}
			v := c.expr(rhs)
			c.op("VADDPS", v, c.vars[lhs.Name], c.vars[lhs.Name])
			c.free(v)
		case a.Tok == token.ASSIGN: // s = max(s, e)
			v := c.register(c.expr(rhs.(*ast.CallExpr).Args[1]))
			acc := c.vars[lhs.Name]
			c.p("VMAXPS %s, %s, %s", c.r(acc), c.r(v.reg), c.r(acc)) // leaves a NaN out
			c.free(v)
		default: // x := e
			v := c.register(c.expr(rhs))
			if !v.temp {
				r := c.alloc()
				c.p("VMOVAPS %s, %s", c.r(v.reg), c.r(r))
				v.reg = r
			}
			c.vars[lhs.Name] = v.reg // stays allocated
		}
	}
}

func (c *compiler) element(x *ast.IndexExpr) string {
	return fmt.Sprintf("(%s)(AX*4)", c.ptr[x.X.(*ast.Ident).Name])
}

// op emits dst = b op a for an instruction whose first operand, a, may be memory.
func (c *compiler) op(name string, a value, b, dst int) {
	switch {
	case a.mem == "":
		c.p("%s %s, %s, %s", name, c.r(a.reg), c.r(b), c.r(dst))
	case !a.bcast || c.reg == "Y" && strings.HasPrefix(a.mem, "consts"): // constants are as wide as a register
		c.p("%s %s, %s, %s", name, a.mem, c.r(b), c.r(dst))
	case c.reg == "Z" && strings.HasPrefix(a.mem, "consts"):
		c.p("%s.BCST %s, %s, %s", name, a.mem, c.r(b), c.r(dst))
	default:
		t := c.alloc()
		c.p("VBROADCASTSS %s, %s\n\t%s %s, %s, %s", a.mem, c.r(t), name, c.r(t), c.r(b), c.r(dst))
		c.used[t] = false
	}
}

// register loads v if it is in memory.
func (c *compiler) register(v value) value {
	if v.mem == "" {
		return v
	}
	r := c.alloc()
	if v.bcast {
		c.p("VBROADCASTSS %s, %s", v.mem, c.r(r))
	} else {
		c.p("VMOVUPS %s, %s", v.mem, c.r(r))
	}
	return value{reg: r, temp: true}
}

// result picks the register of a result: one of the temporaries it is made from, or a new one.
func (c *compiler) result(vs ...value) int {
	for _, v := range vs {
		if v.mem == "" && v.temp {
			return v.reg
		}
	}
	return c.alloc()
}

// fma emits dst = x y + dst or its negated form.
func (c *compiler) fma(name string, x, y value, dst int) {
	if x.mem != "" && y.mem == "" {
		x, y = y, x
	}
	x = c.register(x)
	c.op(name, y, x.reg, dst)
	c.free(x)
	c.free(y)
}

func (c *compiler) expr(e ast.Expr) value {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return c.expr(e.X)
	case *ast.BasicLit:
		return c.constant(e)
	case *ast.Ident:
		if r, ok := c.vars[e.Name]; ok {
			return value{reg: r}
		}
		return value{mem: fmt.Sprintf("%s+%d(FP)", e.Name, c.frame[e.Name]), bcast: true}
	case *ast.IndexExpr:
		return value{mem: c.element(e)}
	case *ast.UnaryExpr:
		v := c.register(c.expr(e.X))
		dst := c.result(v)
		c.op("VXORPS", value{mem: c.consts.at(float32(math.Copysign(0, -1))), bcast: true}, v.reg, dst)
		return value{reg: dst, temp: true}
	case *ast.CallExpr:
		return c.call(e)
	case *ast.BinaryExpr:
		return c.binary(e)
	}
	panic(fmt.Sprintf("asmgen: %s: %T is not known", c.l.name, e))
}

func (c *compiler) constant(e ast.Expr) value {
	tv, err := types.Eval(token.NewFileSet(), nil, 0, types.ExprString(e))
	check(err)
	f, _ := constant.Float32Val(tv.Value)
	return value{mem: c.consts.at(f), bcast: true}
}

func (c *compiler) binary(e *ast.BinaryExpr) value {
	switch e.Op {
	case token.ADD, token.SUB:
		// x y + z and z - x y are one instruction.
		mul, other, name := product(e.X), e.Y, "VFMADD231PS"
		if m := product(e.Y); m != nil {
			mul, other = m, e.X
			if e.Op == token.SUB {
				name = "VFNMADD231PS"
			}
		} else if mul != nil && e.Op == token.SUB {
			name = "VFMSUB231PS"
		}
		if mul != nil {
			x, y := c.expr(mul.X), c.expr(mul.Y)
			z := c.register(c.expr(other))
			if !z.temp {
				r := c.alloc()
				c.p("VMOVAPS %s, %s", c.r(z.reg), c.r(r))
				z = value{reg: r, temp: true}
			}
			c.fma(name, x, y, z.reg)
			return z
		}
		if e.Op == token.ADD {
			return c.plain("VADDPS", e.X, e.Y, true)
		}
		return c.plain("VSUBPS", e.X, e.Y, false)
	case token.MUL:
		return c.plain("VMULPS", e.X, e.Y, true)
	case token.QUO:
		return c.plain("VDIVPS", e.X, e.Y, false)
	}
	panic("asmgen: operator " + e.Op.String())
}

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

func (c *compiler) plain(name string, x, y ast.Expr, commutes bool) value {
	a, b := c.expr(x), c.expr(y)
	if commutes && a.mem != "" && b.mem == "" {
		a, b = b, a
	}
	a = c.register(a)
	dst := c.result(a, b)
	c.op(name, b, a.reg, dst)
	for _, v := range []value{a, b} {
		if v.mem == "" && v.temp && v.reg != dst {
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
		c.p("VSQRTPS %s, %s", c.r(v.reg), c.r(dst))
		return value{reg: dst, temp: true}
	case "max":
		return c.plain("VMAXPS", e.Args[0], e.Args[1], false)
	case "exp32":
		return c.exp(c.register(c.expr(e.Args[0])))
	default:
		panic("asmgen: function " + fn)
	}
}

// exp is exp32 of exp.go on vectors: x clamped, n = round(x log2 e) by adding 1.5·2^23, r = x - n ln 2
// in two parts, e^r by its Taylor polynomial, n added to the exponent.
func (c *compiler) exp(x value) value {
	k := func(f float32) value { return value{mem: c.consts.at(f), bcast: true} }
	if !x.temp {
		r := c.alloc()
		c.p("VMOVAPS %s, %s", c.r(x.reg), c.r(r))
		x = value{reg: r, temp: true}
	}
	t, n, y := c.alloc(), c.alloc(), c.alloc()
	for _, clamp := range []struct {
		op    string
		bound float32
	}{{"VMAXPS", -87}, {"VMINPS", 88}} {
		c.p("VBROADCASTSS %s, %s\n\t%s %s, %s, %s", c.consts.at(clamp.bound), c.r(t), clamp.op, c.r(x.reg), c.r(t), c.r(x.reg)) // NaN stays
	}
	c.p("VBROADCASTSS %s, %s", c.consts.at(12582912), c.r(t))
	c.op("VMULPS", k(1.4426950408889634), x.reg, n)
	c.p("VADDPS %s, %s, %s\n\tVSUBPS %s, %s, %s", c.r(t), c.r(n), c.r(n), c.r(t), c.r(n), c.r(t))
	c.op("VFNMADD231PS", k(0.693359375), t, x.reg)
	c.op("VFNMADD231PS", k(-2.12194440e-4), t, x.reg)
	c.p("VBROADCASTSS %s, %s", c.consts.at(1.0/5040), c.r(y))
	for _, f := range []float32{1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1} {
		c.op("VFMADD213PS", k(f), x.reg, y)
	}
	c.p("VPSLLD $23, %s, %s\n\tVPADDD %s, %s, %s", c.r(n), c.r(n), c.r(n), c.r(y), c.r(y))
	c.used[t], c.used[n], c.used[x.reg] = false, false, false
	return value{reg: y, temp: true}
}

// join folds the lanes of an accumulator into its first one, halves first.
func (c *compiler) join(r int, op string) {
	t := c.alloc()
	if c.reg == "Z" {
		c.p("VEXTRACTF64X4 $1, Z%d, Y%d\n\t%s Y%d, Y%d, Y%d", r, t, op, t, r, r)
	}
	c.p("VEXTRACTF128 $1, Y%d, X%d\n\t%s X%d, X%d, X%d", r, t, op, t, r, r)
	c.p("VPERMILPS $14, X%d, X%d\n\t%s X%d, X%d, X%d", r, t, op, t, r, r)
	c.p("VPERMILPS $1, X%d, X%d\n\t%s X%d, X%d, X%d", r, t, op, t, r, r)
	c.used[t] = false
}

// table is the Go type of all loops and its portable instance.
func table(loops []*loop) string {
	var b strings.Builder
	b.WriteString("// Code generated by asmgen; DO NOT EDIT.\n\npackage cpu\n\n// loopTable is the loops of loops.go for one instruction set.\ntype loopTable struct {\n")
	for _, l := range loops {
		fmt.Fprintf(&b, "%s func(%s) %s\n", l.name, l.params(), l.result())
	}
	b.WriteString("}\n\nvar portableLoops = loopTable{")
	for _, l := range loops {
		fmt.Fprintf(&b, "%sLoop, ", l.name)
	}
	b.WriteString("}\n")
	return b.String()
}

func (l *loop) params() string {
	s := strings.Join(l.slices, ", ") + " []float32"
	if len(l.scalars) > 0 {
		s += ", " + strings.Join(l.scalars, ", ") + " float32"
	}
	return s
}

func (l *loop) result() string {
	if len(l.results) == 0 {
		return ""
	}
	return "(" + strings.Join(l.results, ", ") + " float32)"
}

// wrappers run whole vectors through the assembly and the rest through the loop itself.
func wrappers(loops []*loop, sets []isa) string {
	var b strings.Builder
	b.WriteString("// Code generated by asmgen; DO NOT EDIT.\n\n//go:build amd64 && !noasm\n\npackage cpu\n")
	for _, v := range sets {
		fmt.Fprintf(&b, "\nvar loops%s = loopTable{\n", v.name)
		for _, l := range loops {
			var ptrs, rest []string
			for _, s := range l.slices {
				ptrs, rest = append(ptrs, "&"+s+"[0]"), append(rest, s+"[whole:]")
			}
			guard := ""
			for _, s := range l.slices[1:] {
				guard += fmt.Sprintf("_ = %s[whole-1]\n", s)
			}
			call := fmt.Sprintf("%s%s(whole, %s)", l.name, v.name, strings.Join(append(ptrs, l.scalars...), ", "))
			tail := fmt.Sprintf("%sLoop(%s)", l.name, strings.Join(append(rest, l.scalars...), ", "))
			fmt.Fprintf(&b, "%s: func(%s) %s {\nn := len(%s)\nwhole := n &^ %d\n", l.name, l.params(), l.result(), l.slices[0], v.lanes-1)
			switch {
			case len(l.results) == 0:
				fmt.Fprintf(&b, "if whole > 0 {\n%s%s\n}\nif whole < n {\n%s\n}\n},\n", guard, call, tail)
			default:
				r := strings.Join(l.results, ", ")
				fmt.Fprintf(&b, "if whole == 0 {\nreturn %s\n}\n%s%s = %s\nif whole < n {\n", tail, guard, r, call)
				var parts []string
				for _, x := range l.results {
					parts = append(parts, x+"Rest")
				}
				fmt.Fprintf(&b, "%s := %s\n", strings.Join(parts, ", "), tail)
				for _, x := range l.results {
					if l.isMax(x) {
						fmt.Fprintf(&b, "%s = max(%s, %sRest)\n", x, x, x)
					} else {
						fmt.Fprintf(&b, "%s += %sRest\n", x, x)
					}
				}
				fmt.Fprintf(&b, "}\nreturn %s\n},\n", r)
			}
		}
		b.WriteString("}\n")
		for _, l := range loops {
			fmt.Fprintf(&b, "\n//go:noescape\nfunc %s%s(n int, %s *float32%s) %s\n", l.name, v.name, strings.Join(l.slices, ", "), scalars(l), l.result())
		}
	}
	return b.String()
}

func scalars(l *loop) string {
	if len(l.scalars) == 0 {
		return ""
	}
	return ", " + strings.Join(l.scalars, ", ") + " float32"
}

func (l *loop) isMax(name string) bool {
	for _, s := range l.body {
		if a := s.(*ast.AssignStmt); a.Tok == token.ASSIGN {
			if id, ok := a.Lhs[0].(*ast.Ident); ok && id.Name == name {
				return true
			}
		}
	}
	return false
}
