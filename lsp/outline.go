package lsp

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// token is a token of HCL.
type token struct {
	kind hclsyntax.TokenType
	span
}

// item is a block or an attribute. It may be unfinished.
type item struct {
	name   span
	labels []span // without quotes
	whole  span
	block  bool
	closed bool    // a block with its last bracket
	body   span    // of a block: what is between its brackets
	items  []*item // of a block: what it holds
	value  []token // of an attribute: its expression
	equals bool    // an attribute: its name is followed by =
}

// outline is the form of a text of HCL, also of one that is broken: a bracket, a quote or a value may be missing.
type outline struct {
	src   []byte
	items []*item
	open  []*item // the blocks whose last bracket is missing, the outermost first
	last  *item   // the item that the text ends in, if it does not end between two
	quote bool    // the text ends in a label, before its last quote
}

// mends bounds how often the tokens of a text are read again behind a quote that is missing.
const mends = 16

// lex cuts a text into tokens, without comments. A quote that is not closed in its line ends with it.
func lex(src []byte) (list []token) {
	for from, times := 0, 0; ; times++ {
		tokens, _ := hclsyntax.LexConfig(src[from:], "", hcl.InitialPos)
		again := -1
		for _, t := range tokens {
			k := token{t.Type, span{from + t.Range.Start.Byte, from + t.Range.End.Byte}}
			switch {
			case k.kind == hclsyntax.TokenQuotedNewline && times < mends:
				list = append(list, token{hclsyntax.TokenNewline, k.span})
				again = k.end
			case k.kind == hclsyntax.TokenComment && k.end > k.start && src[k.end-1] == '\n':
				list = append(list, token{hclsyntax.TokenNewline, span{k.end - 1, k.end}})
			case k.kind != hclsyntax.TokenComment:
				list = append(list, k)
			}
			if again >= 0 {
				break
			}
		}
		if again < 0 {
			return list
		}
		from = again
	}
}

// newOutline returns the outline of a text.
func newOutline(src []byte) *outline {
	o := &outline{src: src}
	r := outliner{o: o, tokens: lex(src)}
	for r.peek() != hclsyntax.TokenEOF {
		r.next()
	}
	for _, b := range o.open {
		b.body.end, b.whole.end = len(src), len(src)
	}
	return o
}

// outliner makes an outline of tokens.
type outliner struct {
	o      *outline
	tokens []token
	at     int
}

// peek returns the kind of the next token.
func (r *outliner) peek() hclsyntax.TokenType {
	if r.at >= len(r.tokens) {
		return hclsyntax.TokenEOF
	}
	return r.tokens[r.at].kind
}

// next reads an item, or whatever else comes next.
func (r *outliner) next() {
	o := r.o
	t := r.tokens[r.at]
	switch t.kind {
	case hclsyntax.TokenIdent:
		r.item()
		return
	case hclsyntax.TokenCBrace:
		if n := len(o.open); n > 0 {
			b := o.open[n-1]
			b.closed, b.body.end, b.whole.end = true, t.start, t.end
			o.open = o.open[:n-1]
		}
	}
	o.last = nil
	r.at++
}

// add puts an item into the innermost block that is open.
func (r *outliner) add(x *item) {
	o := r.o
	if n := len(o.open); n > 0 {
		o.open[n-1].items = append(o.open[n-1].items, x)
	} else {
		o.items = append(o.items, x)
	}
	o.last = x
}

// item reads a name and what belongs to it: a value, or labels and a bracket.
func (r *outliner) item() {
	o := r.o
	x := &item{name: r.tokens[r.at].span, whole: r.tokens[r.at].span}
	r.at++
	r.add(x)
	for {
		switch t := r.peek(); t {
		case hclsyntax.TokenEqual:
			if len(x.labels) == 0 {
				r.at++
				x.equals = true
				r.value(x)
			}
			return
		case hclsyntax.TokenOQuote:
			r.label(x)
		case hclsyntax.TokenIdent:
			x.labels = append(x.labels, r.tokens[r.at].span)
			x.whole.end = r.tokens[r.at].end
			r.at++
		case hclsyntax.TokenOBrace:
			brace := r.tokens[r.at]
			r.at++
			x.block, x.body, x.whole.end = true, span{brace.end, brace.end}, brace.end
			o.open = append(o.open, x)
			o.last = nil
			return
		default:
			return
		}
	}
}

// label reads a label in quotes.
func (r *outliner) label(x *item) {
	label := span{r.tokens[r.at].end, r.tokens[r.at].end}
	r.o.quote = true
	for r.at++; r.peek() != hclsyntax.TokenEOF; r.at++ {
		t := r.tokens[r.at]
		if t.kind == hclsyntax.TokenNewline {
			r.o.quote = false
			break
		}
		if t.kind == hclsyntax.TokenCQuote {
			r.o.quote = false
			r.at++
			x.whole.end = t.end
			break
		}
		label.end, x.whole.end = t.end, t.end
	}
	x.labels = append(x.labels, label)
}

// opens and closes pair the tokens between which a line may end inside of a value.
var (
	opens = map[hclsyntax.TokenType]bool{hclsyntax.TokenOBrace: true, hclsyntax.TokenOBrack: true,
		hclsyntax.TokenOParen: true, hclsyntax.TokenTemplateInterp: true, hclsyntax.TokenTemplateControl: true,
		hclsyntax.TokenOQuote: true, hclsyntax.TokenOHeredoc: true}
	closes = map[hclsyntax.TokenType]bool{hclsyntax.TokenCBrace: true, hclsyntax.TokenCBrack: true,
		hclsyntax.TokenCParen: true, hclsyntax.TokenTemplateSeqEnd: true, hclsyntax.TokenCQuote: true,
		hclsyntax.TokenCHeredoc: true}
)

// value reads the expression of an attribute, up to the end of its line outside of brackets. Where a bracket is
// missing, it ends before the next attribute, and before the last bracket of the block.
func (r *outliner) value(x *item) {
	var open []hclsyntax.TokenType
	start := r.at
	for ; r.peek() != hclsyntax.TokenEOF; r.at++ {
		t := r.tokens[r.at]
		switch {
		case opens[t.kind]:
			open = append(open, t.kind)
		case t.kind == hclsyntax.TokenCBrace && (len(open) == 0 || open[len(open)-1] != hclsyntax.TokenOBrace):
			r.o.last = nil
			x.value = r.tokens[start:r.at]
			return
		case closes[t.kind] && len(open) > 0:
			open = open[:len(open)-1]
		case t.kind == hclsyntax.TokenNewline:
			if n := len(open); n > 0 && open[n-1] == hclsyntax.TokenOQuote {
				open = open[:n-1] // lex ended it here
			}
			if len(open) == 0 || r.bracketMissing(open[len(open)-1]) {
				r.o.last = nil
				x.value = r.tokens[start:r.at]
				return
			}
		}
		x.whole.end = t.end
	}
	x.value = r.tokens[start:r.at]
}

// bracketMissing reports whether the line after this one is an attribute, where a list or the arguments of a call would
// go on.
func (r *outliner) bracketMissing(open hclsyntax.TokenType) bool {
	if open != hclsyntax.TokenOBrack && open != hclsyntax.TokenOParen {
		return false
	}
	i := r.at + 1
	return i+1 < len(r.tokens) && r.tokens[i].kind == hclsyntax.TokenIdent && r.tokens[i+1].kind == hclsyntax.TokenEqual
}

// path returns the blocks around a place, the outermost first, and the item of the innermost in which it is, if any.
func (o *outline) path(at int) (blocks []*item, in *item) {
	items := o.items
next:
	for {
		for _, x := range items {
			if !x.whole.holds(at) {
				continue
			}
			if x.block && x.body.holds(at) {
				blocks, items = append(blocks, x), x.items
				continue next
			}
			return blocks, x
		}
		return blocks, nil
	}
}

// text returns the text of a part.
func (o *outline) text(s span) string { return s.in(o.src) }

// label returns a label of an item; "" if it has no such label.
func (o *outline) label(x *item, i int) string {
	if i < len(x.labels) {
		return o.text(x.labels[i])
	}
	return ""
}
