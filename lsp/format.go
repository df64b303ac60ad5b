package lsp

import (
	"bytes"

	"stepflow/dsl"
)

// formatting returns what stepflow fmt changes in a document; nothing in one that does not parse.
func (s *session) formatting(p documentParams) ([]TextEdit, error) {
	f, err := s.document(p.TextDocument.URI)
	if err != nil {
		return nil, err
	}
	out, _, diags := dsl.Format(f.text.src, f.path)
	if diags.HasErrors() {
		return nil, nil // the diagnostics say why
	}
	return difference(f.text, out), nil
}

// difference returns the edits that make a text another: one for each run of lines that differ, where both have as many
// lines, so that the editor keeps its place; else one for all.
func difference(t *text, out []byte) []TextEdit {
	old, lines := bytes.SplitAfter(t.src, []byte("\n")), bytes.SplitAfter(out, []byte("\n"))
	if len(old) != len(lines) {
		return []TextEdit{{t.rangeOf(span{0, len(t.src)}), string(out)}}
	}
	edits := []TextEdit{}
	for i, at := 0, 0; i < len(old); {
		start, changed := at, []byte(nil)
		for ; i < len(old) && !bytes.Equal(old[i], lines[i]); i++ {
			changed = append(changed, lines[i]...)
			at += len(old[i])
		}
		if at > start {
			edits = append(edits, TextEdit{t.rangeOf(span{start, at}), string(changed)})
			continue
		}
		at += len(old[i])
		i++
	}
	return edits
}
