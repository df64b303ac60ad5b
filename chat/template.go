package chat

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/foreign/jinja"
)

// The files beside a tokenizer.json that hold chat templates, as transformers writes them.
const (
	TemplateFile    = "chat_template.jinja"
	MoreTemplates   = "additional_chat_templates"
	TokenizerConfig = "tokenizer_config.json"
)

const (
	maxTemplate = 1 << 20
	maxConfig   = 64 << 20
)

// Default is the name of the template that is used unless another one is named. ToolUse is the one for conversations with
// tools.
const (
	Default = "default"
	ToolUse = "tool_use"
)

// ChatML is the template of ChatML as transformers had it as a default, with a place for what an assistant said.
const ChatML = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}` +
	`{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}` +
	`{% else %}{{ message['content'] + '<|im_end|>' + '\n' }}{% endif %}{% endfor %}` +
	`{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`

// BuiltIn are the built-in templates by their names.
var BuiltIn = map[string]string{"chatml": ChatML}

// Source is the chat templates of a tokenizer, before they are compiled.
type Source struct {
	Templates map[string]string // by name; there is at least one
	Where     string            // the file they were found in, or the name of a built-in one
	Special   map[string]string // bos_token, eos_token and so on
}

// Text makes a source of a single template.
func Text(text, where string) *Source {
	return &Source{Templates: map[string]string{Default: text}, Where: where}
}

// Named returns a built-in template.
func Named(name string) (*Source, bool) {
	text, ok := BuiltIn[name]
	return Text(text, builtIn+name), ok
}

const builtIn = "the built-in chat template "

// File reads a template from a file of its own: a template, or a tokenizer_config.json.
func File(path string) (*Source, error) {
	b, err := foreign.ReadFile(path, maxConfig)
	if err != nil {
		return nil, err
	}
	if filepath.Ext(path) != ".json" {
		if len(b) > maxTemplate {
			return nil, fmt.Errorf("%s is larger than the 1 MiB that a template may have", foreign.Shown(path))
		}
		text, err := utf8Text(b, path)
		if strings.HasPrefix(text, "\ufeff") { // transformers takes it for text, and so would begin every conversation
			err = fmt.Errorf("%s begins with a byte order mark, which would stand before each conversation: save it as UTF-8 "+
				"without one", foreign.Shown(path))
		}
		return Text(text, path), err
	}
	s, err := config(b, path)
	if err == nil && len(s.Templates) == 0 {
		err = fmt.Errorf("%s has no chat_template", foreign.Shown(path))
	}
	return s, err
}

// Beside finds the templates that lie in the folder of a tokenizer, as transformers does: chat_template.jinja with
// additional_chat_templates, else chat_template in tokenizer_config.json. Without a template, the Source has only the
// special tokens.
func Beside(folder string) (*Source, error) {
	s := &Source{Templates: map[string]string{}, Special: map[string]string{}}
	path := filepath.Join(folder, TokenizerConfig)
	b, err := foreign.ReadFile(path, maxConfig)
	if err == nil {
		s, err = config(b, path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	more, err := os.ReadDir(filepath.Join(folder, MoreTemplates))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	files := map[string]string{Default: TemplateFile}
	for _, e := range more {
		if name, ok := strings.CutSuffix(e.Name(), ".jinja"); ok {
			files[name] = filepath.Join(MoreTemplates, e.Name())
		}
	}
	found := map[string]string{}
	for name, file := range files {
		b, err := foreign.ReadFile(filepath.Join(folder, file), maxTemplate)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if found[name], err = utf8Text(b, filepath.Join(folder, file)); err != nil {
			return nil, err
		}
	}
	if len(found) > 0 {
		s.Templates, s.Where = found, filepath.Join(folder, TemplateFile)
	}
	return s, nil
}

// utf8Text is the text of a file, which must be UTF-8: transformers reads no other.
func utf8Text(b []byte, path string) (string, error) {
	for at := 0; at < len(b); {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n == 1 {
			return "", fmt.Errorf("%s, line %d: it is not UTF-8, as the byte %#x shows", foreign.Shown(path),
				1+bytes.Count(b[:at], []byte("\n")), b[at])
		}
		at += n
	}
	return string(b), nil
}

// specialNames are the tokens that tokenizer_config.json names, and that templates find by these names.
var specialNames = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// config reads chat_template and the special tokens of a tokenizer_config.json.
func config(b []byte, path string) (*Source, error) {
	var fields map[string]json.RawMessage
	if err := foreign.Unmarshal(b, &fields); err != nil {
		return nil, fmt.Errorf("%s: %w", foreign.Shown(path), err)
	}
	s := &Source{Templates: map[string]string{}, Special: map[string]string{}, Where: path}
	for _, n := range specialNames {
		var text string
		var token struct{ Content string }
		if json.Unmarshal(fields[n], &text) == nil || json.Unmarshal(fields[n], &token) == nil {
			if text += token.Content; text != "" {
				s.Special[n] = text
			}
		}
	}
	raw, ok := fields["chat_template"]
	if !ok || string(raw) == "null" {
		return s, nil
	}
	var text string
	var list []struct{ Name, Template string }
	if json.Unmarshal(raw, &text) == nil {
		s.Templates[Default] = text
	} else if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s: chat_template is neither text nor a list of templates with names", foreign.Shown(path))
	}
	for _, t := range list {
		if t.Name == "" {
			return nil, fmt.Errorf("%s: a template in chat_template has no name", foreign.Shown(path))
		}
		if _, twice := s.Templates[t.Name]; twice {
			return nil, fmt.Errorf("%s: chat_template has two templates named %q", foreign.Shown(path), foreign.Shown(t.Name))
		}
		s.Templates[t.Name] = t.Template
	}
	return s, nil
}

// Name names the templates in a few words: the file, or the name of a built-in one.
func (s *Source) Name() string {
	if name, ok := strings.CutPrefix(s.Where, builtIn); ok {
		return name
	}
	return filepath.Base(s.Where)
}

// Any reports whether there is a template.
func (s *Source) Any() bool { return s != nil && len(s.Templates) > 0 }

// Identity is a hash of all that decides what the templates render, for recipes.
func (s *Source) Identity() string {
	h := sha256.New()
	for _, m := range []map[string]string{s.Templates, s.Special} {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(h, "%d %s %d %s\n", len(k), k, len(m[k]), m[k])
		}
		fmt.Fprintln(h)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Template is the chat template of a tokenizer, compiled. It serves any number of goroutines.
type Template struct {
	source    *Source
	compiled  map[string]*jinja.Template
	special   map[string]jinja.Value
	guarded   []string               // tokens that may stand in a conversation as text only
	Variables map[string]jinja.Value // for all conversations
}

// Compile compiles the templates for a tokenizer. If now is zero, templates find no strftime_now, so that what they render
// does not change from day to day.
func (s *Source) Compile(tok *tokenizer.Tokenizer, now time.Time) (*Template, error) {
	if !s.Any() {
		return nil, errors.New("the tokenizer has no chat template")
	}
	t := &Template{source: s, compiled: map[string]*jinja.Template{}, special: map[string]jinja.Value{}}
	for name, text := range s.Templates {
		o := jinja.Chat(s.Where)
		if name != Default {
			o.Name = fmt.Sprintf("%s (the template %s)", s.Where, foreign.Shown(name))
		}
		o.Now = now
		x, err := jinja.Compile(text, o)
		if err != nil {
			return nil, err
		}
		t.compiled[name] = x
	}
	if tok != nil {
		for n, text := range beginAndEnd(tok) {
			t.special[n] = text
		}
		t.guarded = tok.Specials()
	}
	for n, text := range s.Special {
		t.special[n] = text
	}
	return t, nil
}

// beginAndEnd are the special tokens that a tokenizer itself begins and ends texts with, by their names in templates.
func beginAndEnd(tok *tokenizer.Tokenizer) map[string]string {
	m := map[string]string{}
	if tok.EOS >= 0 {
		m["eos_token"] = tok.Token(tok.EOS)
	}
	if tok.BOS >= 0 {
		m["bos_token"] = tok.Token(tok.BOS)
	}
	return m
}

// of returns the template for a conversation.
func (t *Template) of(c *Conversation) (*jinja.Template, error) {
	if x := t.compiled[ToolUse]; x != nil && c.Tools != nil {
		return x, nil
	}
	if x := t.compiled[Default]; x != nil {
		return x, nil
	}
	return nil, fmt.Errorf("%s has no template named %s; it has %s", t.source.Where, Default,
		strings.Join(slices.Sorted(maps.Keys(t.compiled)), ", "))
}
