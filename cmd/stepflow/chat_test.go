//go:build unix

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/runtime/blocks/tokenizer"
	"stepflow/runtime/inference"
)

// TestChatOnATerminal talks as a person does: Ctrl-C ends a long answer, what the terminal shows before is kept, and at the
// prompt it ends the command.
func TestChatOnATerminal(t *testing.T) {
	dir := t.TempDir()
	tiny, err := os.ReadFile("testdata/tiny.hcl")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Replace(string(tiny), "max_position_embeddings = 32", "max_position_embeddings = 40000", 1)
	put(t, filepath.Join(dir, "main.hcl"), long)
	put(t, filepath.Join(dir, "d.jsonl"), tinyDocuments(20))
	put(t, filepath.Join(dir, "says.jinja"), "{% for m in messages %}{{ m.content }}{% endfor %}")
	stepflow(t, "apply", "-auto-approve", "-target", "stage.one", dir)
	x := onTerminal(t, dir, 80, "stepflow", "chat", "-chat-template", "says.jinja", "-context", "40000", "-max-new-tokens",
		"39000", "one")
	x.waits(`> `)
	x.sends("hello\r")
	x.waits(`hello\n.{40}`)
	x.sends("\x03")
	x.waits(`> `)
	x.sends("/clear\r")
	x.waits(`> `)
	x.sends("\x03")
	for b := range x.got {
		x.text.Write(b)
	}
	if err := x.cmd.Wait(); err != nil {
		t.Errorf("%v: %q", err, x.text.String())
	}
}

// TestEndOfAnswer finds the token with which a template ends an answer: generation ends there, though the tokenizer's
// documents end otherwise.
func TestEndOfAnswer(t *testing.T) {
	tok, err := tokenizer.Read("../../fineweb/tokenizer/testdata/llama2_style.json")
	if err != nil {
		t.Fatal(err)
	}
	x := &talk{model: &inference.Model{Tokenizer: tok}}
	file := filepath.Join(t.TempDir(), "t.jinja")
	template := "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ ' <unk>\n' if m.role == 'assistant' }}{% endfor %}"
	if err := os.WriteFile(file, []byte(template), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := x.findTemplate(file, "m"); err != nil {
		t.Fatal(err)
	}
	if id, ok := tok.ID("<unk>"); !ok || !slices.Equal(x.config.Stop, []int32{id}) {
		t.Errorf("%v, and <unk> is %d", x.config.Stop, id)
	}
	if err := x.findTemplate("chtml", "m"); err == nil || !strings.Contains(err.Error(), "chtml") {
		t.Error(err)
	}
}
