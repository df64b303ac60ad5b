package fineweb

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
)

// changes are what may happen to a file while it is read. Those that are harmless leave its contents alone.
var changes = map[string]struct {
	harmless bool
	make     func(path string) error
}{
	"rewritten in place, same size": {false, func(path string) error { return overwrite(path, func(b []byte) []byte { return bytes.ToUpper(b) }) }},
	"rewritten, same time": {false, func(path string) error {
		st, err := os.Stat(path)
		if err != nil {
			return err
		}
		return errors.Join(overwrite(path, func(b []byte) []byte { return bytes.ToUpper(b) }), os.Chtimes(path, st.ModTime(), st.ModTime()))
	}},
	"truncated":   {false, func(path string) error { return os.Truncate(path, 100) }},
	"emptied":     {false, func(path string) error { return os.Truncate(path, 0) }},
	"appended to": {false, func(path string) error { return overwrite(path, func(b []byte) []byte { return append(b, b...) }) }},
	"replaced": {false, func(path string) error {
		b, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(path+".new", bytes.ToUpper(b), 0o644), os.Rename(path+".new", path))
	}},
	"removed": {false, os.Remove},
	"now a link to another": {false, func(path string) error {
		b, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(path+".other", bytes.ToUpper(b), 0o644), os.Remove(path), os.Symlink(path+".other", path))
	}},
	"now a folder": {false, func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) }},

	"touched":        {true, func(path string) error { return os.Chtimes(path, time.Now(), time.Now()) }},
	"linked":         {true, func(path string) error { return os.Link(path, path+".link") }},
	"made read-only": {true, func(path string) error { return os.Chmod(path, 0o444) }},
	"replaced by its like": {true, func(path string) error {
		b, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(path+".new", b, 0o644), os.Rename(path+".new", path))
	}},
	"written with what it holds": {true, func(path string) error { return overwrite(path, func(b []byte) []byte { return b }) }},
}

func overwrite(path string, change func([]byte) []byte) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(change(b))
	return errors.Join(err, f.Close())
}

// manyDocuments writes a file of each format, of several pieces.
func manyDocuments(t *testing.T, dir string) map[string]string {
	t.Helper()
	var lines, text, ids bytes.Buffer
	for i := range 1200 {
		fmt.Fprintf(&lines, "{\"id\":\"%d\",\"text\":\"the document number %d of all\"}\n", i, i)
		fmt.Fprintf(&text, "the document number %d of all\n\n", i)
		ids.Write([]byte{'a' + byte(i%20), 0, 1, 0})
	}
	names := map[string]string{"jsonl": "d.jsonl", "text": "d.txt", "bin": "d.bin", "parquet": "d.parquet"}
	put(t, filepath.Join(dir, names["jsonl"]), lines.String())
	put(t, filepath.Join(dir, names["text"]), text.String())
	put(t, filepath.Join(dir, names["bin"]), strings.Repeat(ids.String(), 20))
	if err := WriteParquet(filepath.Join(dir, names["parquet"]), rows(1200), 100); err != nil {
		t.Fatal(err)
	}
	return names
}

// A file that changes while it is read ends the reading with its name, in every format, whether tokens are kept or not, and even where
// errors are passed over: no batch holds anything of what it became. One that holds what it did is read on.
func TestChangesWhileReading(t *testing.T) {
	tk := tok(t)
	for format := range map[string]bool{"jsonl": true, "text": true, "bin": true, "parquet": true} {
		for name, change := range changes {
			for _, cached := range []bool{false, true} {
				if cached && (format != "jsonl" || name == "linked") {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%t", format, name, cached), func(t *testing.T) {
					t.Setenv(foreign.CacheDirVariable, t.TempDir())
					dir := t.TempDir()
					file := manyDocuments(t, dir)[format]
					s := Source{Format: format, Dir: dir, Patterns: []string{file}, Separator: "\n\n", Shuffle: true, SkipErrors: true}
					if cached {
						s.TokenDir = t.TempDir()
						if err := Tokenize(context.Background(), s, tk, nil); err != nil {
							t.Fatal(err)
						}
					}
					want := sequence(t, s, tk, func(int) {})
					got := sequence(t, s, tk, func(n int) {
						if n == 3 {
							time.Sleep(20 * time.Millisecond) // more than the clock of a file system goes on by
							if err := change.make(filepath.Join(dir, file)); err != nil {
								t.Fatal(err)
							}
						}
					})
					if len(got) > len(want) || fmt.Sprint(got[:len(got)-1]) != fmt.Sprint(want[:len(got)-1]) {
						t.Fatalf("of %d batches some are others", len(got))
					}
					last := got[len(got)-1]
					if change.harmless {
						if last != want[len(want)-1] {
							t.Errorf("ended with %s", last)
						}
					} else if !strings.Contains(last, file) || !strings.Contains(last, "changed while it was read") {
						t.Errorf("after %d of %d batches: %s", len(got), len(want), last)
					}
				})
			}
		}
	}
}

// sequence gives the batches of two passes over data, and the error that ended them.
func sequence(t *testing.T, s Source, tk *tokenizer.Tokenizer, before func(n int)) (list []string) {
	t.Helper()
	s.Epochs = 2
	c, err := Open(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Identity(); err != nil {
		t.Fatal(err)
	}
	st, err := c.Stream(Train, tk, 64, Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		before(n)
		b, err := st.Next(8)
		if err != nil {
			if !errors.Is(err, ErrUsedUp) && !errors.Is(err, ErrChanged) {
				t.Fatal(err)
			}
			return append(list, err.Error())
		}
		list = append(list, fmt.Sprint(b.IDs, b.Cursor))
	}
}

// A remote file that changes is not a damaged one, which on_error = "skip" would pass over.
func TestRemoteChangeIsNotSkipped(t *testing.T) {
	dir := t.TempDir()
	all := rows(3000)
	random := rand.NewChaCha8([32]byte{})
	for i := range all {
		b := make([]byte, 1000)
		random.Read(b)
		all[i].Text = hex.EncodeToString(b)
	}
	path := filepath.Join(dir, "d.parquet")
	if err := WriteParquet(path, all, 100); err != nil {
		t.Fatal(err)
	}
	changed := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("ETag", fmt.Sprintf(`"%t"`, changed))
		http.ServeFile(w, q, path)
	}))
	defer server.Close()
	c, err := Open(context.Background(), Source{Format: "parquet", Patterns: []string{server.URL + "/d.parquet"}, SkipErrors: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	changed = true
	if err := c.Texts(Train, func(string) bool { return true }); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "d.parquet") || c.Skipped > 0 {
		t.Errorf("%v, and %d are passed over", err, c.Skipped)
	}
}
