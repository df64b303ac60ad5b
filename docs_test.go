package stepflow

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

var (
	markdownLink = regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]+))?\)`)
	codeBlock    = regexp.MustCompile("(?ms)^```.*?^```")
	hclBlock     = regexp.MustCompile("(?ms)^```hcl[^\\n]*\\n(.*?)^```")
	headingLine  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInAnchor  = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// pages lists the documents. tracing/reference.md is not among them: docs/tracing.md is made from it, so its links start there.
func pages(t *testing.T) (pages []string) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || slices.Contains([]string{"bin", "node_modules", "testdata"}, d.Name())) {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" && path != "tracing/reference.md" {
			pages = append(pages, filepath.ToSlash(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}

// TestContents wants the tables of contents to lead to every page of docs, since a page that they leave out is not in the
// sidebar of the book.
func TestContents(t *testing.T) {
	for _, contents := range []string{"docs/README.md", "docs/decisions/README.md"} {
		text, err := os.ReadFile(contents)
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages(t) {
			link, err := filepath.Rel(filepath.Dir(contents), page)
			if err != nil {
				t.Fatal(err)
			}
			inDecisions := strings.HasPrefix(page, "docs/decisions/0")
			if !strings.HasPrefix(page, "docs/") || page == contents || inDecisions != strings.HasPrefix(contents, "docs/decisions/") {
				continue
			}
			if !regexp.MustCompile(`(?m)^- .*\]\(` + regexp.QuoteMeta(filepath.ToSlash(link)) + `\)`).Match(text) {
				t.Errorf("%s does not lead to %s", contents, page)
			}
		}
	}
}

// TestSnippets wants the examples in documents to be HCL.
func TestSnippets(t *testing.T) {
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range hclBlock.FindAllStringSubmatch(string(text), -1) {
			if _, diags := hclsyntax.ParseConfig([]byte(strings.ReplaceAll(m[1], "{ … }", "{}")), page, hcl.InitialPos); diags.HasErrors() {
				t.Errorf("%v in:\n%s", diags, m[1])
			}
		}
	}
}

// TestLinks wants the links between documents to lead to files, and to headings in them.
func TestLinks(t *testing.T) {
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range markdownLink.FindAllStringSubmatch(codeBlock.ReplaceAllString(string(text), ""), -1) {
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %s leads nowhere", page, m[0])
			} else if m[2] != "" && !anchors(t, target)[m[2]] {
				t.Errorf("%s: %s has no heading for %s", page, target, m[0])
			}
		}
	}
}

// anchors returns the names by which links name the headings of a page.
func anchors(t *testing.T, page string) map[string]bool {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range headingLine.FindAllStringSubmatch(codeBlock.ReplaceAllString(string(text), ""), -1) {
		name := strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
		for i, first := 1, name; names[name]; i++ {
			name = fmt.Sprintf("%s-%d", first, i)
		}
		names[name] = true
	}
	return names
}
