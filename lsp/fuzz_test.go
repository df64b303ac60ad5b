package lsp

import (
	"strings"
	"testing"

	"stepflow/dsl/addr"
)

// alone is the URI of a text that is in no folder.
const alone = "untitled:main.hcl"

// sessionWith returns a session without an editor, with one text.
func sessionWith(text string) *session {
	s := newSession(Options{})
	s.snippets = true
	s.put(&file{uri: alone, path: alone}, newText([]byte(text), inUTF16), 1)
	return s
}

// askAll asks everything about a place of the text, and tests that answers lie in it.
func askAll(t *testing.T, s *session, at int) {
	f := s.open[alone]
	p := positionParams{TextDocument: textDocument{URI: alone}, Position: f.text.position(at)}
	inside := func(what string, r Range) {
		from, to := f.text.offset(r.Start), f.text.offset(r.End)
		if from > to || f.text.rangeOf(span{from, to}) != r {
			t.Fatalf("%s: %v is not in the text", what, r)
		}
	}
	list, err := s.completion(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list.Items {
		inside(x.Label, x.TextEdit.Range)
		if x.TextEdit.Range.Start.Line != x.TextEdit.Range.End.Line {
			t.Fatalf("the completion %s replaces lines: %v", x.Label, x.TextEdit.Range)
		}
	}
	if h, _ := s.hover(p); h != nil {
		inside("hover", h.Range)
	}
	_, _ = s.signatureHelp(p)
	for _, l := range must(s.definition(p)) {
		inside("definition", l.Range)
	}
	for _, l := range must(s.references(referenceParams{positionParams: p})) {
		inside("references", l.Range)
	}
	if edit, err := s.rename(renameParams{p, "other"}); err == nil {
		for _, e := range edit.Changes[alone] {
			inside("rename", e.Range)
		}
	}
	d := documentParams{p.TextDocument}
	for _, x := range must(s.documentSymbols(d)) {
		inside(x.Name, x.Range)
	}
	for _, e := range must(s.formatting(d)) {
		inside("formatting", e.Range)
	}
	_, _ = s.folding(d)
}

func must[T any](x T, _ error) T { return x }

// TestTruncated cuts the example off at every place, as it is while somebody is typing it.
func TestTruncated(t *testing.T) {
	for i := range len(example) + 1 {
		askAll(t, sessionWith(example[:i]), i)
	}
}

// TestGap leaves out what is between a place and the end of its line, or of its block.
func TestGap(t *testing.T) {
	for i := range len(example) {
		for _, end := range []string{"\n", "\n}\n"} {
			_, rest, _ := strings.Cut(example[i:], end)
			s := sessionWith(example[:i] + "\n" + rest)
			askAll(t, s, i)
			seen := s.declared(alone, addr.Addr{Kind: "stage", Name: "seed"})
			if seen == nil && i < strings.Index(example, "stage \"seed\"")-3 {
				t.Fatalf("cut at %d, up to %q: the stage is not seen", i, end)
			}
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, text := range []string{example, "", "a = \"${", "stage \"a\" {\n  b = [for x in y : x.",
		"/*\nstage \"x\" {\n*/", "a=<<E\nstage \"b\" {\n}\nE\n",
		"x = a[b[c[", "output \"é\" {\r\n  value = \"𝄞\"\r\n}\r\n", "}}}}\nlocals {\n x = }\n",
		"import {\n to = stage.", "moved {\n from = "} {
		f.Add(text, uint16(len(text)))
		f.Add(text, uint16(len(text)/2))
	}
	f.Fuzz(func(t *testing.T, text string, at uint16) {
		askAll(t, sessionWith(text), min(int(at), len(text)))
	})
}

// FuzzText: places and changes of any text, as an editor counts.
func FuzzText(f *testing.F) {
	f.Add("a𝄞\r\nß\rc\n", 0, 2, 1, 5, "x\n", true)
	f.Fuzz(func(t *testing.T, text string, line, character, toLine, toCharacter int, with string, utf8 bool) {
		encoding := inUTF16
		if utf8 {
			encoding = inUTF8
		}
		x := newText([]byte(text), encoding)
		r := Range{Position{line, character}, Position{toLine, toCharacter}}
		from := x.offset(r.Start)
		if at := x.position(from); x.offset(at) != from {
			t.Errorf("%q: %v is %v", text, r.Start, at)
		}
		y := x.replace(&r, with)
		if want := text[:from] + with + text[max(from, x.offset(r.End)):]; string(y.src) != want {
			t.Errorf("%q, want %q", y.src, want)
		}
	})
}
