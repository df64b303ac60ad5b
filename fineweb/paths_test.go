package fineweb

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// put writes a file and makes the folders that it lies in.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// What a pattern reads is the same whatever the folder above is called, and nothing is left out or read twice without a word.
func TestPaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "up*[1]")
	for _, n := range []string{"a.txt", "b.txt", "B.txt", "part[1].txt", "part1.txt", "what?.txt", "st*r.txt", "{x,y}.txt", "back\\.txt", ".hidden.txt", "_old.txt", "_SUCCESS", "x/a.txt", "x/y/z/a.txt", "x/_temporary/a.txt",
		"x/.git/a.txt", "d[1]/a.txt", "d1/a.txt", "é.txt"} {
		put(t, filepath.Join(dir, n), n)
	}
	for link, to := range map[string]string{"link.dat": "a.txt", "x/loop": "..", "linked": "x/y"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(filepath.Join(dir, "a.txt"), filepath.Join(dir, "hard.dat")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(dir, "x"))
	for _, x := range []struct {
		patterns string // with spaces between
		want     string
		note     string
	}{
		{"x/**/a.txt", "x/a.txt x/y/z/a.txt", "x/_temporary/a.txt is hidden"},
		{"x/**", "x/a.txt x/y/z/a.txt", ""},
		{"x/y/**/**/*.txt", "x/y/z/a.txt", ""},
		{"linked/**/*.txt", "linked/z/a.txt", ""},
		{"part[1].txt", "part[1].txt", ""},
		{"part[12].txt", "part1.txt", ""},
		{`part\[1\].txt`, "part[1].txt", ""},
		{"part[[]1].txt", "part[1].txt", ""},
		{"what?.txt", "what?.txt", ""},
		{"st*r.txt", "st*r.txt", ""},
		{"{x,y}.txt", "{x,y}.txt", ""},
		{`back\.txt`, `back\.txt`, ""},
		{"d[1]/*.txt", "d[1]/a.txt", ""},
		{"d[0-9]/*.txt", "d1/a.txt", ""},
		{"d[[]1]/*.txt", "d[1]/a.txt", ""},
		{"_*", "_SUCCESS _old.txt", ""},
		{"*ld.txt ?.txt", "B.txt a.txt b.txt é.txt", "_old.txt is hidden"},
		{"?.txt _old.txt", "B.txt _old.txt a.txt b.txt é.txt", ""},
		{"./a.txt a.txt x/../a.txt", "a.txt", "a.txt is named twice: it is read once"},
		{"a.txt link.dat", "a.txt", "are one file"},
		{"a.txt hard.dat", "a.txt", "are one file"},
		{"a.txt ABS/a.txt ABS/x/../a.txt", "a.txt", "named twice"},
		{"?.txt a*", "B.txt a.txt b.txt é.txt", "named twice"},
		{"a.txt/", "a.txt", ""},
		{"ABS/x/y/**/*.txt", "x/y/z/a.txt", ""},
		{"b.txt a.txt", "a.txt b.txt", ""},
	} {
		patterns := strings.Fields(strings.ReplaceAll(x.patterns, "ABS", strings.ReplaceAll(dir, " ", "?")))
		s := &reading{Source{Dir: dir, Patterns: patterns}, t.Context()}
		files, notes, err := s.list()
		if err != nil {
			t.Errorf("%s: %v", x.patterns, err)
			continue
		}
		var got []string
		for _, f := range files {
			rel, err := filepath.Rel(dir, f.Address)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, rel)
		}
		if !slices.Equal(got, strings.Fields(x.want)) {
			t.Errorf("%s: %q, not %q", x.patterns, got, x.want)
		}
		if said := strings.Join(notes, "\n"); (x.note == "") != (said == "") || !strings.Contains(said, x.note) {
			t.Errorf("%s: %q is said, not %q", x.patterns, said, x.note)
		}
	}
	for pattern, want := range map[string]string{
		"x":            "is a folder",
		"x/":           "is a folder",
		"":             "a source is empty",
		"y*":           "matches no file (looked in ",
		"*[1]":         "matches folders only",
		"x/{a,b}.txt":  "braces have no meaning",
		"none/**/*":    "matches no file",
		"x/**.txt":     "alone between slashes",
		"x/_temp*/*":   "",
		"*_old.txt":    "matches nothing that is read: ",
		"x/**/.g*/a.*": "",
	} {
		_, _, err := (&reading{Source{Dir: dir, Patterns: []string{pattern}}, t.Context()}).list()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, not %q", pattern, err, want)
		}
	}
}

// A folder that cannot be listed, here a link to itself, is an error and not a folder without files.
func TestUnreadableFolder(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a", "x.txt"), "x")
	if err := os.Symlink("b", filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (&reading{Source{Dir: dir, Patterns: []string{"b/**/*.txt"}}, t.Context()}).list(); err == nil {
		t.Error("a folder that cannot be read has no files")
	}
}

// Links to folders that lead to each other in many ways are each gone down once.
func TestLinkedFolders(t *testing.T) {
	dir := t.TempDir()
	const deep = 25 // by two links each: 2^25 ways
	at := dir
	for i := range deep {
		next := filepath.Join(dir, "real", string(rune('a'+i)))
		if err := os.MkdirAll(next, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, l := range []string{"1", "2"} {
			if err := os.Symlink(next, filepath.Join(at, l)); err != nil {
				t.Fatal(err)
			}
		}
		at = next
	}
	put(t, filepath.Join(at, "x.txt"), "x")
	files, notes, err := (&reading{Source{Dir: dir, Patterns: []string{"**/*.txt"}}, t.Context()}).list()
	if err != nil || len(files) != 1 || len(notes) == 0 || !strings.Contains(notes[0], "under another name") {
		t.Errorf("%v, %q, %v", files, notes, err)
	}
}

func TestStarsInAddresses(t *testing.T) {
	for address, want := range map[string]bool{"http://[::1]:8000/x.parquet": false, "https://h/a[1].parquet": false, "https://h/a%2A.parquet": false, "https://h/x?list=*": false, "https://h/*.parquet": true, "https://h/**/x": true} {
		list, err := listWeb(t.Context(), nil, address)
		if (err != nil) != want || err == nil && list[0].Address != address || err != nil && !strings.Contains(err.Error(), "no list of its files") {
			t.Errorf("%s: %v, %v", address, list, err)
		}
	}
	s := &reading{Source{Patterns: []string{"https://h/x%20y?b", "https://H:443/x%20y?b", "https://h/%78%20y?b", "https://h:444/x%20y?b", "https://h/x%20y?c"}}, t.Context()}
	files, notes, err := s.list()
	if err != nil || len(files) != 3 || len(notes) == 0 {
		t.Errorf("%v, %q, %v", files, notes, err)
	}
}

// TestHintsNameWhatIsThere says how the files in a folder are named, most of them if there are several kinds.
func TestHintsNameWhatIsThere(t *testing.T) {
	for want, files := range map[string][]string{
		"d/*.jsonl, or in d/**/*.jsonl with":              {"a.jsonl", "b.jsonl", "c.parquet", "README"},
		"d/*.jsonl.gz, or in d/**/*.jsonl.gz":             {"a.jsonl.gz", "_b.txt", ".c.txt"},
		"name the files in its folders, as in d/**/*.txt": {"in/a.txt", "in/deep/b.txt", "_in/c.bin", "_in/d.bin", "in/e.bin"},
		"d/*.parquet, or in d/**/*.parquet":               {"README"},
	} {
		dir := t.TempDir()
		for _, f := range files {
			put(t, filepath.Join(dir, "d", f), "")
		}
		if _, err := matchPaths(t.Context(), dir, "d"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", files, err, want)
		}
	}
}
