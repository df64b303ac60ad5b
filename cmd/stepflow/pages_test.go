package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"
)

// repository is the folder of the repository, from here.
const repository = "../.."

// page is a document of the repository.
type page struct {
	name   string
	text   []byte
	blocks []block
	spans  []string // code within sentences
}

// block is a fenced block of a page, or a comment of it that holds commands for the test.
type block struct {
	lang     string // the first word of its info string; "test" for a comment
	file     string // the file that it is, by file=NAME in the info string
	measured bool   // by the word measured in it: its numbers are another machine's
	line     int    // in which it starts
	text     string
	at       int // where its text starts in the page
}

// testComment is a comment of a page with commands that run, but do not show.
var testComment = regexp.MustCompile(`(?s)^<!--\s*test:(.*?)-->`)

// readPages reads all pages whose commands are tested.
func readPages(t *testing.T) (pages []page) {
	files := []string{repository + "/README.md", repository + "/CONTRIBUTING.md"}
	for _, dir := range []string{repository + "/docs", repository + "/pipelines"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && filepath.Ext(path) == ".md" {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(repository, file)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, parsePage(filepath.ToSlash(name), text))
	}
	return pages
}

// parsePage finds the blocks and the code of a page.
func parsePage(name string, source []byte) page {
	p := page{name: name, text: source}
	add := func(b block) {
		b.line = 1 + strings.Count(string(source[:b.at]), "\n")
		p.blocks = append(p.blocks, b)
	}
	ast.Walk(goldmark.DefaultParser().Parse(text.NewReader(source)), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.FencedCodeBlock:
			b := block{text: string(n.Lines().Value(source))}
			if n.Lines().Len() > 0 {
				b.at = n.Lines().At(0).Start
			}
			if n.Info != nil {
				words := strings.Fields(string(n.Info.Segment.Value(source)))
				b.lang = words[0]
				for _, w := range words[1:] {
					if name, ok := strings.CutPrefix(w, "file="); ok {
						b.file = name
					}
				}
				b.measured = slices.Contains(words, "measured")
			}
			add(b)
		case *ast.HTMLBlock:
			whole := string(n.Lines().Value(source))
			if n.HasClosure() {
				whole += string(n.ClosureLine.Value(source))
			}
			if m := testComment.FindStringSubmatch(whole); m != nil {
				add(block{lang: "test", text: m[1], at: n.Lines().At(0).Start})
			}
		case *ast.CodeSpan:
			var b strings.Builder
			for c := n.FirstChild(); c != nil; c = c.NextSibling() {
				b.Write(c.(*ast.Text).Segment.Value(source))
			}
			p.spans = append(p.spans, strings.ReplaceAll(b.String(), "\n", " "))
		}
		return ast.WalkContinue, nil
	})
	return p
}

// languages are the blocks that a page may have. Commands are in console blocks, which run, or in sh blocks, which
// cannot; text is for all that is no command.
var languages = []string{"console", "sh", "text", "hcl", "json", "yaml", "toml", "lua", "python", "diff"}

// callLine is a line of a block that looks like a command.
var callLine = regexp.MustCompile(`(?m)^\s*(\$ |(\S*/)?stepflow (-chdir|[a-z-]+\b)|make [a-z-]+$)`)

// TestPagesShowCommandsOneWay wants each block to say what it is, and commands to stand in blocks that are tested.
func TestPagesShowCommandsOneWay(t *testing.T) {
	for _, p := range readPages(t) {
		for _, b := range p.blocks {
			if b.lang != "test" && !slices.Contains(languages, b.lang) {
				t.Errorf("%s:%d: the block is ```%s: write one of %s", p.name, b.line, b.lang, strings.Join(languages, ", "))
			}
			m := strings.TrimSpace(callLine.FindString(b.text))
			if target, ok := strings.CutPrefix(m, "make "); ok && checkMake([]string{target}) != nil {
				continue // as in the name of a span
			}
			if m != "" && b.lang == "text" {
				t.Errorf("%s:%d: the block holds a command, %q: write ```console if it can run in a test, else ```sh",
					p.name, b.line, m)
			}
		}
	}
}
