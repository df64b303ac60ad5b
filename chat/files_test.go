package chat

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign/jinja"
)

// TestFiles: what is written beside a tokenizer reads as the same templates, and renders the same.
func TestFiles(t *testing.T) {
	tok, err := tokenizer.Parse([]byte(`{"added_tokens": [{"id": 1, "content": "<|endoftext|>", "special": true},
		{"id": 2, "content": "<e>", "special": true}, {"id": 3, "content": "<e>>", "special": true}],
		"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
		"decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}`))
	if err != nil {
		t.Fatal(err)
	}
	const text = `{% for m in messages %}{{ m.content }}{{ eos_token }}> {% endfor %}`
	for name, s := range map[string]*Source{
		"alone":         Text(text, "x"),
		"special":       {Templates: map[string]string{Default: text}, Special: map[string]string{"eos_token": "<e>", "pad_token": "none"}},
		"several":       {Templates: map[string]string{Default: text, ToolUse: "tools"}, Special: map[string]string{"eos_token": "<e>"}},
		"by name alone": {Templates: map[string]string{ToolUse: "tools"}},
	} {
		files, err := s.Files(tok)
		if err != nil {
			t.Fatal(name, err)
		}
		dir := t.TempDir()
		for file, b := range files {
			if err := os.WriteFile(filepath.Join(dir, file), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		back, err := Beside(dir)
		if err != nil || !maps.Equal(back.Templates, s.Templates) || back.Special["pad_token"] != "" {
			t.Fatalf("%s: read as %+v, %v", name, back, err)
		}
		if (files[TemplateFile] != nil) != (name == "alone" || name == "special") {
			t.Errorf("%s: %d files", name, len(files))
		}
		var texts []string
		for _, x := range []*Source{s, back} {
			compiled, err := x.Compile(tok, time.Time{})
			if err != nil {
				t.Fatal(name, err)
			}
			r, err := compiled.Render(&Conversation{Messages: []*jinja.Dict{jinja.NewDict("role", "user", "content", "a")},
				Completion: -1}, false)
			if err == nil {
				texts = append(texts, r.Text)
			}
			id, ok := compiled.EndOfTurn(tok)
			want, ends := map[string]int32{"alone": 1, "special": 3, "several": 3}[name]
			if ok != ends || id != want {
				t.Errorf("%s: an answer ends with %d, %v", name, id, ok)
			}
		}
		if len(texts) == 2 && texts[0] != texts[1] || len(texts) == 1 {
			t.Errorf("%s: rendered %q", name, texts)
		}
	}
	if files, err := (&Source{}).Files(tok); err != nil || len(files) > 0 {
		t.Errorf("no template makes %d files, %v", len(files), err)
	}
}
