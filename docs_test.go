package stepflow

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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

// pages lists the documents.
func pages(t *testing.T) (pages []string) {
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "pipelines/*.md", "pipelines/*/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, files...)
	}
	return pages
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
