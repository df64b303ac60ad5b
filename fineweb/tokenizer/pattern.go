package tokenizer

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"stepflow/foreign"
)

// Patterns are in the syntax of Oniguruma 6.9 (ONIG_SYNTAX_ONIGURUMA, UTF-8), in which the tokenizers library has them
// compiled. What is not read here, such as back-references, is an error that names it.

// nodeKind says what a part of a pattern matches.
type nodeKind uint8

const (
	nodeEmpty    nodeKind = iota
	nodeSet               // one character of set
	nodeCat               // kids, one after the other
	nodeAlt               // the first of kids that leads to a match
	nodeRepeat            // kids[0], min to max times
	nodeAtomic            // kids[0], which is not tried again once it has matched
	nodeAhead             // what follows matches kids[0], or does not, if not is set
	nodeBehind            // what came before does
	nodeLine              // ^: the start of a line
	nodeLineEnd           // $
	nodeText              // \A
	nodeTextEnd           // \z
	nodeTextEnd2          // \Z: the end, or a newline before it
	nodeWord              // \b; \B if not is set
)

type node struct {
	kind     nodeKind
	kids     []*node
	set      *runeSet
	min, max int // max is -1 for no end
	lazy     bool
	not      bool
	captures bool // a group that captures what it matches
}

// Bounds of a pattern: its length in bytes, how deep its groups nest, how often {n} may repeat, and the instructions it
// becomes.
const (
	maxPattern      = 16 << 10
	maxGroups       = 100
	maxRepeat       = 100_000
	maxInstructions = 100_000
)

type flags struct{ fold, dotAll, extended bool }

type patternParser struct {
	s     string
	depth int
}

// unsupported is the error of a pattern that may mean something to the tokenizers library, but not here.
func unsupported(format string, args ...any) error {
	return fmt.Errorf("%s is not supported", fmt.Sprintf(format, args...))
}

func parsePattern(s string) (*node, error) {
	p := &patternParser{s: s}
	n, err := p.alternatives(flags{})
	if err == nil && p.s != "" {
		err = fmt.Errorf("a ) without its (")
	}
	return n, err
}

func (p *patternParser) take(prefix string) bool {
	if strings.HasPrefix(p.s, prefix) {
		p.s = p.s[len(prefix):]
		return true
	}
	return false
}

func (p *patternParser) next() rune {
	r, n := utf8.DecodeRuneInString(p.s)
	p.s = p.s[n:]
	return r
}

// alternatives reads up to the end of the group or the pattern.
func (p *patternParser) alternatives(f flags) (*node, error) {
	if p.depth++; p.depth > maxGroups {
		return nil, fmt.Errorf("groups nest more than %d deep", maxGroups)
	}
	defer func() { p.depth-- }()
	var alts []*node
	for {
		n, err := p.branch(f)
		if err != nil {
			return nil, err
		}
		alts = append(alts, n)
		if !p.take("|") {
			break
		}
	}
	if len(alts) == 1 {
		return alts[0], nil
	}
	return &node{kind: nodeAlt, kids: alts}, nil
}

func (p *patternParser) branch(f flags) (*node, error) {
	cat := &node{kind: nodeCat}
	var literal []rune // under (?i): the characters that stand beside one another
	for p.s != "" && p.s[0] != '|' && p.s[0] != ')' {
		if p.blank(f) {
			continue
		}
		n, char, rest, err := p.atom(f)
		if err != nil {
			return nil, err
		}
		if rest { // an option that holds for the rest of the group, with its alternatives
			cat.kids = append(cat.kids, n)
			return cat, nil
		}
		if n, err = p.quantified(n, f); err != nil {
			return nil, err
		}
		if f.fold {
			if char < 0 {
				literal = nil
			} else if literal = append(literal, char); foldsTogether(literal) {
				return nil, unsupported("%q where case does not matter, which may also be one character,",
					string(literal))
			}
		}
		cat.kids = append(cat.kids, n)
	}
	if len(cat.kids) == 1 {
		return cat.kids[0], nil
	}
	return cat, nil
}

// blank skips a comment, and what (?x) ignores: neither stands between a part and its repetition.
func (p *patternParser) blank(f flags) bool {
	if strings.HasPrefix(p.s, "(?#") {
		for i := 3; i < len(p.s); i++ {
			if p.s[i] == '\\' {
				i++
			} else if p.s[i] == ')' {
				p.s = p.s[i+1:]
				return true
			}
		}
	}
	if !f.extended || p.s == "" {
		return false
	}
	switch c := p.s[0]; {
	case c == '#':
		_, p.s, _ = strings.Cut(p.s, "\n")
	case c == ' ' || c >= '\t' && c <= '\r':
		p.s = p.s[1:]
	default:
		return false
	}
	return true
}

// quantified reads what says how often n is repeated.
func (p *patternParser) quantified(n *node, f flags) (*node, error) {
	for stacked, interval := false, false; ; stacked = true {
		for p.blank(f) {
		}
		on := interval // an interval after an interval repeats the whole
		lo, hi, possessive, fixed := 0, -1, false, false
		interval = false
		switch {
		case p.take("*"):
		case p.take("+"):
			lo = 1
		case p.take("?"):
			hi = 1
		case strings.HasPrefix(p.s, "{"):
			var ok bool
			if lo, hi, possessive, ok = p.interval(); !ok {
				return n, nil // the brace stands for itself
			}
			interval, fixed = true, lo == hi && !possessive
		default:
			return n, nil
		}
		if lo > maxRepeat || hi > maxRepeat {
			return nil, unsupported("a repetition of more than %d times", maxRepeat)
		}
		switch n.kind {
		case nodeAhead, nodeBehind, nodeLine, nodeLineEnd, nodeText, nodeTextEnd, nodeTextEnd2, nodeWord:
			return nil, unsupported("a repetition of what matches no text")
		}
		if stacked && !on {
			return nil, unsupported("a repetition of a repetition without a group between")
		}
		r := &node{kind: nodeRepeat, kids: []*node{n}, min: lo, max: hi}
		switch {
		case !fixed && !possessive && p.take("?"):
			r.lazy = true
		case !interval && p.take("+"):
			possessive = true
		}
		if n = r; possessive {
			n = &node{kind: nodeAtomic, kids: []*node{r}}
		}
	}
}

// interval reads {n}, {n,}, {n,m} or {,m}. If the first is more than the second, they are swapped and the repetition is
// possessive.
func (p *patternParser) interval() (lo, hi int, possessive, ok bool) {
	end := strings.IndexByte(p.s, '}')
	if end < 0 {
		return 0, 0, false, false
	}
	first, second, comma := strings.Cut(p.s[1:end], ",")
	number := func(s string, none int) (int, bool) {
		if s == "" {
			return none, true
		}
		for i := range len(s) {
			if s[i] < '0' || s[i] > '9' {
				return 0, false
			}
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			n = maxRepeat + 1
		}
		return n, true
	}
	lo, ok1 := number(first, 0)
	hi, ok2 := number(second, -1)
	if !ok1 || !ok2 || first == "" && second == "" {
		return 0, 0, false, false
	}
	if !comma {
		hi = lo
	}
	p.s = p.s[end+1:]
	if hi >= 0 && lo > hi {
		return hi, lo, true, true
	}
	return lo, hi, false, true
}

// atom reads one character, class, group or assertion. char is the character that it is, -1 if it is something else;
// rest is set if it goes to the end of the group.
func (p *patternParser) atom(f flags) (n *node, char rune, rest bool, err error) {
	one := func(kind nodeKind) (*node, rune, bool, error) { return &node{kind: kind}, -1, false, nil }
	set := func(s *runeSet) (*node, rune, bool, error) { return &node{kind: nodeSet, set: s}, -1, false, nil }
	if strings.HasPrefix(p.s, "{") {
		if _, _, _, ok := p.interval(); ok {
			return nil, -1, false, fmt.Errorf("a repetition {...} with nothing before it")
		}
	}
	switch c := p.next(); c {
	case '.':
		return set(dot(f.dotAll))
	case '^':
		return one(nodeLine)
	case '$':
		return one(nodeLineEnd)
	case '*', '+', '?':
		return nil, -1, false, fmt.Errorf("%c with nothing before it", c)
	case '[':
		s, negated, err := p.class()
		if err == nil && f.fold {
			s, err = folded(s, negated)
		}
		if err != nil {
			return nil, -1, false, err
		}
		if negated {
			s = s.not()
		}
		return set(s)
	case '(':
		n, rest, err := p.group(f)
		return n, -1, rest, err
	case '\\':
		return p.escaped(f)
	default:
		return p.literal(c, f)
	}
}

// literal is a character that stands for itself.
func (p *patternParser) literal(r rune, f flags) (n *node, char rune, rest bool, err error) {
	s, err := withCase(setOf([]runeRange{{r, r}}), f)
	if err != nil {
		return nil, -1, false, err
	}
	return &node{kind: nodeSet, set: s}, r, false, nil
}

// withCase adds the other cases of the characters of a set, where case does not matter.
func withCase(s *runeSet, f flags) (*runeSet, error) {
	if !f.fold {
		return s, nil
	}
	return folded(s, false)
}

// places are the letters that, after a backslash, are assertions about the place; dots are those of any character, and
// whether a newline is one.
var (
	places = map[byte]node{
		'b': {kind: nodeWord}, 'B': {kind: nodeWord, not: true},
		'A': {kind: nodeText}, 'z': {kind: nodeTextEnd}, 'Z': {kind: nodeTextEnd2},
	}
	dots = map[byte]bool{'N': false, 'O': true}
)

// escaped reads what follows a backslash outside a class.
func (p *patternParser) escaped(f flags) (n *node, char rune, rest bool, err error) {
	if p.s == "" {
		return nil, -1, false, fmt.Errorf(`a \ at the end`)
	}
	c := p.s[0]
	if n, ok := places[c]; ok {
		p.s = p.s[1:]
		return &n, -1, false, nil
	}
	if all, ok := dots[c]; ok {
		p.s = p.s[1:]
		return &node{kind: nodeSet, set: dot(all)}, -1, false, nil
	}
	if p.take("R") {
		return newline(), -1, false, nil
	}
	if c >= '1' && c <= '9' || strings.IndexByte("kgKGXyYQE", c) >= 0 {
		return nil, -1, false, unsupported(`\%c`, c)
	}
	s, r, err := p.escape(false)
	if err != nil {
		return nil, -1, false, err
	}
	if s == nil {
		return p.literal(r, f)
	}
	if s, err = withCase(s, f); err != nil {
		return nil, -1, false, err
	}
	return &node{kind: nodeSet, set: s}, -1, false, nil
}

// newline is \R: a carriage return and a newline, or one character that ends a line.
func newline() *node {
	set := func(ranges ...runeRange) *node { return &node{kind: nodeSet, set: setOf(ranges)} }
	line := set(runeRange{'\n', '\r'}, runeRange{0x85, 0x85}, runeRange{0x2028, 0x2029})
	both := &node{kind: nodeCat, kids: []*node{set(runeRange{'\r', '\r'}), set(runeRange{'\n', '\n'})}}
	return &node{kind: nodeAtomic, kids: []*node{{kind: nodeAlt, kids: []*node{both, line}}}}
}

func dot(all bool) *runeSet {
	if all {
		return setOf([]runeRange{{0, lastRune}})
	}
	return setOf([]runeRange{{'\n', '\n'}}).not()
}

// group reads what follows a parenthesis.
func (p *patternParser) group(f flags) (n *node, rest bool, err error) {
	kind, not, captures := nodeEmpty, false, false
	switch {
	case strings.HasPrefix(p.s, "*"):
		return nil, false, unsupported("(*")
	case !p.take("?"):
		captures = true
	case p.take(":"):
	case strings.HasPrefix(p.s, "#"):
		return nil, false, fmt.Errorf("a comment without its )")
	case p.take("="):
		kind = nodeAhead
	case p.take("!"):
		kind, not = nodeAhead, true
	case p.take(">"):
		kind = nodeAtomic
	case p.take("<="):
		kind = nodeBehind
	case p.take("<!"):
		kind, not = nodeBehind, true
	case p.take("<"):
		odd := func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }
		name, after, ok := strings.Cut(p.s, ">")
		if !ok || name == "" || strings.ContainsFunc(name, odd) {
			return nil, false, unsupported("the group's name \"%s\"", foreign.ShownStart(name, 20))
		}
		p.s, captures = after, true
	default:
		return p.options(f)
	}
	if n, err = p.alternatives(f); err != nil {
		return nil, false, err
	}
	if !p.take(")") {
		return nil, false, fmt.Errorf("a ( without its )")
	}
	if kind == nodeBehind {
		if _, most := n.length(); most < 0 {
			return nil, false, unsupported("a lookbehind without a greatest length")
		}
		if what := n.notBehind(not); what != "" {
			return nil, false, unsupported("%s in a lookbehind", what)
		}
	}
	if kind == nodeEmpty { // a group by itself, so that what repeats it is not taken for a repetition of a repetition
		return &node{kind: nodeCat, kids: []*node{n}, captures: captures}, false, nil
	}
	return &node{kind: kind, kids: []*node{n}, not: not}, false, nil
}

// options reads letters of options and what they hold for: the group up to its parenthesis, or what is left of the
// group around it.
func (p *patternParser) options(f flags) (n *node, rest bool, err error) {
	for on, options := true, p.s; ; {
		if p.s == "" {
			return nil, false, fmt.Errorf("a ( without its )")
		}
		switch c := p.next(); c {
		case '-':
			on = false
		case 'i':
			f.fold = on
		case 'm':
			f.dotAll = on
		case 'x':
			f.extended = on
		case ')': // for the rest of the group
			if options[0] == ')' {
				return nil, false, fmt.Errorf("(?) names no option")
			}
			n, err := p.alternatives(f)
			return n, true, err
		case ':':
			n, err = p.alternatives(f)
			if err == nil && !p.take(")") {
				err = fmt.Errorf("a ( without its )")
			}
			return n, false, err
		default:
			return nil, false, unsupported("(?%c", c)
		}
	}
}

// notBehind says what of n Oniguruma refuses in (?<= ), or in (?<! ) if not is set; "" for nothing.
func (n *node) notBehind(not bool) string {
	switch {
	case n.kind == nodeAhead:
		return "a look ahead"
	case n.kind == nodeBehind && n.not && !not:
		return "(?<!"
	case n.kind == nodeTextEnd:
		return `\z`
	case n.kind == nodeTextEnd2:
		return `\Z`
	case n.captures && not:
		return "a group that captures"
	}
	for _, kid := range n.kids {
		if what := kid.notBehind(not); what != "" {
			return what
		}
	}
	return ""
}

// length is the number of characters that a part matches, the least and the most; most is -1 if there is no bound.
func (n *node) length() (least, most int) {
	switch n.kind {
	case nodeSet:
		return 1, 1
	case nodeCat:
		for _, k := range n.kids {
			a, b := k.length()
			if least = min(least+a, maxInstructions); most >= 0 {
				most = min(most+b, maxInstructions)
			}
			if b < 0 {
				most = -1
			}
		}
	case nodeAlt:
		endless := false
		for i, k := range n.kids {
			a, b := k.length()
			if i == 0 {
				least = a
			}
			least, most, endless = min(least, a), max(most, b), endless || b < 0
		}
		if endless {
			return least, -1
		}
	case nodeRepeat:
		a, b := n.kids[0].length()
		least = min(a*n.min, maxInstructions)
		if n.max < 0 || b < 0 {
			return least, -1
		}
		return least, min(b*n.max, maxInstructions)
	case nodeAtomic:
		return n.kids[0].length()
	}
	return least, most
}
