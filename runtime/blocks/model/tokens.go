package model

import (
	"fmt"
	"path/filepath"

	bpe "stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/runtime/blocks/tokenizer"
	"stepflow/runtime/checkpoint"
)

// OtherTokens says that ids mean other tokens to a tokenizer than to the tokenizer.json that came with an imported
// model; empty if they do not, or if that is not known.
func (m *Model) OtherTokens(t *tokenizer.Tokenizer) string {
	if m.Folder == "" {
		return ""
	}
	path := filepath.Join(m.Folder, checkpoint.TokenizerFile)
	b, err := foreign.ReadFile(path, bpe.MaxBytes)
	if err != nil {
		return ""
	}
	tok := t.Own()
	if tok == nil {
		return fmt.Sprintf("%s is made by the run, and %s came with a tokenizer of its own, %s: its ids mean other tokens",
			t.Addr, m.Addr, path)
	}
	if string(b) == string(tok.JSON()) {
		return ""
	}
	own, err := bpe.Parse(b)
	if err != nil {
		return ""
	}
	for id := range int32(max(own.VocabSize(), t.VocabSize)) {
		if a, b := tok.Token(id), own.Token(id); a != b {
			return fmt.Sprintf("%s is not the tokenizer that came with %s: token %d is %q, and %q in %s", t.Addr, m.Addr, id,
				foreign.Shown(a), foreign.Shown(b), path)
		}
	}
	return ""
}
