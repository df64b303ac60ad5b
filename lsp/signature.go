package lsp

import (
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"stepflow/dsl"
)

// signatureHelp shows how the function is called whose arguments the cursor is in.
func (s *session) signatureHelp(p positionParams) (*SignatureHelp, error) {
	c, err := s.cursor(p)
	if err != nil || c == nil || c.before.last == nil || !c.before.last.equals {
		return nil, err
	}
	v := c.value()
	if v.quoted() {
		v.open = v.open[:len(v.open)-1]
	}
	t, ok := v.inner()
	at := 0
	if ok {
		at = v.open[len(v.open)-1]
	}
	if !ok || t.kind != hclsyntax.TokenOParen || at == 0 || v.tokens[at-1].kind != hclsyntax.TokenIdent {
		return nil, nil
	}
	f := dsl.SignatureOf(c.before.text(v.tokens[at-1].span))
	if f == nil {
		return nil, nil
	}
	h := &SignatureHelp{ActiveParameter: argument(v.tokens[at+1:])}
	info := SignatureInformation{Label: f.String(), Documentation: markdown(f.Doc), Parameters: []ParameterInformation{}}
	from := len(f.Name) + 1
	for _, p := range f.Params {
		info.Parameters = append(info.Parameters, ParameterInformation{[2]int{from, from + len(p.Name)}, p.Doc})
		from += len(p.Name) + len(", ")
	}
	if n := len(f.Params); n > 0 && f.Params[n-1].Many {
		h.ActiveParameter = min(h.ActiveParameter, n-1)
	}
	h.Signatures = []SignatureInformation{info}
	return h, nil
}

// argument returns which argument of a call tokens end in.
func argument(tokens []token) (n int) {
	depth := 0
	for _, t := range tokens {
		switch {
		case opens[t.kind]:
			depth++
		case closes[t.kind]:
			depth--
		case t.kind == hclsyntax.TokenComma && depth == 0:
			n++
		}
	}
	return n
}
