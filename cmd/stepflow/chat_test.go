//go:build unix

package main

import (
	"os"
	"os/exec"
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
	for name, text := range map[string]string{"main.hcl": `
data "jsonl" "d" { source = "d.jsonl" }
tokenizer "bpe" "t" {
  train_on   = data.jsonl.d
  vocab_size = 264
}
model "llama" "m" {
  vocab_size              = 264
  hidden_size             = 16
  intermediate_size       = 24
  num_hidden_layers       = 1
  num_attention_heads     = 2
  max_position_embeddings = 40000
}
optimizer "adamw" "o" { learning_rate = 1e-2 }
stage "one" {
  model = model.llama.m
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.bpe.t
    optimizer       = optimizer.adamw.o
    sequence_length = 8
    batch_size      = 1
    steps           = 1
  }
}
`, "d.jsonl": `{"text": "a text to read, and to read again"}` + "\n", "says.jinja": "{% for m in messages %}{{ m.content }}{% endfor %}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	apply := exec.Command("stepflow", "apply")
	apply.Dir = dir
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
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
