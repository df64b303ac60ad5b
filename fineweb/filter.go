package fineweb

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"stepflow/foreign"
)

// A filter is an expression over the columns of a row, such as
//
//	language == 'en' && (int_score >= 3 || token_count < 1000)
//
// It is parsed once and costs, for each row, a step for each of its operators and what its functions read of a text. A row stays
// where it is true. A comparison with null is null, as in SQL, but for == null and != null; so is what depends on it.
type filter struct {
	root    *node
	columns []string // that it reads, each once
}

// node is an operator, a function, a column or a constant.
type node struct {
	op   string // of an operator or a function; "column", "constant" or "in"
	args []*node
	at   int             // column: its place in filter.columns
	name string          // column
	is   value           // constant
	text map[string]bool // in: the texts
	nums []value         // in: the numbers, in their order
	null bool            // in: null is among them
	re   *regexp.Regexp  // matches
}

// Bounds of a filter: its length in bytes, and how deep it nests.
const (
	maxFilter  = 64 << 10
	maxFilters = 100
)

// CheckFilter reports what is wrong with a filter's text, as far as that can be said without the data.
func CheckFilter(text string) error {
	_, err := parseFilter(text)
	return err
}

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
	return fmt.Errorf("at character %d of the filter: "+format, append([]any{utf8.RuneCountInString(p.whole[:len(p.whole)-len(p.rest)]) + 1}, args...)...)
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
var hints = map[string]string{"and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!", "is": "==", "IS": "==", "IN": "in", "&": "&&", "|": "||", "=": "==", "<>": "!="}

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

// comparable reports why two kinds of values cannot be compared; null stands for what is not known yet.
func comparable(op string, a, b valueKind) error {
	switch {
	case a == nested || b == nested:
		return errors.New("what is neither a number, nor text, nor true or false cannot be compared")
	case a == null || b == null:
		return nil
	case a != b:
		return fmt.Errorf("%s cannot be compared with %s", kindNames[a], kindNames[b])
	case a == truth && op != "==" && op != "!=":
		return fmt.Errorf("%s does not order true and false", op)
	}
	return nil
}

// word takes a name: letters, digits, underscores, and dots between them.
func (p *filterParser) word() string {
	p.space()
	end := strings.IndexFunc(p.rest, func(r rune) bool { return r != '_' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	if end < 0 {
		end = len(p.rest)
	}
	w := p.rest[:end]
	p.rest = p.rest[end:]
	return w
}

// list reads the constants behind in.
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
			return nil, p.wrong("a list behind in holds numbers and texts only")
		}
		switch {
		case x.is.kind == words:
			n.text[x.is.s] = true
		case x.is.kind == null:
			n.null = true
		case x.is.number():
			n.nums = append(n.nums, x.is)
		default:
			return nil, p.wrong("a list behind in holds numbers and texts only")
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

// functions are those of a filter, under the names that they have in Terraform: how many arguments each takes, and the kind of its
// value. The second argument is a constant text.
var filterFunctions = map[string]struct {
	args int
	kind valueKind
}{
	"length": {1, fraction}, "lower": {1, words}, "startswith": {2, truth}, "endswith": {2, truth}, "strcontains": {2, truth}, "matches": {2, truth},
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
		if v.kind == null || v.kind == fraction && v.exactless() {
			return nil, p.wrong("%s is not a number", p.here())
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

// exactless reports whether a fraction is beyond float64.
func (v value) exactless() bool { return v.f-v.f != 0 }

func (p *filterParser) column(name string) *node {
	at := slices.Index(p.filter.columns, name)
	if at < 0 {
		at = len(p.filter.columns)
		p.filter.columns = append(p.filter.columns, name)
	}
	return &node{op: "column", at: at, name: name}
}

// quoted reads a text or a column's name between quotes; a backslash before one, or before itself, makes it an ordinary character.
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
			return nil, p.wrong("%s takes a column that holds text%s", name, map[bool]string{true: ", and a text"}[f.args > 1])
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

// kind is that of a node's value: truth, words, fraction for any number; null where only the data say, or it is null.
func (n *node) kind() valueKind {
	switch n.op {
	case "constant":
		if n.is.number() {
			return fraction
		}
		return n.is.kind
	case "column":
		return null
	}
	if f, ok := filterFunctions[n.op]; ok {
		return f.kind
	}
	return truth
}

// typed checks a filter against the kinds of the columns, in the order of filter.columns. An error names the column's place, or -1.
func (f *filter) typed(kinds []valueKind) (column int, err error) {
	k, column, err := f.root.typed(kinds)
	if err == nil && k != null && k != truth {
		err = errors.New("the filter is not a condition: compare the column with something")
	}
	return column, err
}

func (n *node) typed(kinds []valueKind) (kind valueKind, column int, err error) {
	switch n.op {
	case "column":
		return kinds[n.at], n.at, nil
	case "constant":
		return n.kind(), -1, nil
	}
	column = -1
	ks := make([]valueKind, len(n.args))
	for i, x := range n.args {
		k, c, err := x.typed(kinds)
		if err != nil {
			return k, c, err
		}
		if ks[i] = k; column < 0 {
			column = c
		}
		if (n.op == "&&" || n.op == "||" || n.op == "!") && k != null && k != truth {
			return k, c, fmt.Errorf("%s stands between conditions, not beside %s", n.op, kindNames[k])
		}
	}
	if len(ks) == 2 && n.args[0].op == "column" && n.args[1].op == "column" && ks[0] != ks[1] {
		column = n.args[1].at
	}
	switch n.op {
	case "&&", "||", "!":
	case "in":
		if k := ks[0]; k == nested || k == truth || k == words && len(n.nums) > 0 || k == fraction && len(n.text) > 0 {
			err = fmt.Errorf("%s cannot be in a list of %s", kindNames[k], map[bool]string{true: "texts", false: "numbers"}[len(n.text) > 0])
		}
	case "==", "!=", "<", "<=", ">", ">=":
		if !(n.args[0].isNull() || n.args[1].isNull()) { // anything may be null
			err = comparable(n.op, ks[0], ks[1])
		}
	default:
		if ks[0] != null && ks[0] != words {
			err = fmt.Errorf("%s takes text, not %s", n.op, kindNames[ks[0]])
		}
	}
	return n.kind(), column, err
}

// label names what a node stands for.
func (n *node) label() string {
	if n.op == "column" {
		return strconv.Quote(n.name)
	}
	return "a part of the filter"
}

// isNull reports whether a node is the word null.
func (n *node) isNull() bool { return n.op == "constant" && n.is.kind == null }

// keeps reports whether a row stays. It is an error where values cannot be compared, which names the column's place.
func (f *filter) keeps(row []value) (bool, error) {
	v, err := f.root.eval(row)
	if err != nil {
		return false, err
	}
	if v.kind != truth && v.kind != null {
		return false, fmt.Errorf("the filter is %s, not a condition", kindNames[v.kind])
	}
	return v.kind == truth && v.i == 1, nil
}

func (n *node) eval(row []value) (value, error) {
	switch n.op {
	case "constant":
		return n.is, nil
	case "column":
		return row[n.at], nil
	case "&&", "||":
		return n.logic(row)
	}
	x, err := n.args[0].eval(row)
	if err != nil {
		return x, err
	}
	if len(n.args) == 2 && n.re == nil {
		y, err := n.args[1].eval(row)
		if err != nil {
			return y, err
		}
		if _, isFunction := filterFunctions[n.op]; !isFunction {
			return n.compares(x, y)
		}
	}
	if x.kind == null {
		if n.op == "in" && n.null {
			return truthOf(true), nil
		}
		return value{}, nil
	}
	switch n.op {
	case "!":
		if x.kind != truth {
			return x, fmt.Errorf("! stands before %s, which is %s", n.args[0].label(), kindNames[x.kind])
		}
		return truthOf(x.i == 0), nil
	case "in":
		if x.kind == words && len(n.nums) == 0 {
			return truthOf(n.text[x.s]), nil
		}
		if x.number() && len(n.text) == 0 {
			if _, ok := order(x, x); !ok {
				return truthOf(false), nil
			}
			_, found := slices.BinarySearchFunc(n.nums, x, func(a, b value) int { c, _ := order(a, b); return c })
			return truthOf(found), nil
		}
		return x, fmt.Errorf("%s is %s; the list behind in holds other values", n.args[0].label(), kindNames[x.kind])
	}
	if x.kind != words {
		return x, fmt.Errorf("%s is %s; %s takes text", n.args[0].label(), kindNames[x.kind], n.op)
	}
	switch n.op {
	case "length":
		return value{kind: integer, i: int64(utf8.RuneCountInString(x.s))}, nil
	case "lower":
		return value{kind: words, s: strings.ToLower(x.s)}, nil
	case "startswith":
		return truthOf(strings.HasPrefix(x.s, n.args[1].is.s)), nil
	case "endswith":
		return truthOf(strings.HasSuffix(x.s, n.args[1].is.s)), nil
	case "strcontains":
		return truthOf(strings.Contains(x.s, n.args[1].is.s)), nil
	}
	return truthOf(n.re.MatchString(x.s)), nil
}

// logic is && and || of three values: null && false is false, null || true is true.
func (n *node) logic(row []value) (value, error) {
	ends, unknown := n.op == "||", false
	for _, a := range n.args {
		v, err := a.eval(row)
		switch {
		case err != nil:
			return v, err
		case v.kind == null:
			unknown = true
		case v.kind != truth:
			return v, fmt.Errorf("%s is %s; %s stands between conditions", a.label(), kindNames[v.kind], n.op)
		case (v.i == 1) == ends:
			return v, nil
		}
	}
	if unknown {
		return value{}, nil
	}
	return truthOf(!ends), nil
}

func (n *node) compares(x, y value) (value, error) {
	for _, a := range n.args {
		if a.isNull() {
			if n.op != "==" && n.op != "!=" {
				return value{}, nil
			}
			return truthOf((x.kind == y.kind) == (n.op == "==")), nil
		}
	}
	if x.kind == null || y.kind == null {
		return value{}, nil
	}
	var c int
	switch {
	case x.number() && y.number():
		var ok bool
		if c, ok = order(x, y); !ok { // NaN
			return truthOf(n.op == "!="), nil
		}
	case x.kind == words && y.kind == words:
		c = strings.Compare(x.s, y.s)
	case x.kind == truth && y.kind == truth && (n.op == "==" || n.op == "!="):
		c = compare(x.i, y.i)
	default:
		return x, fmt.Errorf("%s is %s; it is compared with %s", n.args[0].label(), kindNames[x.kind], kindNames[y.kind])
	}
	switch n.op {
	case "==":
		return truthOf(c == 0), nil
	case "!=":
		return truthOf(c != 0), nil
	case "<":
		return truthOf(c < 0), nil
	case "<=":
		return truthOf(c <= 0), nil
	case ">":
		return truthOf(c > 0), nil
	}
	return truthOf(c >= 0), nil
}

// extent is the least and the largest number of a column in some rows.
type extent struct{ least, most value }

// possible reports whether a row may be kept, by what is known of the columns; known gives no extent where nothing is.
func (n *node) possible(known func(column int) (extent, bool)) bool {
	switch n.op {
	case "&&":
		return !slices.ContainsFunc(n.args, func(a *node) bool { return !a.possible(known) })
	case "||":
		return slices.ContainsFunc(n.args, func(a *node) bool { return a.possible(known) })
	case "==", "<", "<=", ">", ">=":
	default:
		return true
	}
	column, constant, op := n.args[0], n.args[1], n.op
	if column.op == "constant" {
		column, constant = constant, column
		op = map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}[op]
	}
	if column.op != "column" || constant.op != "constant" || !constant.is.number() {
		return true
	}
	x, ok := known(column.at)
	if !ok {
		return true
	}
	low, ok1 := order(x.least, constant.is)
	high, ok2 := order(x.most, constant.is)
	if !ok1 || !ok2 {
		return true
	}
	switch op {
	case "==":
		return low <= 0 && high >= 0
	case "<":
		return low < 0
	case "<=":
		return low <= 0
	case ">":
		return high > 0
	}
	return high >= 0
}

// quoteFilter writes a text as a filter has it.
func quoteFilter(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// conditions is the filter of a source: what its attributes ask for, and its own expression.
func (s *Source) conditions() string {
	var all []string
	number := func(column, op string, x *float64) {
		if x != nil {
			all = append(all, column+" "+op+" "+strconv.FormatFloat(*x, 'g', -1, 64))
		}
	}
	whole := func(column, op string, x *int64) {
		if x != nil {
			all = append(all, column+" "+op+" "+strconv.FormatInt(*x, 10))
		}
	}
	among := func(column string, list []string) {
		if len(list) > 0 {
			quoted := make([]string, len(list))
			for i, l := range list {
				quoted[i] = quoteFilter(l)
			}
			all = append(all, column+" in ["+strings.Join(quoted, ", ")+"]")
		}
	}
	whole("int_score", ">=", s.MinIntScore)
	number("score", ">=", s.MinScore)
	number("language_score", ">=", s.MinLanguageScore)
	whole("token_count", ">=", s.MinTokenCount)
	whole("token_count", "<=", s.MaxTokenCount)
	among("language", s.Languages)
	among("dump", s.Dumps)
	if f := strings.TrimSpace(s.Filter); f != "" {
		all = append(all, "("+f+")")
	}
	return strings.Join(all, " && ")
}

// quotedConditions shows the filter of a source, if it is short, behind a colon.
func (s *Source) quotedConditions() string {
	if all := s.conditions(); all != "" && len(all) <= 200 {
		return ": " + foreign.Shown(all)
	}
	return ""
}
