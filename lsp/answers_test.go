package lsp

import (
	"slices"
	"strings"
	"testing"
)

// TestDiagnostics: the server says what validate finds in the texts of the editor, in all files of a folder, and takes
// it back when it is mended, or when the files are closed.
func TestDiagnostics(t *testing.T) {
	e := newEditor(t, map[string]string{"main.hcl": example,
		"disk/other.hcl": "output \"é\" {\n  value = \"ß𝄞\" == stage.sed.loss\n}\n"}, "")
	got := e.diagnostics("main.hcl")
	if len(got) != 0 {
		t.Errorf("a sound file: %v", got)
	}
	got = e.diagnostics("other.hcl")
	if len(got) != 1 {
		t.Fatalf("a file that is not open: %v", got)
	}
	if last := got[0]; last.Severity != severityError || last.Range != (Range{Position{1, 19}, Position{1, 33}}) ||
		!strings.Contains(last.Message, `Unknown block: There is no stage.sed. Did you mean "stage.seed"?`) {
		t.Errorf("an unknown block: %+v", last)
	}

	e.change("main.hcl", strings.Replace(example, "var.tokens", "var.tokns", 1))
	got = e.diagnostics("main.hcl")
	if len(got) != 2 || got[0].Severity != severityWarning ||
		!strings.HasPrefix(got[0].Message, "Unused variable: ") ||
		got[1].Message != `Unknown variable: There is no variable "tokns". Did you mean "tokens"?` ||
		got[1].Source != "stepflow" {
		t.Errorf("an unknown variable: %v", got)
	}
	e.change("main.hcl", example)
	if got = e.diagnostics("main.hcl"); len(got) != 0 {
		t.Errorf("mended: %v", got)
	}

	e.notify("textDocument/didClose", map[string]any{"textDocument": map[string]any{"uri": e.uri("main.hcl")}})
	if got = e.diagnostics("other.hcl"); len(got) != 0 {
		t.Errorf("closed: %v", got)
	}
}

// TestDiagnosticsOfValues: files of values are checked too, those that are read without being named and others.
func TestDiagnosticsOfValues(t *testing.T) {
	e := newEditor(t, map[string]string{"disk/main.hcl": example, "a.auto.vars.hcl": "tokens = []\n",
		"prod.vars.hcl": "tokens = 3\ntoken = 4\n"}, "")
	if got := e.diagnostics("a.auto.vars.hcl"); len(got) != 1 ||
		!strings.HasPrefix(got[0].Message, "Wrong type: var.tokens") {
		t.Errorf("%v", got)
	}
	if got := e.diagnostics("prod.vars.hcl"); len(got) != 1 || got[0].Range.Start.Line != 1 ||
		!strings.Contains(got[0].Message, `Did you mean "tokens"?`) {
		t.Errorf("%v", got)
	}
}

// TestDebounce: while texts change, nothing is checked.
func TestDebounce(t *testing.T) {
	e := newEditor(t, map[string]string{"main.hcl": "output \"x\" {\n"}, "")
	for range 20 {
		e.change("main.hcl", "output \"x\" {\n  value = 1\n")
	}
	e.change("main.hcl", "output \"x\" {\n  value = 1\n}\n")
	if got := e.diagnostics("main.hcl"); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// TestIncrementalChange: changes count each from what those before it left.
func TestIncrementalChange(t *testing.T) {
	e := newEditor(t, map[string]string{"main.hcl": "# 𝄞ß\noutput \"x\" {\n  value = 1\n}\n"}, "")
	e.notify("textDocument/didChange", map[string]any{
		"textDocument": map[string]any{"uri": e.uri("main.hcl"), "version": 2},
		"contentChanges": []any{
			map[string]any{"range": Range{Position{0, 2}, Position{0, 4}}, "text": "é"},
			map[string]any{"range": Range{Position{2, 10}, Position{2, 11}}, "text": "vr.x"},
			map[string]any{"range": Range{Position{0, 4}, Position{0, 4}}, "text": "!\n"},
		}})
	if got := e.diagnostics("main.hcl"); len(got) != 1 || got[0].Range != (Range{Position{3, 10}, Position{3, 14}}) {
		t.Errorf("%v", got)
	}
}

// TestHover explains what is at the end of a text.
func TestHover(t *testing.T) {
	text := example + "# 𝄞\noutput \"loss\" {\n  value = { \"𝄞\" = stage.seed.loss, b = max(1, 2), c = path.module }\n}\n"
	e := newEditor(t, map[string]string{"main.hcl": text}, "")
	e.diagnostics("main.hcl")
	for _, c := range []struct{ after, want string }{
		{"\nstag", "`stage \"NAME\"`\n\nA stage of training."},
		{"\nmodel \"ll", "`model \"llama\""},
		{"\nstage \"se", "`stage.seed`\n\n```hcl\nstage \"seed\" {\n  model = model.llama.tiny"},
		{"llama.tiny\n  trai", "`train`\n\nWhat to train on"},
		{"    batch_si", "`batch_size`: whole number, required\n\n"},
		{"  hidden_si", "From 1"},
		{"= var.toke", "`var.tokens` = `1000000`\n\ntraining tokens\n\n```hcl\nvariable \"tokens\" {"},
		{"= local.ba", "`local.batch` = `8`\n\n```hcl\nbatch = 8\n```"},
		{"= model.llama.ti", "`model.llama.tiny`\n\n```hcl\nmodel \"llama\" \"tiny\" {"},
		{"small.vocab_si", "`tokenizer.bpe.small.vocab_size`: number, known in the plan\n\nThe largest id plus one."},
		{"stage.seed.lo", "`stage.seed.loss`: number, known after it ran"},
		{"b = ma", "`max(numbers...: number)`\n\nReturns the numerically greatest"},
		{"c = path.mod", "`path.module`\n\nThe folder"},
		{"  defau", "`default`: any\n\nValue if none is given"},
		{"# ", ""},
		{"= 1", ""},
	} {
		var h *Hover
		e.call("textDocument/hover", e.at("main.hcl", text, c.after), &h)
		switch {
		case h == nil && c.want != "":
			t.Errorf("nothing at %q", c.after)
		case h != nil && (c.want == "" || !strings.Contains(h.Contents.Value, c.want)):
			t.Errorf("at %q: %s", c.after, h.Contents.Value)
		}
	}
	var h Hover
	e.call("textDocument/hover", e.at("main.hcl", text, "stage.seed.lo"), &h)
	if want := (Range{Position{45, 30}, Position{45, 34}}); h.Range != want {
		t.Errorf("the range is %v, want %v", h.Range, want)
	}
}

// TestSecretsAreHidden: a hover shows no value of a sensitive variable.
func TestSecretsAreHidden(t *testing.T) {
	text := "variable \"key\" {\n  sensitive = true\n}\nlocals {\n  k = \"${var.key}!\"\n}\n" +
		"output \"x\" {\n  value = length(local.k)\n" +
		"  sensitive = true\n}\n"
	e := newEditor(t, map[string]string{"main.hcl": text, "a.auto.vars.hcl": "key = \"hunter2\"\n"}, "")
	e.diagnostics("main.hcl")
	for _, after := range []string{"${var.ke", "local.k"} {
		var h Hover
		e.call("textDocument/hover", e.at("main.hcl", text, after), &h)
		if !strings.Contains(h.Contents.Value, "(sensitive)") || strings.Contains(h.Contents.Value, "hunter2") {
			t.Errorf("at %q: %s", after, h.Contents.Value)
		}
	}
}

// TestDefinition and references, over files.
func TestDefinition(t *testing.T) {
	other := "output \"a\" {\n  value = [stage.seed.loss, var.tokens, stage.seed.tokens]\n}\n"
	e := newEditor(t, map[string]string{"main.hcl": example, "b.hcl": other,
		"disk/c.hcl": "output \"c\" {\n  value = stage.seed.loss\n}\n",
		"x.vars.hcl": "tokens = 5\n"}, "")
	main := func(line, from, to int) Location {
		return Location{e.uri("main.hcl"), Range{Position{line, from}, Position{line, to}}}
	}
	for _, c := range []struct {
		file, text, after string
		want              Location
	}{
		{"b.hcl", other, "stage.se", main(32, 7, 11)},
		{"b.hcl", other, "seed.lo", main(32, 7, 11)},
		{"b.hcl", other, "var.t", main(0, 10, 16)},
		{"main.hcl", example, "= local.b", main(7, 2, 7)},
		{"main.hcl", example, "= tokenizer.b", main(14, 17, 22)},
		{"x.vars.hcl", "tokens = 5\n", "tok", main(0, 10, 16)},
	} {
		var got []Location
		e.call("textDocument/definition", e.at(c.file, c.text, c.after), &got)
		if len(got) != 1 || got[0] != c.want {
			t.Errorf("%s %q: %v, want %v", c.file, c.after, got, c.want)
		}
	}

	p := e.at("b.hcl", other, "stage.se")
	p["context"] = map[string]any{"includeDeclaration": true}
	var got []Location
	e.call("textDocument/references", p, &got)
	if len(got) != 4 || got[0].URI != e.uri("b.hcl") || got[2].URI != e.uri("c.hcl") || got[3] != main(32, 7, 11) {
		t.Errorf("references %v", got)
	}
	var marked []DocumentHighlight
	e.call("textDocument/documentHighlight", e.at("b.hcl", other, "stage.se"), &marked)
	if len(marked) != 2 {
		t.Errorf("highlights %v", marked)
	}
	p = e.at("b.hcl", other, "= ")
	e.call("textDocument/definition", p, &got)
	if len(got) != 0 {
		t.Errorf("a definition of nothing: %v", got)
	}
}

// TestSymbols lists blocks and names of a document, and of the workspace.
func TestSymbols(t *testing.T) {
	e := newEditor(t, map[string]string{"main.hcl": example, "disk/sub/b.hcl": "output \"sub\" {\n  value = 1\n}\n",
		"disk/.hidden/b.hcl": "output \"hidden\" {\n  value = 1\n}\n"}, "")
	var doc []DocumentSymbol
	e.call("textDocument/documentSymbol",
		map[string]any{"textDocument": map[string]any{"uri": e.uri("main.hcl")}}, &doc)
	var names []string
	for _, d := range doc {
		names = append(names, d.Name)
		for _, c := range d.Children {
			names = append(names, "-"+c.Name)
		}
	}
	want := []string{"variable.tokens", "locals", "-batch", "data.text.docs", "tokenizer.bpe.small",
		"model.llama.tiny",
		"optimizer.adamw.main", "stage.seed", "-train"}
	if !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	for query, want := range map[string][]string{"sub": {"output.sub"}, "stse": {"stage.seed"}, "hidden": nil} {
		var got []WorkspaceSymbol
		e.call("workspace/symbol", map[string]any{"query": query}, &got)
		var names []string
		for _, s := range got {
			names = append(names, s.Name)
		}
		if !slices.Equal(names, want) {
			t.Errorf("%q: %q", query, names)
		}
	}
	var folds []FoldingRange
	e.call("textDocument/foldingRange", map[string]any{"textDocument": map[string]any{"uri": e.uri("main.hcl")}},
		&folds)
	if len(folds) != 8 || folds[0] != (FoldingRange{0, 3}) {
		t.Errorf("%v", folds)
	}
}

// TestFormatting formats as stepflow fmt does, and leaves a broken text as it is.
func TestFormatting(t *testing.T) {
	text := "# ß\noutput \"x\" {\nvalue=1\n  description  = \"𝄞\"\n}\n"
	e := newEditor(t, map[string]string{"main.hcl": text}, "")
	p := map[string]any{"textDocument": map[string]any{"uri": e.uri("main.hcl")},
		"options": map[string]any{"tabSize": 4, "insertSpaces": true}}
	var edits []TextEdit
	e.call("textDocument/formatting", p, &edits)
	if got := apply(text, edits); got != "# ß\noutput \"x\" {\n  value       = 1\n  description = \"𝄞\"\n}\n" ||
		len(edits) != 1 {
		t.Errorf("%q, %v", got, edits)
	}
	e.change("main.hcl", "output {")
	e.call("textDocument/formatting", p, &edits)
	if len(edits) != 0 {
		t.Errorf("%v", edits)
	}
}

// TestCodeAction writes what a diagnostic suggests.
func TestCodeAction(t *testing.T) {
	for _, c := range [][2]string{
		{"tokens          = var.tokens", "tokens          = var.tokns"},
		{"model = model.llama.tiny", "model = model.llama.tinny"},
		{"vocab_size              = tokenizer.bpe.small.vocab_size",
			"vocab_size              = tokenizer.bpe.small.vocab_sise"},
		{"batch_size ", "batch_sise "},
		{"  train {", "  trian {"},
		{"model \"llama\"", "model \"lama\""},
		{"\nstage \"seed\"", "\nstge \"seed\""},
		{"= 8", "= flor(8)"},
	} {
		text := strings.Replace(example, c[0], c[1], 1)
		e := newEditor(t, map[string]string{"main.hcl": text}, "")
		wrong := e.diagnostics("main.hcl")
		var list []CodeAction
		e.call("textDocument/codeAction", map[string]any{"textDocument": map[string]any{"uri": e.uri("main.hcl")},
			"range": Range{}, "context": map[string]any{"diagnostics": wrong}}, &list)
		want := strings.Replace(example, "= 8", "= floor(8)", 1)
		if c[0] != "= 8" {
			want = example
		}
		if len(list) != 1 || apply(text, list[0].Edit.Changes[e.uri("main.hcl")]) != want {
			t.Errorf("%q: %v of %v", c[1], list, wrong)
		}
	}
}

// TestSignatureHelp shows the function whose arguments are written.
func TestSignatureHelp(t *testing.T) {
	for _, c := range []struct {
		value, label string
		active       int
	}{
		{"max(", "max(numbers...: number)", 0},
		{"max(1, 2, ", "max(numbers...: number)", 0},
		{"substr(\"a,b\", ", "substr(str: string, offset: number, length: number)", 1},
		{"substr(lower(\"a\"), [1, 2][0], ", "substr(str: string, offset: number, length: number)", 2},
		{"substr(lower(\"a", "lower(str: string)", 0},
		{"substr(\"a\", 1, 2)", "", 0},
		{"(1 + ", "", 0},
		{"nothing(", "", 0},
	} {
		text := "output \"x\" {\n  value = " + c.value
		e := newEditor(t, map[string]string{"main.hcl": text}, "")
		var h *SignatureHelp
		e.call("textDocument/signatureHelp", e.at("main.hcl", text, text), &h)
		switch {
		case h == nil && c.label != "":
			t.Errorf("%s: nothing", c.value)
		case h != nil && (h.Signatures[0].Label != c.label || h.ActiveParameter != c.active):
			t.Errorf("%s: %+v", c.value, h)
		}
	}
}

// TestSnippets: an editor that can fill in places gets them, another does not.
func TestSnippets(t *testing.T) {
	text := "stage \"a\" {\n  \n}\nopt\n"
	complete := func(capabilities, after, label string) string {
		e := newEditor(t, map[string]string{"main.hcl": text}, capabilities)
		var got completionList
		e.call("textDocument/completion", e.at("main.hcl", text, after), &got)
		for _, x := range got.Items {
			if x.Label == label {
				if (x.InsertTextFormat == snippetFormat) != strings.Contains(x.TextEdit.NewText, "$") {
					t.Errorf("%+v", x)
				}
				return apply(text, []TextEdit{*x.TextEdit})
			}
		}
		t.Errorf("no %s", label)
		return ""
	}
	can := `{"textDocument": {"completion": {"completionItem": {"snippetSupport": true}}}}`
	for _, c := range []struct{ capabilities, after, label, want string }{
		{can, "{\n  ", "precision", "stage \"a\" {\n  precision = \"${1|fp32,bf16|}\"$0\n}\nopt\n"},
		{can, "{\n  ", "grow",
			"stage \"a\" {\n  grow \"${1|interpolation,stack,copy,midas,random,opt_deus|}\" {\n  layers = $2\n  $0\n}\n}\nopt\n"},
		{can, "opt", "optimizer",
			"stage \"a\" {\n  \n}\noptimizer \"${1|adamw,muon,scale,apollo,apollo_mini,galore,adafactor|}\" \"${2:name}\" {\n  learning_rate = $3\n  $0\n}\n"},
		{"", "{\n  ", "precision", "stage \"a\" {\n  precision = \n}\nopt\n"},
		{"", "opt", "optimizer", "stage \"a\" {\n  \n}\noptimizer \n"},
	} {
		if got := complete(c.capabilities, c.after, c.label); got != c.want {
			t.Errorf("%s: %q", c.label, got)
		}
	}
}
