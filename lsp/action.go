package lsp

import (
	"fmt"
	"regexp"
	"strings"
)

// quickFix is the kind of code actions that mend what a diagnostic says.
const quickFix = "quickfix"

// suggestion is how a diagnostic suggests a name in place of the one that is given.
var suggestion = regexp.MustCompile(`("[^"]*"|\S+)\. Did you mean "([^"]+)"\?`)

// codeActions offers to write the names that diagnostics suggest.
func (s *session) codeActions(p codeActionParams) ([]CodeAction, error) {
	f, err := s.document(p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	list := []CodeAction{}
	for _, d := range p.Context.Diagnostics {
		m := suggestion.FindStringSubmatch(d.Message)
		if d.Source != "stepflow" || m == nil {
			continue
		}
		given, better := strings.Trim(m[1], `"`), m[2]
		at := span{f.text.offset(d.Range.Start), f.text.offset(d.Range.End)}
		if at.end < at.start {
			continue
		}
		i := strings.LastIndex(at.in(f.text.src), given)
		if i < 0 { // the text has changed
			continue
		}
		at = span{at.start + i, at.start + i + len(given)}
		list = append(list, CodeAction{Title: fmt.Sprintf("Write %q", better), Kind: quickFix, IsPreferred: true,
			Diagnostics: []Diagnostic{d},
			Edit:        &WorkspaceEdit{map[string][]TextEdit{f.uri: {{f.text.rangeOf(at), better}}}}})
	}
	return list, nil
}
