package lsp

import (
	"strings"
	"testing"
)

// TestRename renames what is at the end of a text, in all files.
func TestRename(t *testing.T) {
	other := "output \"a\" {\n  value = [stage.seed.loss, var.tokens, \"${var.tokens}\", stage.seed[0].loss]\n}\n"
	values := "tokens = 5 # tokens\n"
	moved := "moved {\n  from = stage.first\n  to   = stage.seed\n}\n"
	for _, c := range []struct {
		after, to string
		want      map[string][2]string // by file, what is there instead of what
	}{
		{"variable \"tok", "budget", map[string][2]string{"main.hcl": {"var.tokens", "var.budget"},
			"b.hcl": {"var.tokens", "var.budget"}, "x.vars.hcl": {"tokens = 5", "budget = 5"}}},
		{"= local.bat", "size", map[string][2]string{"main.hcl": {"local.batch", "local.size"}}},
		{"= data.text.do", "texts", map[string][2]string{"main.hcl": {"data.text.docs", "data.text.texts"}}},
		{"stage \"se", "root", map[string][2]string{
			"b.hcl": {"stage.seed", "stage.root"}, "main.hcl": {"stage \"seed\"", "stage \"root\""}}},
	} {
		files := map[string]string{"main.hcl": example, "b.hcl": other, "x.vars.hcl": values, "m.hcl": moved}
		e := newEditor(t, files, "")
		p := e.at("main.hcl", example, c.after)
		var can PrepareRename
		e.call("textDocument/prepareRename", p, &can)
		p["newName"] = c.to
		var edit WorkspaceEdit
		e.call("textDocument/rename", p, &edit)
		if len(edit.Changes) != len(c.want) {
			t.Errorf("%s: %v", c.after, edit)
		}
		for name, w := range c.want {
			want := strings.ReplaceAll(files[name], w[0], w[1])
			switch {
			case name != "main.hcl":
			case c.to == "root":
				want += "\nmoved {\n  from = stage.seed\n  to   = stage.root\n}\n"
			default:
				want = strings.Replace(want, "\""+can.Placeholder+"\"", "\""+c.to+"\"", 1)
				want = strings.Replace(want, "  "+can.Placeholder+" = 8", "  "+c.to+" = 8", 1)
			}
			got := apply(files[name], edit.Changes[e.uri(name)])
			if got != want {
				t.Errorf("%s in %s:\n%s", c.after, name, got)
			}
			files[name] = got
		}
		for name, text := range files { // what comes of it is sound, but for outputs of one instance
			e.change(name, strings.ReplaceAll(text, "[0]", ""))
		}
		if wrong := e.diagnostics("main.hcl"); len(wrong) != 0 {
			t.Errorf("%s: then %v", c.after, wrong)
		}
	}
}

// TestRenameRefused says why something cannot be renamed.
func TestRenameRefused(t *testing.T) {
	text := example + "output \"a\" {\n  value = [stage.seed.loss, stage.nowhere, max(1, 2)]\n}\n" +
		"moved {\n  from = stage.old\n  to   = stage.seed\n}\n"
	e := newEditor(t, map[string]string{"main.hcl": text}, "")
	for _, c := range []struct{ after, to, want string }{
		{"stage \"se", "a b", `"a b" cannot be a name: it starts with a letter`},
		{"stage \"se", "", `"" cannot be a name`},
		{"stage \"se", "old",
			"The moved block at main.hcl:48 says what became of a stage.old, so no other block can have that name now."},
		{"variable \"tok", "tokens", ""},
		{"tokenizer \"bpe\" \"sm", "small", ""},
		{"= [stage.seed.lo", "x", "loss is a value that stepflow gives"},
		{"= [sta", "x", "Put the cursor on seed: only the last part of stage.seed is a name."},
		{"nowh", "x", "stage.nowhere is not declared here"},
		{", ma", "x", "Only blocks, variables and locals can be renamed"},
		{"  hidden_si", "x", "Only blocks, variables and locals can be renamed"},
	} {
		p := e.at("main.hcl", text, c.after)
		p["newName"] = c.to
		var edit WorkspaceEdit
		err := e.ask("textDocument/rename", p, &edit)
		switch {
		case c.want == "" && (err != nil || len(edit.Changes) != 0):
			t.Errorf("%s to %q: %v, %v", c.after, c.to, edit, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s to %q: %v", c.after, c.to, err)
		}
	}
	taken := strings.Replace(example, "  batch = 8", "  batch = 8\n  size  = 2", 1)
	e = newEditor(t, map[string]string{"main.hcl": taken}, "")
	p := e.at("main.hcl", taken, "= local.bat")
	p["newName"] = "size"
	if err := e.ask("textDocument/rename", p, nil); err == nil || !strings.Contains(err.Error(),
		"local.size is already declared at main.hcl:9. Choose another name.") {
		t.Errorf("%v", err)
	}
}
