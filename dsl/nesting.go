package dsl

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// nests and closes are the tokens that open and close a level; chains are those that add one without closing it.
var (
	nests = map[hclsyntax.TokenType]bool{hclsyntax.TokenOBrace: true, hclsyntax.TokenOBrack: true, hclsyntax.TokenOParen: true, hclsyntax.TokenOQuote: true,
		hclsyntax.TokenOHeredoc: true, hclsyntax.TokenTemplateInterp: true, hclsyntax.TokenTemplateControl: true}
	closes = map[hclsyntax.TokenType]bool{hclsyntax.TokenCBrace: true, hclsyntax.TokenCBrack: true, hclsyntax.TokenCParen: true, hclsyntax.TokenCQuote: true,
		hclsyntax.TokenCHeredoc: true, hclsyntax.TokenTemplateSeqEnd: true}
	chains = map[hclsyntax.TokenType]bool{hclsyntax.TokenStar: true, hclsyntax.TokenSlash: true, hclsyntax.TokenPlus: true, hclsyntax.TokenMinus: true,
		hclsyntax.TokenPercent: true, hclsyntax.TokenEqualOp: true, hclsyntax.TokenNotEqual: true, hclsyntax.TokenLessThan: true, hclsyntax.TokenLessThanEq: true,
		hclsyntax.TokenGreaterThan: true, hclsyntax.TokenGreaterThanEq: true, hclsyntax.TokenAnd: true, hclsyntax.TokenOr: true, hclsyntax.TokenBang: true,
		hclsyntax.TokenQuestion: true, hclsyntax.TokenColon: true, hclsyntax.TokenOBrack: true, hclsyntax.TokenTemplateControl: true}
)

// checkNesting reports the place where a file nests too far to be parsed.
func checkNesting(src []byte, filename string) hcl.Diagnostics {
	tokens, _ := hclsyntax.LexConfig(src, filename, hcl.InitialPos) // the parser reports what is not a token
	type level struct {
		open  hclsyntax.TokenType
		chain int
	}
	levels, chain := []level{{}}, 0
	for i := range tokens {
		t := &tokens[i]
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
		case t.Type == hclsyntax.TokenComma, t.Type == hclsyntax.TokenNewline && (len(levels) == 1 || top.open == hclsyntax.TokenOBrace):
			chain -= top.chain
			top.chain = 0
		}
		if len(levels) > maxNesting+1 || chain > maxChain {
			detail := fmt.Sprintf("More than %d brackets, quotes or templates stand inside each other here.", maxNesting)
			if chain > maxChain {
				detail = fmt.Sprintf("This expression has more than %d operators.", maxChain)
			}
			return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Nested too far", Subject: t.Range.Ptr(), Detail: detail + " Give its parts names in a locals block."}}
		}
	}
	return nil
}
