package lsp

import (
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"stepflow/dsl"
	"stepflow/dsl/addr"
)

// name is a place where something of a pipeline is declared or used.
type name struct {
	addr     addr.Addr // without a key
	at       span      // the last part of the address, which a declaration may change
	whole    span      // declared: the block or attribute; used: with what is read of it
	declared bool
	block    *item  // that is declared
	steps    []span // what is read of it, such as loss in stage.seed.loss
	in       string // the type of the outermost block around it
}

// roots are the names with which a reference begins, and whether a type follows them.
var roots = func() map[string]bool {
	all := map[string]bool{"module": false}
	for _, k := range addr.Kinds {
		all[k] = addr.Typed[k]
	}
	return all
}()

// findNames lists the names in an outline, in their order.
func (o *outline) findNames() (list []name) {
	for _, x := range o.items {
		if !x.block {
			continue
		}
		in := o.text(x.name)
		if n, ok := o.declaration(x); ok {
			list = append(list, n)
		}
		if in == "locals" {
			for _, a := range x.items {
				if a.equals {
					list = append(list, name{addr: addr.Addr{Kind: "local", Name: o.text(a.name)}, at: a.name, whole: a.whole,
						declared: true, in: in})
				}
			}
		}
		list = append(list, o.usesIn(x, in)...)
	}
	return list
}

// declaration returns the name that a block declares.
func (o *outline) declaration(x *item) (n name, ok bool) {
	n = name{whole: x.whole, block: x, declared: true, in: o.text(x.name)}
	switch kind := n.in; {
	case kind == "variable":
		n.addr.Kind = "var"
	case kind == "module", kind == "check", dsl.KindOf(kind) != nil && !dsl.KindOf(kind).NoLabel:
		n.addr.Kind = kind
	default:
		return n, false
	}
	last := 0
	if addr.Typed[n.addr.Kind] {
		n.addr.Type, last = o.label(x, 0), 1
	}
	if len(x.labels) <= last {
		return n, false
	}
	n.addr.Name, n.at = o.label(x, last), x.labels[last]
	return n, n.addr.Name != ""
}

// usesIn lists what the attributes of a block refer to, and those of the blocks in it.
func (o *outline) usesIn(x *item, in string) (list []name) {
	if o.text(x.name) == "variables" {
		list = o.settings(x.items)
	}
	for _, sub := range x.items {
		if sub.block {
			list = append(list, o.usesIn(sub, in)...)
			continue
		}
		for _, c := range chains(sub.value) {
			if n, ok := o.use(c, in); ok {
				list = append(list, n)
			}
		}
	}
	return list
}

// chain is a name with what is read of it, such as stage.grid["a"].loss: the names, without what is in brackets.
type chain []span

// chains lists the chains in the tokens of an expression.
func chains(tokens []token) (list []chain) {
	ends, _ := pairs(tokens)
	for i, t := range tokens {
		if t.kind == hclsyntax.TokenIdent && (i == 0 || tokens[i-1].kind != hclsyntax.TokenDot) {
			list = append(list, chainAt(tokens, ends, i))
		}
	}
	return list
}

// chainAt returns the chain that begins at a token.
func chainAt(tokens []token, ends map[int]int, at int) chain {
	c := chain{tokens[at].span}
	for at++; at+1 < len(tokens); {
		switch next := tokens[at+1]; {
		case tokens[at].kind == hclsyntax.TokenDot && next.kind == hclsyntax.TokenIdent:
			c = append(c, next.span)
			at += 2
		case tokens[at].kind == hclsyntax.TokenDot && next.kind == hclsyntax.TokenStar:
			at += 2
		case tokens[at].kind == hclsyntax.TokenOBrack && ends[at] > 0:
			at = ends[at] + 1
		default:
			return c
		}
	}
	return c
}

// pairs returns where the brackets and quotes end that begin at tokens, and which do not end, the outermost first.
func pairs(tokens []token) (ends map[int]int, open []int) {
	ends = map[int]int{}
	for i, t := range tokens {
		switch {
		case opens[t.kind]:
			open = append(open, i)
		case closes[t.kind] && len(open) > 0:
			ends[open[len(open)-1]] = i
			open = open[:len(open)-1]
		}
	}
	return ends, open
}

// use returns what a chain refers to.
func (o *outline) use(c chain, in string) (n name, ok bool) {
	typed, ok := roots[o.text(c[0])]
	last := 1
	if typed {
		last = 2
	}
	if !ok || len(c) <= last || o.text(c[0]) == "output" && in != "run" {
		return n, false // only tests name outputs
	}
	n = name{addr: addr.Addr{Kind: o.text(c[0]), Name: o.text(c[last])}, at: c[last],
		whole: span{c[0].start, c[len(c)-1].end}, steps: c[last+1:], in: in}
	if typed {
		n.addr.Type = o.text(c[1])
	}
	return n, true
}

// settings lists the variables that attributes set, those of a file of values or in a block of a test.
func (o *outline) settings(items []*item) (list []name) {
	for _, x := range items {
		if x.equals {
			list = append(list, name{addr: addr.Addr{Kind: "var", Name: o.text(x.name)}, at: x.name, whole: x.name})
		}
	}
	return list
}
