package lsp

import (
	"slices"
	"strings"
	"testing"
)

// TestTestFiles: names lead from tests to the pipeline, beside them or above their folder, and are renamed in tests too.
func TestTestFiles(t *testing.T) {
	test := "variables {\n  tokens = 5\n}\n\nrun \"a\" {\n  assert {\n" +
		"    condition = stage.seed.loss < 3 && output.final_loss < 3\n  }\n}\n"
	for _, name := range []string{"a.stepflowtest.hcl", "tests/a.stepflowtest.hcl"} {
		e := newEditor(t, map[string]string{"main.hcl": example + callee, name: test}, "")
		for _, c := range []struct{ after, declared string }{
			{"  toke", "variable \"tokens\""}, {"stage.se", "stage \"seed\""}, {"output.fi", "output \"final_loss\""},
		} {
			var got []Location
			e.call("textDocument/definition", e.at(name, test, c.after), &got)
			line := strings.Count((example + callee)[:strings.Index(example+callee, c.declared)], "\n")
			if len(got) != 1 || got[0].URI != e.uri("main.hcl") || got[0].Range.Start.Line != line {
				t.Errorf("%s: %q: %v", name, c.after, got)
			}
		}
		p := e.at("main.hcl", example, "variable \"tok")
		p["newName"] = "budget"
		var edit WorkspaceEdit
		e.call("textDocument/rename", p, &edit)
		if got := apply(test, edit.Changes[e.uri(name)]); got != strings.Replace(test, "tokens", "budget", 1) {
			t.Errorf("%s: %s", name, got)
		}
		cut := strings.Replace(test, "final_loss < 3", "", 1)
		e.change(name, cut)
		var list completionList
		e.call("textDocument/completion", e.at(name, cut, "output."), &list)
		if got := labels(list.Items); !slices.Equal(got, []string{"final_loss"}) {
			t.Errorf("%s: %q", name, got)
		}
		if wrong := e.diagnostics(name); len(wrong) == 0 {
			t.Errorf("%s: nothing is wrong with a text that does not parse", name)
		}
	}
}

// TestTestCompletion completes what may stand in a file of tests.
func TestTestCompletion(t *testing.T) {
	for text, want := range map[string]string{"ˇ": "run", "run \"a\" {\n  ˇ\n}\n": "assert", "run \"a\" {\n  command = ˇ\n}\n": "plan",
		"run \"a\" {\n  assert {\n    ˇ\n": "condition", "variables {\n  ˇ\n}\n": "tokens"} {
		before, after, _ := strings.Cut(text, "ˇ")
		e := newEditor(t, map[string]string{"disk/main.hcl": example, "a.stepflowtest.hcl": before + after}, "")
		var got completionList
		e.call("textDocument/completion", e.at("a.stepflowtest.hcl", before+after, before), &got)
		if list := labels(got.Items); !slices.Contains(list, want) || slices.Contains(list, "stage") {
			t.Errorf("%q: %q", text, list)
		}
	}
}
