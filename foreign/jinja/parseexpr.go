package jinja

import (
	"slices"
	"strings"
)

// tuple reads an expression, or several with commas between them, which are a tuple. Only where conditional is true
// may they be "a if b else c".
func (p *parser) tuple(conditional bool) expr {
	one := p.expression
	if !conditional {
		one = p.or
	}
	first := one()
	if !p.current().is(operator, ",") {
		return first
	}
	t := &sequence{items: []expr{first}, tuple: true}
	for p.skip(operator, ",") {
		if p.ends() {
			break
		}
		t.items = append(t.items, one())
	}
	return t
}

// ends reports whether a tuple ends here.
func (p *parser) ends() bool {
	c := p.current()
	return c.kind == variableEnd || c.kind == blockEnd || c.is(operator, ")") || c.is(name, "recursive")
}

func (p *parser) expression() expr {
	defer p.deeper()()
	e := p.or()
	for p.skip(name, "if") {
		c := &condition{then: e, test: p.or()}
		if p.skip(name, "else") {
			c.otherwise = p.expression()
		}
		e = c
	}
	return e
}

func (p *parser) or() expr {
	defer p.deeper()()
	e := p.and()
	for p.skip(name, "or") {
		e = &logic{false, e, p.and()}
	}
	return e
}

func (p *parser) and() expr {
	e := p.not()
	for p.skip(name, "and") {
		e = &logic{true, e, p.not()}
	}
	return e
}

func (p *parser) not() expr {
	if p.skip(name, "not") {
		defer p.deeper()()
		return &not{p.not()}
	}
	return p.comparison()
}

var comparisons = []string{"==", "!=", "<", "<=", ">", ">="}

func (p *parser) comparison() expr {
	c := &comparison{first: p.left(p.concat, "+", "-"), line: p.line()}
	for {
		t := p.current()
		op := t.text
		switch {
		case t.kind == operator && slices.Contains(comparisons, op):
			p.next()
		case t.is(name, "in"):
			p.next()
		case t.is(name, "not") && p.look().is(name, "in"):
			p.next()
			p.next()
			op = "not in"
		default:
			if len(c.rest) == 0 {
				return c.first
			}
			return c
		}
		c.rest = append(c.rest, operand{op, p.left(p.concat, "+", "-")})
	}
}

// left reads operations that are grouped from the left.
func (p *parser) left(of func() expr, ops ...string) expr {
	e := of()
	for n := 0; p.current().kind == operator && slices.Contains(ops, p.current().text); n++ {
		if n > 1000 {
			p.fail("more than 1000 operations stand in a row")
		}
		line := p.line()
		e = &arithmetic{p.next().text, e, of(), line}
	}
	return e
}

func (p *parser) concat() expr {
	factor := func() expr { return p.left(p.power, "*", "/", "//", "%") }
	c := &concat{[]expr{factor()}}
	for p.skip(operator, "~") {
		c.parts = append(c.parts, factor())
	}
	if len(c.parts) == 1 {
		return c.parts[0]
	}
	return c
}

func (p *parser) power() expr {
	return p.left(func() expr { return p.unary(true) }, "**")
}

func (p *parser) unary(filters bool) expr {
	defer p.deeper()()
	var e expr
	if c := p.current(); c.is(operator, "-") || c.is(operator, "+") {
		p.next()
		e = &negative{p.unary(false), c.text == "-", c.line}
	} else {
		e = p.primary()
	}
	e = p.postfix(e)
	for n := 0; filters; n++ {
		if n > 1000 {
			p.fail("more than 1000 filters stand in a row")
		}
		switch c := p.current(); {
		case c.is(operator, "|"):
			e = p.filters(e, false)
		case c.is(name, "is"):
			e = p.test(e)
		case c.is(operator, "("):
			e = p.call(e)
		default:
			return e
		}
	}
	return e
}

var constants = map[string]Value{"true": true, "True": true, "false": false, "False": false, "none": nil, "None": nil}

func (p *parser) primary() expr {
	t := p.current()
	switch {
	case t.kind == name:
		p.next()
		if v, ok := constants[t.text]; ok {
			return constant{v}
		}
		for _, m := range p.macros {
			m.caller = m.caller || t.text == "caller"
			m.varargs = m.varargs || t.text == "varargs"
			m.kwargs = m.kwargs || t.text == "kwargs"
		}
		return &variable{t.text, t.line}
	case t.kind == text:
		var s strings.Builder
		for p.current().kind == text {
			s.WriteString(p.next().text)
		}
		return constant{s.String()}
	case t.kind == integer || t.kind == float:
		p.next()
		return constant{t.value}
	case t.is(operator, "("):
		p.next()
		if p.skip(operator, ")") {
			return &sequence{tuple: true}
		}
		e := p.tuple(true)
		p.op(")")
		return e
	case t.is(operator, "["):
		p.next()
		l := &sequence{}
		for !p.current().is(operator, "]") {
			if len(l.items) > 0 {
				p.op(",")
				if p.current().is(operator, "]") {
					break
				}
			}
			l.items = append(l.items, p.expression())
		}
		p.op("]")
		return l
	case t.is(operator, "{"):
		p.next()
		m := &mapping{}
		for !p.current().is(operator, "}") {
			if len(m.keys) > 0 {
				p.op(",")
				if p.current().is(operator, "}") {
					break
				}
			}
			m.keys = append(m.keys, p.expression())
			p.op(":")
			m.values = append(m.values, p.expression())
		}
		p.op("}")
		return m
	}
	p.fail("unexpected %s", t.describe())
	return nil
}

func (p *parser) postfix(e expr) expr {
	for n := 0; ; n++ {
		if n > 1000 {
			p.fail("more than 1000 attributes and calls stand in a row")
		}
		t := p.current()
		switch {
		case t.is(operator, "."):
			p.next()
			if c := p.current(); c.kind == integer {
				p.next()
				e = &getitem{e, constant{c.value}, t.line}
			} else {
				e = &getattr{e, p.name(), t.line}
			}
		case t.is(operator, "["):
			p.next()
			key := p.subscript()
			if p.current().is(operator, ",") {
				l := &sequence{items: []expr{key}, tuple: true}
				for p.skip(operator, ",") && !p.current().is(operator, "]") {
					l.items = append(l.items, p.subscript())
				}
				key = l
			}
			p.op("]")
			e = &getitem{e, key, t.line}
		case t.is(operator, "("):
			e = p.call(e)
		default:
			return e
		}
	}
}

func (p *parser) subscript() expr {
	s := &sliceExpr{}
	part := func() expr {
		if c := p.current(); c.is(operator, ":") || c.is(operator, "]") || c.is(operator, ",") {
			return nil
		}
		return p.expression()
	}
	if !p.current().is(operator, ":") {
		s.start = p.expression()
		if !p.current().is(operator, ":") {
			return s.start
		}
	}
	p.op(":")
	s.stop = part()
	if p.skip(operator, ":") {
		s.step = part()
	}
	return s
}

func (p *parser) call(e expr) expr {
	line := p.line()
	return &call{e, p.arguments(), line}
}

func (p *parser) arguments() (a arguments) {
	p.op("(")
	for first := true; !p.current().is(operator, ")"); first = false {
		if !first {
			p.op(",")
			if p.current().is(operator, ")") {
				break
			}
		}
		switch {
		case p.current().is(operator, "*") && a.list == nil && a.dict == nil:
			p.next()
			a.list = p.expression()
		case p.current().is(operator, "**") && a.dict == nil:
			p.next()
			a.dict = p.expression()
		case p.current().kind == name && p.look().is(operator, "=") && a.dict == nil:
			a.names = append(a.names, p.next().text)
			p.next()
			a.named = append(a.named, p.expression())
		case a.list == nil && a.dict == nil && len(a.names) == 0:
			a.values = append(a.values, p.expression())
		default:
			p.fail("the arguments of a call are out of order")
		}
	}
	p.op(")")
	return a
}

// dotted reads the name of a filter or test.
func (p *parser) dotted() string {
	n := p.name()
	for p.skip(operator, ".") {
		n += "." + p.name()
	}
	return n
}

// filters reads a chain of filters; begun says that the first | is not written, as in {% filter upper %}.
func (p *parser) filters(e expr, begun bool) expr {
	for n := 0; begun || p.current().is(operator, "|"); n++ {
		if n > 1000 {
			p.fail("more than 1000 filters stand in a row")
		}
		if !begun {
			p.next()
		}
		begun = false
		f := &filter{of: e, line: p.line(), name: p.dotted()}
		if p.current().is(operator, "(") {
			f.args = p.arguments()
		}
		e = f
	}
	return e
}

func (p *parser) test(e expr) expr {
	line := p.line()
	p.next()
	negated := p.skip(name, "not")
	t := &test{of: e, name: p.dotted(), line: line}
	switch c := p.current(); {
	case c.is(operator, "("):
		t.args = p.arguments()
	case c.is(name, "is"):
		p.fail("tests with 'is' cannot stand one after the other")
	case c.is(name, "else") || c.is(name, "or") || c.is(name, "and"):
	case c.kind == name || c.kind == text || c.kind == integer || c.kind == float || c.is(operator, "[") || c.is(operator, "{"):
		t.args.values = []expr{p.postfix(p.primary())}
	}
	if negated {
		return &not{t}
	}
	return t
}
