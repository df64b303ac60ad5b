package jinja

import (
	"math"
	"math/big"
	"strings"
)

// num is a number of a value: Python counts bools among the ints.
func num(v Value) (i int64, f float64, isInt, ok bool) {
	switch v := v.(type) {
	case bool:
		if v {
			i = 1
		}
		return i, float64(i), true, true
	case int64:
		return v, float64(v), true, true
	case float64:
		return 0, v, false, true
	}
	return 0, 0, false, false
}

func (r *run) arithmetic(op string, a, b Value) Value {
	for _, v := range []Value{a, b} {
		if u, ok := v.(*undefined); ok {
			r.use(u)
		}
	}
	if s, ok := a.(string); ok && op == "%" {
		return r.percent(s, b)
	}
	ai, af, aInt, aNum := num(a)
	bi, bf, bInt, bNum := num(b)
	switch {
	case aNum && bNum && aInt && bInt && op != "/" && !(op == "**" && bi < 0):
		return r.whole(op, ai, bi)
	case aNum && bNum:
		return r.real(op, af, bf)
	case op == "+":
		if x, ok := a.(string); ok {
			if y, ok := b.(string); ok {
				r.room(len(x) + len(y))
				return x + y
			}
		}
		if x, ok := a.(*List); ok {
			if y, ok := b.(*List); ok && x.Tuple == y.Tuple {
				r.items(len(x.Items) + len(y.Items))
				return &List{Items: append(append([]Value{}, x.Items...), y.Items...), Tuple: x.Tuple}
			}
		}
	case op == "*" && aInt && !bNum:
		return r.repeat(b, ai, a)
	case op == "*" && bInt && !aNum:
		return r.repeat(a, bi, b)
	}
	r.fail("'%s' does not take values of type %s and %s", op, pythonType(a), pythonType(b))
	return nil
}

func (r *run) repeat(v Value, n int64, by Value) Value {
	n = max(0, min(n, 1<<31))
	switch v := v.(type) {
	case string:
		r.room(int(n) * len(v))
		return strings.Repeat(v, int(n))
	case *List:
		r.items(int(n) * len(v.Items))
		out := &List{Tuple: v.Tuple, Items: []Value{}}
		if len(v.Items) > 0 {
			for range n {
				out.Items = append(out.Items, v.Items...)
			}
		}
		return out
	}
	r.fail("'*' does not take values of type %s and %s", pythonType(v), pythonType(by))
	return nil
}

// whole is arithmetic on ints. Python's have any size, ours 64 bits: what does not fit is an error.
func (r *run) whole(op string, a, b int64) Value {
	x, y, z := big.NewInt(a), big.NewInt(b), new(big.Int)
	switch op {
	case "+":
		z.Add(x, y)
	case "-":
		z.Sub(x, y)
	case "*":
		z.Mul(x, y)
	case "//", "%":
		if b == 0 {
			r.fail("division by zero")
		}
		m := new(big.Int)
		z.QuoRem(x, y, m)
		if m.Sign() != 0 && (m.Sign() < 0) != (b < 0) {
			z.Sub(z, big.NewInt(1))
			m.Add(m, y)
		}
		if op == "%" {
			z = m
		}
	case "**":
		if b > 64 && a != 0 && a != 1 && a != -1 {
			r.fail("a number does not fit in 64 bits")
		}
		if b > 64 {
			b = 64 + b%2
			y.SetInt64(b)
		}
		z.Exp(x, y, nil)
	}
	if !z.IsInt64() {
		r.fail("a number does not fit in 64 bits")
	}
	return z.Int64()
}

func (r *run) real(op string, a, b float64) Value {
	if b == 0 && (op == "/" || op == "//" || op == "%") || a == 0 && op == "**" && b < 0 {
		r.fail("division by zero")
	}
	switch op {
	case "+":
		return a + b
	case "-":
		return a - b
	case "*":
		return a * b
	case "/":
		return a / b
	case "//":
		m := mod(a, b)
		return math.Round((a - m) / b)
	case "%":
		return mod(a, b)
	}
	if a < 0 && b != math.Trunc(b) {
		r.fail("a root of a negative number")
	}
	return math.Pow(a, b)
}

// mod is Python's % of floats: it has the sign of b.
func mod(a, b float64) float64 {
	m := math.Mod(a, b)
	if m != 0 && (m < 0) != (b < 0) {
		m += b
	}
	return m
}
