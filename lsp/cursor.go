package lsp

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"stepflow/dsl"
)

// cursor is a place in a file at which somebody is typing. It goes by the text before it, which is well-formed more
// often than the whole.
type cursor struct {
	*spot
	before *outline
	path   []dsl.Head // the blocks around
	word   span       // the name that ends at the cursor; it may be empty
	given  []*item    // what the innermost block holds, as far as can be told
}

// cursor returns what is before a place; nil in a comment.
func (s *session) cursor(p positionParams) (*cursor, error) {
	x, err := s.spotAt(p)
	if err != nil {
		return nil, err
	}
	src := x.part.src[:x.at]
	if inComment(src) {
		return nil, nil
	}
	c := &cursor{spot: x, before: newOutline(src), word: span{x.at, x.at}}
	c.path = heads(c.before, c.before.open)
	c.given = c.before.items
	if n := len(c.before.open); n > 0 {
		c.given = c.before.open[n-1].items
	}
	if len(x.blocks) == len(c.path) { // the text after the cursor does not mislead
		c.given = x.part.items
		if n := len(x.blocks); n > 0 {
			c.given = x.blocks[n-1].items
		}
	}
	for c.word.start > 0 && isInName(src[c.word.start-1]) {
		c.word.start--
	}
	return c, nil
}

// inComment reports whether a text ends in a comment.
func inComment(src []byte) bool {
	tokens, _ := hclsyntax.LexConfig(src, "", hcl.InitialPos)
	for i, t := range tokens {
		next := tokens[min(i+1, len(tokens)-1)]
		switch {
		case t.Type == hclsyntax.TokenSlash && next.Type == hclsyntax.TokenStar && t.Range.End == next.Range.Start:
			return true // one that is not closed
		case t.Type == hclsyntax.TokenComment && next.Type == hclsyntax.TokenEOF && len(t.Bytes) > 0:
			return t.Bytes[0] == '#' && t.Bytes[len(t.Bytes)-1] != '\n' ||
				len(t.Bytes) > 1 && t.Bytes[1] == '/' && t.Bytes[len(t.Bytes)-1] != '\n'
		}
	}
	return false
}

// row returns the row of the attribute in whose value the cursor is; nil if there is none.
func (c *cursor) row() *dsl.Attr {
	body := c.bodyOf(c.path)
	return body.Attr(c.before.text(c.before.last.name))
}

// has reports whether the innermost block has an attribute or a block of a name, other than what the cursor is in.
func (c *cursor) has(name string) bool {
	return slices.ContainsFunc(c.given, func(x *item) bool {
		return (x.equals || x.block) && !(x.name.start < c.at && c.at <= x.name.end) && c.part.text(x.name) == name
	})
}

// value is the part of an expression before the cursor.
type value struct {
	tokens []token
	open   []int    // the tokens whose brackets and quotes are open
	chain  []string // the names before the word, as stage and seed in stage.seed.lo
	after  bool     // a dot is before the word
}

// value returns the expression that the cursor is in.
func (c *cursor) value() *value {
	v := &value{tokens: slices.DeleteFunc(slices.Clone(c.before.last.value),
		func(t token) bool { return t.kind == hclsyntax.TokenEOF })}
	ends, open := pairs(v.tokens)
	v.open = open
	v.readChain(c, ends)
	return v
}

// readChain reads the names before the word, from the last to the first.
func (v *value) readChain(c *cursor, ends map[int]int) {
	i := len(v.tokens) - 1
	if i >= 0 && v.tokens[i].kind == hclsyntax.TokenIdent && v.tokens[i].end == c.at {
		i--
	}
	starts := map[int]int{}
	for from, to := range ends {
		starts[to] = from
	}
	v.after = i >= 0 && v.tokens[i].kind == hclsyntax.TokenDot
	for i >= 0 && v.tokens[i].kind == hclsyntax.TokenDot {
		for i--; i >= 0 && v.tokens[i].kind == hclsyntax.TokenCBrack; i-- {
			from, ok := starts[i]
			if !ok {
				return
			}
			i = from
		}
		if i < 0 || v.tokens[i].kind != hclsyntax.TokenIdent {
			v.chain = nil
			return
		}
		v.chain = append([]string{c.before.text(v.tokens[i].span)}, v.chain...)
		i--
	}
}

// inner returns the token of the innermost bracket or quote that is open; ok is false if there is none.
func (v *value) inner() (t token, ok bool) {
	if n := len(v.open); n > 0 {
		return v.tokens[v.open[n-1]], true
	}
	return t, false
}

// quoted reports whether the cursor is in a text in quotes, outside of templates in it.
func (v *value) quoted() bool {
	t, ok := v.inner()
	return ok && (t.kind == hclsyntax.TokenOQuote || t.kind == hclsyntax.TokenOHeredoc)
}

// listed reports whether the cursor is directly in the value, or in a list that is the value.
func (v *value) listed() bool {
	return len(v.open) == 0 || len(v.open) == 1 && v.tokens[v.open[0]].kind == hclsyntax.TokenOBrack && v.open[0] == 0
}
