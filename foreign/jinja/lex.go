package jinja

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	end kind = iota
	data
	variableBegin
	variableEnd
	blockBegin
	blockEnd
	name
	text
	integer
	float
	operator
)

type token struct {
	kind  kind
	text  string // of a name, an operator, a literal; the value of a string
	value Value  // of a number
	line  int
}

func (t token) is(kind kind, text string) bool { return t.kind == kind && t.text == text }

func (t token) describe() string {
	switch t.kind {
	case end:
		return "the end of the template"
	case data:
		return "text"
	case variableEnd:
		return "}}"
	case blockEnd:
		return "%}"
	case text:
		return strconv.Quote(t.text)
	}
	return "'" + t.text + "'"
}

var (
	rawBegin   = regexp.MustCompile(`^\{%[-+]?\s*raw\s*(-?)%\}`)
	rawEnd     = regexp.MustCompile(`\{%([-+]?)\s*endraw\s*([-+]?)%\}`)
	floatForm  = regexp.MustCompile(`^(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?[eE][+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)`)
	intForm    = regexp.MustCompile(`^(?:0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*)`)
	stringForm = regexp.MustCompile(`(?s)^(?:'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*")`)
	operators  = []string{"==", "!=", ">=", "<=", "**", "//", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"}
	closers    = map[string]string{"(": ")", "[": "]", "{": "}"}
)

// lexer cuts a template as jinja2.lexer does: https://github.com/pallets/jinja/blob/3.1.6/src/jinja2/lexer.py
type lexer struct {
	options *Options
	source  string
	at      int
	line    int
	tokens  []token
}

func lex(source string, o *Options) []token {
	source = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(source)
	if !o.KeepTrailingNewline {
		source = strings.TrimSuffix(source, "\n")
	}
	x := &lexer{options: o, source: source, line: 1}
	x.root()
	x.add(token{kind: end})
	return x.tokens
}

func (x *lexer) fail(format string, args ...any) {
	panic(failure{&Error{Line: x.line, Message: fmt.Sprintf(format, args...)}})
}

func (x *lexer) add(t token) {
	t.line = x.line
	x.tokens = append(x.tokens, t)
}

// pass moves on.
func (x *lexer) pass(n int) {
	x.line += strings.Count(x.source[x.at:x.at+n], "\n")
	x.at += n
}

// root reads text and what stands in it. lineStart says whether what comes begins a line, as jinja2's lexer sees it.
func (x *lexer) root() {
	lineStart := true
	for {
		rest := x.source[x.at:]
		i := 0
		for ; i < len(rest); i++ {
			if rest[i] == '{' && i+1 < len(rest) && strings.IndexByte("{%#", rest[i+1]) >= 0 {
				break
			}
		}
		before := rest[:i]
		if i == len(rest) {
			if before != "" {
				x.add(token{kind: data, text: before})
			}
			return
		}
		sign := byte(0)
		if i+2 < len(rest) {
			sign = rest[i+2]
		}
		before = x.lstrip(before, sign, rest[i+1] == '{', lineStart)
		if before != "" {
			x.add(token{kind: data, text: before})
		}
		x.pass(i)
		raw := rawBegin.FindStringSubmatch(rest[i:])
		begin := 2
		if sign == '-' || sign == '+' {
			begin = 3
		}
		switch {
		case raw != nil:
			x.pass(len(raw[0]))
			if raw[1] == "-" {
				x.blanks()
			}
			x.raw(x.source[x.at-1] == '\n')
		case rest[i+1] == '#':
			x.pass(begin)
			x.comment()
		case rest[i+1] == '%':
			x.add(token{kind: blockBegin})
			x.pass(begin)
			x.inside(blockEnd, "%}")
		default:
			x.add(token{kind: variableBegin})
			x.pass(begin)
			x.inside(variableEnd, "}}")
		}
		lineStart = x.source[x.at-1] == '\n'
	}
}

// lstrip cuts the blanks before a tag.
func (x *lexer) lstrip(s string, sign byte, variable, lineStart bool) string {
	if sign == '-' {
		return strings.TrimRightFunc(s, isSpace)
	}
	if sign != '+' && x.options.LstripBlocks && !variable {
		at := strings.LastIndexByte(s, '\n') + 1
		if (at > 0 || lineStart) && strings.TrimFunc(s[at:], isSpace) == "" {
			return s[:at]
		}
	}
	return s
}

// blanks passes over white space.
func (x *lexer) blanks() {
	rest := x.source[x.at:]
	x.pass(len(rest) - len(strings.TrimLeftFunc(rest, isSpace)))
}

// after passes over what follows the end of a block or comment.
func (x *lexer) after(sign string) {
	if sign == "-" {
		x.blanks()
	} else if sign == "" && x.options.TrimBlocks && strings.HasPrefix(x.source[x.at:], "\n") {
		x.pass(1)
	}
}

func (x *lexer) raw(lineStart bool) {
	rest := x.source[x.at:]
	m := rawEnd.FindStringSubmatchIndex(rest)
	if m == nil {
		x.fail("{%% raw %%} without {%% endraw %%} is not supported")
	}
	sign := byte(0)
	if m[2] < m[3] {
		sign = rest[m[2]]
	}
	if s := x.lstrip(rest[:m[0]], sign, false, lineStart); s != "" {
		x.add(token{kind: data, text: s})
	}
	x.pass(m[1])
	x.after(rest[m[4]:m[5]])
}

func (x *lexer) comment() {
	rest := x.source[x.at:]
	i := strings.Index(rest, "#}")
	if i < 0 {
		x.fail("a comment {# has no #}")
	}
	sign := ""
	if i > 0 && (rest[i-1] == '-' || rest[i-1] == '+') {
		sign = rest[i-1 : i]
	}
	x.pass(i + 2)
	x.after(sign)
}

// inside reads the tokens of a tag.
func (x *lexer) inside(kind kind, closing string) {
	var open []string // the brackets that must be closed, innermost last
	for {
		rest := x.source[x.at:]
		if rest == "" {
			x.fail("a tag is not closed by %s", closing)
		}
		if len(open) == 0 {
			sign := ""
			if rest[0] == '-' || rest[0] == '+' && kind == blockEnd {
				sign = rest[:1]
			}
			if strings.HasPrefix(rest[len(sign):], closing) {
				x.add(token{kind: kind})
				x.pass(len(sign) + len(closing))
				if kind == blockEnd {
					x.after(sign)
				} else if sign == "-" {
					x.blanks()
				}
				return
			}
		}
		c, size := utf8.DecodeRuneInString(rest)
		if isSpace(c) {
			x.pass(size)
			continue
		}
		if c >= '0' && c <= '9' {
			x.number(rest)
			continue
		}
		if c == '_' || unicode.IsLetter(c) {
			n := strings.IndexFunc(rest, func(r rune) bool {
				return r != '_' && !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r)
			})
			if n < 0 {
				n = len(rest)
			}
			x.add(token{kind: name, text: rest[:n]})
			x.pass(n)
			continue
		}
		if c == '\'' || c == '"' {
			s := stringForm.FindString(rest)
			if s == "" {
				x.fail("a string is not closed")
			}
			x.add(token{kind: text, text: x.unescape(s[1 : len(s)-1])})
			x.pass(len(s))
			continue
		}
		op := ""
		for _, o := range operators {
			if strings.HasPrefix(rest, o) {
				op = o
				break
			}
		}
		if op == "" {
			x.fail("unexpected character %q", c)
		}
		if closer, ok := closers[op]; ok {
			open = append(open, closer)
		} else if op == ")" || op == "]" || op == "}" {
			if len(open) == 0 {
				x.fail("unexpected '%s'", op)
			}
			if want := open[len(open)-1]; want != op {
				x.fail("unexpected '%s', expected '%s'", op, want)
			}
			open = open[:len(open)-1]
		}
		x.add(token{kind: operator, text: op})
		x.pass(len(op))
	}
}

func (x *lexer) number(rest string) {
	if x.at == 0 || x.source[x.at-1] != '.' {
		if s := floatForm.FindString(rest); s != "" {
			f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
			if err != nil {
				x.fail("the number %s: %v", s, err)
			}
			x.add(token{kind: float, text: s, value: f})
			x.pass(len(s))
			return
		}
	}
	s := intForm.FindString(rest)
	n, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 0, 64)
	if err != nil {
		x.fail("the number %s does not fit in 64 bits", s)
	}
	x.add(token{kind: integer, text: s, value: n})
	x.pass(len(s))
}

var escapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': "\"", 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '\n': ""}

// unescape reads the escapes of a Python string.
func (x *lexer) unescape(s string) string {
	if !strings.Contains(s, "\\") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		c := s[i+1]
		i += 2
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		switch e, ok := escapes[c]; {
		case ok:
			b.WriteString(e)
		case digits > 0:
			if i+digits > len(s) {
				x.fail("the escape \\%c wants %d digits", c, digits)
			}
			n, err := strconv.ParseUint(s[i:i+digits], 16, 32)
			if err != nil || n > unicode.MaxRune || n >= 0xd800 && n < 0xe000 {
				x.fail("\\%c%s is not a character", c, s[i:i+digits])
			}
			b.WriteRune(rune(n))
			i += digits
		case c >= '0' && c <= '7':
			j := i
			for j < len(s) && j < i+2 && s[j] >= '0' && s[j] <= '7' {
				j++
			}
			n, _ := strconv.ParseUint(s[i-1:j], 8, 32)
			b.WriteRune(rune(n))
			i = j
		case c == 'N':
			x.fail("the escape \\N{…} is not supported")
		default:
			b.WriteByte('\\')
			i-- // the character itself may have several bytes
		}
	}
	return b.String()
}

// isSpace is Python's str.isspace of a character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }
