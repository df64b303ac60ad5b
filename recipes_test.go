package stepflow

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// recipes are things that were added by the recipes of docs/architecture.md: the word that names one in the code, the files that
// are its own, and how many others the recipe may touch.
var recipes = []struct {
	what, word, own string
	most            int
}{
	{"an architecture", `(?i)\bqwen3`, `^ops/arch/qwen3\.go$`, 2},
	{"an architecture", `(?i)\bolmo2`, `^ops/arch/olmo2\.go$`, 2},
	{"an optimizer", `(?i)muon`, `^ops/optim/muon\.go$`, 3},
	{"an evaluation", `\bGeneration\b|"generation"`, `^runtime/blocks/evaluate/generation\.go$`, 2},
	{"a growth operator", `\binterpolation\b`, `^ops/growth/interpolation\.go$`, 3},
	{"a kind of block", `"memory_plan"|blocks/memoryplan`, `^runtime/blocks/memoryplan/`, 4},
}

// TestRecipesTouchFewFiles: comments, tests, pipelines, documents and the languages of others are not counted.
func TestRecipesTouchFewFiles(t *testing.T) {
	code := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata" || d.Name() == "bin" || path == "foreign") {
			return filepath.SkipDir
		}
		if p := filepath.ToSlash(path); strings.HasPrefix(p, "foreign/") || p == "dsl/othertools.go" { // what others name is theirs
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		code[filepath.ToSlash(path)] = regexp.MustCompile(`(?m)(^|\s)//.*$`).ReplaceAllString(string(b), "")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range recipes {
		word, own := regexp.MustCompile(r.word), regexp.MustCompile(r.own)
		var found bool
		var others []string
		for path, text := range code {
			switch {
			case !word.MatchString(text):
			case own.MatchString(path):
				found = true
			default:
				others = append(others, path)
			}
		}
		if !found {
			t.Errorf("%s: no file of its own matches %s", r.what, r.own)
		}
		if len(others) > r.most {
			t.Errorf("%s (%s) is named in %d files beside its own, and %d are allowed: %v", r.what, r.word, len(others), r.most, others)
		}
	}
}
