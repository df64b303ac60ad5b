package lsp

import (
	"slices"
	"strings"
	"testing"
)

// A pipeline with a module, whose variable is what the example has.
const (
	caller = `module "run" {
  source = "./run"
  tokens = 1e5
}

output "loss" {
  value = module.run.final_loss
}
`
	callee = "output \"final_loss\" {\n  value = stage.seed.loss\n}\n"
)

// TestModules: names lead into modules and out of them, and are completed from there.
func TestModules(t *testing.T) {
	files := map[string]string{"main.hcl": caller, "run/main.hcl": example, "run/out.hcl": callee}
	e := newEditor(t, files, "")
	if wrong := e.diagnostics("main.hcl"); len(wrong) != 0 {
		t.Fatal(wrong)
	}
	for _, c := range []struct{ after, file, name string }{
		{"= module.ru", "main.hcl", "run"},
		{"module.run.final_l", "run/out.hcl", "final_loss"},
		{"\n  toke", "run/main.hcl", "tokens"},
	} {
		var got []Location
		e.call("textDocument/definition", e.at("main.hcl", caller, c.after), &got)
		text := files[c.file]
		want := newText([]byte(text), inUTF16).position(strings.Index(text, `"`+c.name+`"`) + 1)
		if len(got) != 1 || got[0].URI != e.uri(c.file) || got[0].Range.Start != want {
			t.Errorf("%s: %v, want %s %v", c.after, got, c.file, want)
		}
		var h Hover
		e.call("textDocument/hover", e.at("main.hcl", caller, c.after), &h)
		if !strings.Contains(h.Contents.Value, "\""+c.name+"\" {") {
			t.Errorf("%s: %s", c.after, h.Contents.Value)
		}
	}
	p := e.at("run/main.hcl", example, "variable \"tok")
	p["context"] = map[string]any{"includeDeclaration": true}
	var got []Location
	e.call("textDocument/references", p, &got)
	if len(got) != 3 || got[2].URI != e.uri("main.hcl") {
		t.Errorf("references of a variable of a module: %v", got)
	}

	// What is wrong in the text of a module is said there, and where it is called.
	e.change("run/out.hcl", strings.Replace(callee, "final_loss", "last_loss", 1))
	if wrong := e.diagnostics("main.hcl"); len(wrong) != 1 || !strings.Contains(wrong[0].Message, "last_loss") {
		t.Errorf("an output that is gone: %v", wrong)
	}
}

// TestModuleCompletion completes inputs and outputs of a module.
func TestModuleCompletion(t *testing.T) {
	text := "module \"run\" {\n  source = \"./run\"\n  \n}\noutput \"x\" {\n  value = module.run.\n}\n"
	e := newEditor(t, map[string]string{"main.hcl": text, "disk/run/main.hcl": example + "variable \"needed\" {}\n",
		"disk/run/out.hcl": callee}, "")
	var got completionList
	e.call("textDocument/completion", e.at("main.hcl", text, "\"./run\"\n  "), &got)
	if list := labels(got.Items); list[0] != "needed" || !slices.Contains(list, "tokens") ||
		slices.Contains(list, "INPUT") {
		t.Errorf("%q", list)
	}
	e.call("textDocument/completion", e.at("main.hcl", text, "= module.run."), &got)
	if list := labels(got.Items); !slices.Equal(list, []string{"final_loss"}) {
		t.Errorf("%q", list)
	}
}

// TestModuleRename renames over the borders of modules; a module gets a moved block.
func TestModuleRename(t *testing.T) {
	files := map[string]string{"main.hcl": caller, "run/main.hcl": example, "run/out.hcl": callee}
	for _, c := range []struct {
		file, after, to string
		want            map[string]string
	}{
		{"run/main.hcl", "variable \"tok", "budget", map[string]string{
			"main.hcl":     strings.Replace(caller, "  tokens", "  budget", 1),
			"run/main.hcl": strings.NewReplacer(`"tokens"`, `"budget"`, "var.tokens", "var.budget").Replace(example)}},
		{"main.hcl", "run.final_l", "loss", map[string]string{
			"main.hcl":    strings.Replace(caller, "run.final_loss", "run.loss", 1),
			"run/out.hcl": strings.Replace(callee, "final_loss", "loss", 1)}},
		{"main.hcl", "module \"r", "step", map[string]string{
			"main.hcl": strings.NewReplacer("\"run\"", "\"step\"", "module.run", "module.step", "1e5\n}\n",
				"1e5\n}\n\nmoved {\n  from = module.run\n  to   = module.step\n}\n").Replace(caller)}},
	} {
		e := newEditor(t, files, "")
		p := e.at(c.file, files[c.file], c.after)
		p["newName"] = c.to
		var edit WorkspaceEdit
		e.call("textDocument/rename", p, &edit)
		if len(edit.Changes) != len(c.want) {
			t.Errorf("%s: %v", c.after, edit)
		}
		for name, want := range c.want {
			got := apply(files[name], edit.Changes[e.uri(name)])
			if got != want {
				t.Errorf("%s in %s:\n%s", c.after, name, got)
			}
			e.change(name, got)
		}
		if wrong := e.diagnostics("main.hcl"); len(wrong) != 0 {
			t.Errorf("%s: then %v", c.after, wrong)
		}
	}
}
