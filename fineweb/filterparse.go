package fineweb

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a filter: its length in bytes, and how deep it nests.
const (
	maxFilter  = 64 << 10
	maxFilters = 100
)

// parseFilter reads a filter; that of "" is nil and keeps every row.
func parseFilter(text string) (*filter, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > maxFilter {
		return nil, fmt.Errorf("the filter is %d bytes long; the most is %d", len(text), maxFilter)
	}
	p := &filterParser{rest: text, whole: text, filter: &filter{}}
	root, err := p.operators(0)
	if err == nil {
		p.space()
		if p.rest != "" {
			err = p.wrong("an operator is expected before %s", p.here())
		}
	}
	if err != nil {
		return nil, err
	}
	if k := root.kind(); k != null && k != truth {
		return nil, errors.New("the filter is not a condition: compare a column with something, as in language == 'en'")
	}
	p.filter.root = root
	return p.filter, nil
}

type filterParser struct {
	rest, whole string
	depth       int
	filter      *filter
}

func (p *filterParser) space() { p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace) }

// here quotes what comes next.
func (p *filterParser) here() string {
	if p.rest == "" {
		return "its end"
	}
	s := strings.Fields(p.rest)[0]
	return strconv.Quote(s[:min(len(s), 40)])
}

func (p *filterParser) wrong(format string, args ...any) error {
	return fmt.Errorf("at character %d of the filter: "+format,
		append([]any{utf8.RuneCountInString(p.whole[:len(p.whole)-len(p.rest)]) + 1}, args...)...)
}

// take goes past a token, if it comes next.
func (p *filterParser) take(token string) bool {
	p.space()
	rest, ok := strings.CutPrefix(p.rest, token)
	if ok {
		p.rest = rest
	}
	return ok
}

// levels are the operators between conditions, those that bind least first.
var levels = [][]string{{"||"}, {"&&"}}

// hints name the operator that is written otherwise elsewhere.
var hints = map[string]string{"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!", "is": "==",
	"IS": "==", "IN": "in", "&": "&&", "|": "||", "=": "==", "<>": "!="}

func (p *filterParser) hint() error {
	p.space()
	word := p.rest[:len(p.rest)-len(strings.TrimLeft(p.rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))]
	if word == "" {
		word = p.rest[:len(p.rest)-len(strings.TrimLeft(p.rest, "&|=<>"))]
	}
	if to, ok := hints[word]; ok {
		return p.wrong("write %s for %s", to, word)
	}
	return nil
}

func (p *filterParser) operators(level int) (*node, error) {
	if level == len(levels) {
		return p.comparison()
	}
	left, err := p.operators(level + 1)
	if err != nil {
		return nil, err
	}
	list := []*node{left}
	for p.take(levels[level][0]) {
		x, err := p.operators(level + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	if len(list) == 1 {
		return left, p.hint()
	}
	for _, x := range list {
		if err := p.condition(x, levels[level][0]); err != nil {
			return nil, err
		}
	}
	return &node{op: levels[level][0], args: list}, p.hint()
}

// condition checks an operand of an operator between conditions.
func (p *filterParser) condition(x *node, op string) error {
	if k := x.kind(); k != null && k != truth {
		return p.wrong("%s stands between conditions, not beside %s", op, kindNames[k])
	}
	return nil
}

func (p *filterParser) comparison() (*node, error) {
	if p.depth++; p.depth > maxFilters {
		return nil, fmt.Errorf("the filter nests more than %d deep", maxFilters)
	}
	defer func() { p.depth-- }()
	if p.take("!") {
		x, err := p.comparison()
		if err != nil {
			return nil, err
		}
		return &node{op: "!", args: []*node{x}}, p.condition(x, "!")
	}
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	p.space()
	for _, op := range []string{"==", "!=", "<=", ">=", "<", ">"} {
		if strings.HasPrefix(p.rest, "<>") || !p.take(op) {
			continue
		}
		right, err := p.operand()
		if err != nil {
			return nil, err
		}
		n := &node{op: op, args: []*node{left, right}}
		if err := comparable(op, left.kind(), right.kind()); err != nil {
			return nil, p.wrong("%w", err)
		}
		return n, nil
	}
	if before := p.rest; p.word() == "in" {
		return p.list(left)
	} else {
		p.rest = before
	}
	return left, nil
}

// word takes a name: letters, digits, underscores, and dots between them.
func (p *filterParser) word() string {
	p.space()
	end := strings.IndexFunc(p.rest,
		func(r rune) bool { return r != '_' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if end < 0 {
		end = len(p.rest)
	}
	w := p.rest[:end]
	p.rest = p.rest[end:]
	return w
}

// list reads the constants after "in".
func (p *filterParser) list(left *node) (*node, error) {
	if !p.take("[") {
		return nil, p.wrong("in is followed by a list, such as ['en', 'de'], not by %s", p.here())
	}
	n := &node{op: "in", args: []*node{left}, text: map[string]bool{}}
	for !p.take("]") {
		x, err := p.operand()
		if err != nil {
			return nil, err
		}
		if x.op != "constant" {
			return nil, p.wrong("a list after \"in\" holds numbers and texts only")
		}
		switch {
		case x.is.kind == words:
			n.text[x.is.s] = true
		case x.is.kind == null:
			n.null = true
		case x.is.number():
			n.nums = append(n.nums, x.is)
		default:
			return nil, p.wrong("a list after \"in\" holds numbers and texts only")
		}
		if !p.take(",") {
			if p.take("]") {
				break
			}
			return nil, p.wrong("a comma or ] is expected before %s", p.here())
		}
	}
	if len(n.text) > 0 && len(n.nums) > 0 {
		return nil, p.wrong("the list holds numbers and texts: all of it must be of one kind")
	}
	if k := left.kind(); k == truth || k == words && len(n.nums) > 0 || k == fraction && len(n.text) > 0 {
		return nil, p.wrong("%s is never in this list", kindNames[k])
	}
	slices.SortFunc(n.nums, func(a, b value) int { c, _ := order(a, b); return c })
	return n, nil
}

// functions are those of a filter, under the names that they have in Terraform: how many arguments each takes, and the
// kind of its value. The second argument is a constant text.
var filterFunctions = map[string]struct {
	args int
	kind valueKind
}{
	"length": {1, fraction}, "lower": {1, words}, "startswith": {2, truth}, "endswith": {2, truth},
	"strcontains": {2, truth}, "matches": {2, truth},
}

func (p *filterParser) operand() (*node, error) {
	p.space()
	if p.rest == "" {
		return nil, p.wrong("the filter ends where a value is expected")
	}
	switch c := p.rest[0]; {
	case c == '(':
		p.rest = p.rest[1:]
		x, err := p.operators(0)
		if err == nil && !p.take(")") {
			err = p.wrong(") is expected before %s", p.here())
		}
		return x, err
	case c == '\'' || c == '"':
		s, err := p.quoted(c)
		return &node{op: "constant", is: value{kind: words, s: s}}, err
	case c == '`':
		s, err := p.quoted(c)
		if err != nil {
			return nil, err
		}
		return p.column(s), nil
	case c == '-' || c >= '0' && c <= '9':
		end := strings.IndexFunc(p.rest[1:], func(r rune) bool { return !strings.ContainsRune("0123456789.eE+-_", r) })
		s := p.rest
		if end >= 0 {
			s = p.rest[:end+1]
		}
		v := numberOf(s)
		switch {
		case v.kind == null:
			return nil, p.wrong("%s is not a number", p.here())
		case v.kind == fraction && math.IsInf(v.f, 0):
			return nil, p.wrong("%s is too large: numbers go up to %.2g", p.here(), math.MaxFloat64)
		}
		p.rest = p.rest[len(s):]
		return &node{op: "constant", is: v}, nil
	}
	if err := p.hint(); err != nil {
		return nil, err
	}
	before := p.rest
	name := p.word()
	switch name {
	case "":
		return nil, p.wrong("a value is expected, not %s", p.here())
	case "true", "false":
		return &node{op: "constant", is: truthOf(name == "true")}, nil
	case "null":
		return &node{op: "constant"}, nil
	}
	if p.take("(") {
		return p.call(name, before)
	}
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
		p.rest = before
		return nil, p.wrong("%q is not a column's name", name)
	}
	return p.column(name), nil
}

func (p *filterParser) column(name string) *node {
	at := slices.Index(p.filter.columns, name)
	if at < 0 {
		at = len(p.filter.columns)
		p.filter.columns = append(p.filter.columns, name)
	}
	return &node{op: "column", at: at, name: name}
}

// quoted reads a text or a column's name between quotes; a backslash before one, or before itself, makes it an ordinary
// character.
func (p *filterParser) quoted(quote byte) (string, error) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == quote:
			p.rest = p.rest[i+1:]
			return b.String(), nil
		case c == '\\' && i+1 < len(p.rest) && (p.rest[i+1] == quote || p.rest[i+1] == '\\'):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", p.wrong("the quote %c is never closed", quote)
}

func (p *filterParser) call(name, before string) (*node, error) {
	f, ok := filterFunctions[name]
	if !ok {
		p.rest = before
		var have []string
		for n := range filterFunctions {
			have = append(have, n)
		}
		slices.Sort(have)
		return nil, p.wrong("there is no function %s; there are %s", name, strings.Join(have, ", "))
	}
	n := &node{op: name}
	for i := range f.args {
		if i > 0 && !p.take(",") {
			return nil, p.wrong("%s takes %d arguments", name, f.args)
		}
		x, err := p.operand()
		if err != nil {
			return nil, err
		}
		if k := x.kind(); k != null && k != words || x.op == "constant" && i == 0 || i > 0 && x.op != "constant" {
			return nil, p.wrong("%s takes a column that holds text%s",
				name, map[bool]string{true: ", and a text"}[f.args > 1])
		}
		n.args = append(n.args, x)
	}
	if !p.take(")") {
		return nil, p.wrong("%s takes %d arguments; ) is expected before %s", name, f.args, p.here())
	}
	if name == "matches" {
		re, err := regexp.Compile(n.args[1].is.s)
		if err != nil {
			return nil, p.wrong("%w", err)
		}
		n.re = re
	}
	return n, nil
}
