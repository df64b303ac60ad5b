package jinja

import (
	"fmt"
	"slices"
)

// parser reads statements and expressions as jinja2.parser does: https://github.com/pallets/jinja/blob/3.1.6/src/jinja2/parser.py
type parser struct {
	options     *Options
	tokens      []token
	at          int
	depth       int
	generations int
	macros      []*macro // those that are being read
}

// maxNest is how deep statements and expressions may be nested.
const maxNest = 100

func (p *parser) line() int {
	if p.at < len(p.tokens) {
		return p.tokens[p.at].line
	}
	return 0
}

func (p *parser) fail(format string, args ...any) {
	panic(failure{&Error{Line: p.line(), Message: fmt.Sprintf(format, args...)}})
}

func (p *parser) deeper() func() {
	if p.depth++; p.depth > maxNest {
		p.fail("it is nested more than %d deep", maxNest)
	}
	return func() { p.depth-- }
}

func (p *parser) current() token { return p.tokens[p.at] }

func (p *parser) look() token { return p.tokens[min(p.at+1, len(p.tokens)-1)] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != end {
		p.at++
	}
	return t
}

func (p *parser) skip(kind kind, text string) bool {
	if p.current().is(kind, text) {
		p.next()
		return true
	}
	return false
}

func (p *parser) op(text string) {
	if !p.skip(operator, text) {
		p.fail("expected '%s', got %s", text, p.current().describe())
	}
}

func (p *parser) word(text string) {
	if !p.skip(name, text) {
		p.fail("expected '%s', got %s", text, p.current().describe())
	}
}

func (p *parser) name() string {
	if p.current().kind != name {
		p.fail("expected a name, got %s", p.current().describe())
	}
	return p.next().text
}

func (p *parser) expect(kind kind) {
	if p.current().kind != kind {
		p.fail("expected %s, got %s", token{kind: kind}.describe(), p.current().describe())
	}
	p.next()
}

// statements reads until a tag of one of the given names, of which it reads the name.
func (p *parser) statements(until []string) (body []stmt) {
	defer p.deeper()()
	opened := p.tokens[max(0, p.at-1)].line
	for {
		t := p.next()
		switch t.kind {
		case end:
			if until != nil {
				panic(failure{&Error{Line: opened, Message: fmt.Sprintf("a block has no {%% %s %%}", until[len(until)-1])}})
			}
			return body
		case data:
			body = append(body, textStmt{t.text})
		case variableBegin:
			body = append(body, printStmt{p.tuple(true)})
			p.expect(variableEnd)
		case blockBegin:
			if c := p.current(); c.kind == name && slices.Contains(until, c.text) {
				return body
			}
			body = append(body, p.statement())
			p.expect(blockEnd)
		default:
			p.fail("unexpected %s", t.describe())
		}
	}
}

// body reads the rest of a tag and what follows until one of the given names, which it returns.
func (p *parser) body(until ...string) ([]stmt, string) {
	p.expect(blockEnd)
	b := p.statements(until)
	return b, p.name()
}

// unsupportedTags are those of Jinja that reach beyond a template.
var unsupportedTags = []string{"extends", "block", "include", "import", "from", "autoescape", "print", "do", "trans", "debug"}

func (p *parser) statement() stmt {
	line := p.line()
	tag := p.name()
	switch tag {
	case "if":
		return p.ifStatement()
	case "for":
		return p.forStatement(line)
	case "set":
		return p.set(line)
	case "with":
		st := &withStmt{line: line}
		for p.current().kind != blockEnd {
			if len(st.targets) > 0 {
				p.op(",")
			}
			st.targets = append(st.targets, p.target(false, false))
			p.op("=")
			st.values = append(st.values, p.expression())
		}
		st.body, _ = p.body("endwith")
		return st
	case "macro":
		m := &macro{name: p.name()}
		p.signature(m)
		p.macroBody(m, "endmacro")
		return &macroStmt{m}
	case "call":
		m := &macro{name: "caller"}
		if p.current().is(operator, "(") {
			p.signature(m)
		}
		c, ok := p.expression().(*call)
		if !ok {
			p.fail("a call of a macro is expected after {%% call")
		}
		p.macroBody(m, "endcall")
		return &callBlock{c, m}
	case "filter":
		st := &filterBlock{filters: p.filters(nil, true)}
		st.body, _ = p.body("endfilter")
		return st
	case "break", "continue":
		if p.options.LoopControls {
			return leave{map[string]flow{"break": breaks, "continue": continues}[tag]}
		}
	case "generation":
		if p.options.Generation {
			p.generations++
			st := &generation{line: line}
			st.body, _ = p.body("endgeneration")
			return st
		}
	}
	p.at--
	if slices.Contains(unsupportedTags, tag) {
		p.fail("the tag {%% %s %%} is not supported: a template may use if, for, set, with, macro, call, filter and raw", tag)
	}
	p.fail("unknown tag '%s'", tag)
	return nil
}

func (p *parser) ifStatement() stmt {
	st := &ifStmt{}
	for {
		b := branch{test: p.tuple(false)}
		var last string
		b.body, last = p.body("elif", "else", "endif")
		st.branches = append(st.branches, b)
		if last == "else" {
			body, _ := p.body("endif")
			st.branches = append(st.branches, branch{nil, body})
		}
		if last != "elif" {
			return st
		}
	}
}

func (p *parser) forStatement(line int) stmt {
	st := &forStmt{line: line, target: p.target(false, true)}
	p.word("in")
	st.iter = p.tuple(false)
	if p.skip(name, "if") {
		st.test = p.expression()
	}
	st.recursive = p.skip(name, "recursive")
	var last string
	if st.body, last = p.body("endfor", "else"); last == "else" {
		st.otherwise, _ = p.body("endfor")
	}
	return st
}

func (p *parser) set(line int) stmt {
	t := p.target(true, false)
	if p.skip(operator, "=") {
		return &setStmt{t, p.tuple(true), line}
	}
	st := &setBlock{target: t, line: line}
	if p.current().is(operator, "|") {
		st.filters = p.filters(nil, false)
	}
	st.body, _ = p.body("endset")
	return st
}

// target reads what is assigned to.
func (p *parser) target(attributes, loop bool) target {
	defer p.deeper()()
	one := func() target {
		if p.skip(operator, "(") {
			t := p.target(false, loop)
			p.op(")")
			return t
		}
		n := p.name()
		if slices.Contains([]string{"true", "false", "none", "True", "False", "None"}, n) {
			p.fail("'%s' cannot be assigned to", n)
		}
		if attributes && p.skip(operator, ".") {
			return target{name: n, attribute: p.name()}
		}
		return target{name: n}
	}
	first := one()
	if !p.current().is(operator, ",") {
		return first
	}
	t := target{parts: []target{first}, tuple: true}
	for p.skip(operator, ",") {
		if c := p.current(); c.kind == blockEnd || c.is(operator, "=") || c.is(operator, ")") || loop && c.is(name, "in") {
			break
		}
		t.parts = append(t.parts, one())
	}
	return t
}

// signature reads the parameters of a macro.
func (p *parser) signature(m *macro) {
	p.op("(")
	for !p.current().is(operator, ")") {
		if len(m.parameters) > 0 {
			p.op(",")
		}
		m.parameters = append(m.parameters, p.name())
		if p.skip(operator, "=") {
			m.defaults = append(m.defaults, p.expression())
		} else if len(m.defaults) > 0 {
			p.fail("a parameter without a default follows one with a default")
		}
	}
	p.op(")")
}

func (p *parser) macroBody(m *macro, until string) {
	p.macros = append(p.macros, m)
	m.body, _ = p.body(until)
	p.macros = p.macros[:len(p.macros)-1]
}
