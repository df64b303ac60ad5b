package stepflow

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// seams lists what docs/architecture.md says how to add, each with one that was added: the files that it consists of,
// the word that names it, and how many other files may.
var seams = []struct {
	what, own string
	word      *regexp.Regexp
	others    int
}{
	{"an optimizer", "ops/optim/muon*", regexp.MustCompile(`(?i)muon`), 3},
}

// TestAddingTouchesFewFiles counts the files in which something that can be added is named. Tests and what makes their
// fixtures do not count, nor do pages and pipelines.
func TestAddingTouchesFewFiles(t *testing.T) {
	sources := []string{".go", ".cu", ".cuh", ".sh", ".py"}
	found := make([][]string, len(seams))
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && name != "."
		if d.IsDir() && (hidden || d.Name() == "testdata" || name == "bin" || name == filepath.FromSlash("tools/parity")) {
			return filepath.SkipDir
		}
		if d.IsDir() || strings.HasSuffix(name, "_test.go") ||
			name != "Makefile" && !slices.Contains(sources, filepath.Ext(name)) {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for i, s := range seams {
			own, err := path.Match(s.own, filepath.ToSlash(name))
			if err != nil {
				return err
			}
			if !own && s.word.Match(text) {
				found[i] = append(found[i], name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range seams {
		if n := len(found[i]); n == 0 || n > s.others {
			t.Errorf("%s is named in %d files beside %s, want 1 to %d: %v", s.what, n, s.own, s.others, found[i])
		}
	}
}
