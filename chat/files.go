package chat

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign/jinja"
)

// named is a template in a tokenizer_config.json.
type named struct {
	Name     string `json:"name"`
	Template string `json:"template"`
}

// Alone returns the template if there is only one, which chat_template.jinja holds. Several are part of Config.
func (s *Source) Alone() (text string, ok bool) {
	if !s.Any() || len(s.Templates) > 1 {
		return "", false
	}
	text, ok = s.Templates[Default]
	return text, ok
}

// SpecialTokens returns the special tokens that the templates find by their names.
func (s *Source) SpecialTokens(tok *tokenizer.Tokenizer) map[string]string {
	m := beginAndEnd(tok)
	for name, text := range s.Special {
		if _, ok := tok.ID(text); ok { // transformers gives any other an id that the model does not have
			m[name] = text
		}
	}
	return m
}

// Config returns what a tokenizer_config.json says for the templates: the special tokens, and the templates if there are
// several.
func (s *Source) Config(tok *tokenizer.Tokenizer) map[string]any {
	m := map[string]any{}
	for name, text := range s.SpecialTokens(tok) {
		m[name] = text
	}
	if _, ok := s.Alone(); s.Any() && !ok {
		var list []named
		for _, name := range slices.Sorted(maps.Keys(s.Templates)) {
			list = append(list, named{name, s.Templates[name]})
		}
		m["chat_template"] = list
	}
	return m
}

// Files returns the files that Beside reads, by name. There are none without a template.
func (s *Source) Files(tok *tokenizer.Tokenizer) (map[string][]byte, error) {
	if !s.Any() {
		return nil, nil
	}
	b, err := json.MarshalIndent(s.Config(tok), "", "  ")
	files := map[string][]byte{TokenizerConfig: append(b, '\n')}
	if text, ok := s.Alone(); ok {
		files[TemplateFile] = []byte(text)
	}
	return files, err
}

// EndOfTurn returns the special token with which the template ends what an assistant said; ok is false if it ends it in
// another way.
func (t *Template) EndOfTurn(tok *tokenizer.Tokenizer) (id int32, ok bool) {
	const said = "Certainly"
	turn := func(role, content string) *jinja.Dict { return jinja.NewDict("role", role, "content", content) }
	r, err := t.Render(&Conversation{Messages: []*jinja.Dict{turn("user", "Please"), turn("assistant", said)}, Completion: -1},
		false)
	if err != nil {
		return 0, false
	}
	last := strings.LastIndex(r.Text, said)
	if last < 0 {
		return 0, false
	}
	token := longest(tok.Specials(), strings.TrimSpace(r.Text[last+len(said):]))
	if token == "" {
		return 0, false
	}
	return tok.ID(token)
}
