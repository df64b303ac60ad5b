package dsl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMinusInAName: a difference without spaces is one name to HCL, and each error about such a name says how to subtract.
func TestMinusInAName(t *testing.T) {
	for value, want := range map[string]string{
		"var.n-1":                           "n - 1",
		"local.o-1":                         "o - 1",
		"local.o.a-1":                       "a - 1",
		"local.o.my-name-var.n":             "my - name-var",
		"local.m.a-1":                       "a - 1",
		"memory_plan.p.stages-1":            "stages - 1",
		"1 + memory_plan.p.stages-var.n":    "stages - var",
		"[for k, v in local.o : v-1]":       "v - 1",
		"count.index-1":                     "index - 1",
		"memory_plan.p-1":                   "",
		"memory_plan.p.stagez":              "",
		"memory_plan.p.stages - 1 + var.nn": "",
	} {
		src := `variable "n" { default = 2 }
locals {
  o = { a = 1 }
  m = tomap({ a = 1 })
}
model "llama" "m" {
  vocab_size              = 512
  hidden_size             = 64
  intermediate_size       = 64
  num_hidden_layers       = 4
  num_attention_heads     = 2
  max_position_embeddings = 64
}
memory_plan "p" {
  model  = model.llama.m
  stages = 2
}
optimizer "adamw" "o" {
  count         = 2
  learning_rate = ` + value + "\n}\n"
		path := filepath.Join(t.TempDir(), "m.hcl")
		if err := os.WriteFile(path, []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
		c, diags := Load(path, Inputs{})
		if c != nil {
			diags = append(diags, c.Validate(diags, nil)...)
		}
		if !diags.HasErrors() {
			t.Errorf("%s is valid", value)
		}
		const hint = "a difference needs spaces around it: "
		text := ""
		for _, d := range diags {
			text += d.Detail + "\n"
		}
		switch {
		case want == "" && strings.Contains(text, hint):
			t.Errorf("%s: %s", value, text)
		case want != "" && !strings.Contains(text, hint+want):
			t.Errorf("%s: %s, and nothing of %s", value, text, want)
		}
	}
}
