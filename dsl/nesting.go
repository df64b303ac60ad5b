package dsl

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// nests and closes hold the tokens that open and close a level, and chains those that add a level without closing it.
var (
	nests = tokens(hclsyntax.TokenOBrace, hclsyntax.TokenOBrack, hclsyntax.TokenOParen, hclsyntax.TokenOQuote,
		hclsyntax.TokenOHeredoc, hclsyntax.TokenTemplateInterp, hclsyntax.TokenTemplateControl)
	closes = tokens(hclsyntax.TokenCBrace, hclsyntax.TokenCBrack, hclsyntax.TokenCParen, hclsyntax.TokenCQuote,
		hclsyntax.TokenCHeredoc, hclsyntax.TokenTemplateSeqEnd)
	chains = tokens(hclsyntax.TokenStar, hclsyntax.TokenSlash, hclsyntax.TokenPlus, hclsyntax.TokenMinus,
		hclsyntax.TokenPercent, hclsyntax.TokenEqualOp, hclsyntax.TokenNotEqual, hclsyntax.TokenLessThan,
		hclsyntax.TokenLessThanEq, hclsyntax.TokenGreaterThan, hclsyntax.TokenGreaterThanEq, hclsyntax.TokenAnd,
		hclsyntax.TokenOr, hclsyntax.TokenBang, hclsyntax.TokenQuestion, hclsyntax.TokenColon, hclsyntax.TokenOBrack,
		hclsyntax.TokenTemplateControl)
)

func tokens(list ...hclsyntax.TokenType) map[hclsyntax.TokenType]bool {
	set := map[hclsyntax.TokenType]bool{}
	for _, t := range list {
		set[t] = true
	}
	return set
}

// checkNesting reports the place at which a file nests too far to be parsed.
func checkNesting(src []byte, filename string) hcl.Diagnostics {
	list, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos) // the parser reports invalid tokens
	return checkTokens(list)
}

// checkTokens is checkNesting of what a file was cut into.
func checkTokens(list hclsyntax.Tokens) hcl.Diagnostics {
	type level struct {
		open  hclsyntax.TokenType
		chain int
	}
	levels, chain := []level{{}}, 0
	for i := range list {
		t := &list[i]
		top := &levels[len(levels)-1]
		if chains[t.Type] {
			top.chain++
			chain++
		}
		switch {
		case nests[t.Type]:
			levels = append(levels, level{open: t.Type})
		case closes[t.Type] && len(levels) > 1:
			chain -= top.chain
			levels = levels[:len(levels)-1]
		case t.Type == hclsyntax.TokenComma,
			t.Type == hclsyntax.TokenNewline && (len(levels) == 1 || top.open == hclsyntax.TokenOBrace):
			chain -= top.chain
			top.chain = 0
		}
		if len(levels) > maxNesting+1 || chain > maxChain {
			detail := fmt.Sprintf("More than %d brackets, quotes or templates are inside each other here.", maxNesting)
			if chain > maxChain {
				detail = fmt.Sprintf("This expression has more than %d operators.", maxChain)
			}
			return hcl.Diagnostics{failure(t.Range, "Nested too far",
				"%s Give its parts names in a locals block.", detail)}
		}
	}
	return nil
}
