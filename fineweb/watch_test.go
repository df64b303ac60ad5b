package fineweb

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
)

// watchedIn counts the watched documents of so many batches, going on from the position after every third of them as a run does that
// was ended.
func watchedIn(t *testing.T, s Source, tk *tokenizer.Tokenizer, w *Watched, resume bool) (n int64) {
	t.Helper()
	s.Epochs = 1
	set := setOf(t, s)
	mix, err := set.Stream(Train, tk, 16, Position{})
	if err != nil {
		t.Fatal(err)
	}
	mix.Watch(w)
	for i := 1; ; i++ {
		b, err := mix.Next(2)
		if err != nil {
			return n
		}
		n += b.Watched
		if resume && i%3 == 0 {
			if mix, err = set.Stream(Train, tk, 16, b.Cursor); err != nil {
				t.Fatal(err)
			}
			mix.Watch(w)
		}
	}
}

func setOf(t *testing.T, s Source) *Set {
	t.Helper()
	set, err := OpenSet(context.Background(), []Weighted{{Source: s, Weight: 1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

// Documents that are measured are known again among those trained on: with other ids, in other formats and files, with the cache and
// without, whatever their order and wherever a run goes on; each once.
func TestWatch(t *testing.T) {
	t.Setenv(foreign.CacheDirVariable, t.TempDir())
	dir := t.TempDir()
	tk := tok(t)
	var held, lines, text strings.Builder
	var bin []byte
	const documents, known = 60, 7
	for i := range documents {
		doc := fmt.Sprintf("the document number %d, %s", i, strings.Repeat("and so on ", i%9))
		if i%9 == 1 {
			fmt.Fprintf(&held, "{\"id\":\"held %d\",\"text\":%q}\n", i, doc)
		}
		fmt.Fprintf(&lines, "{\"id\":\"%d\",\"text\":%q}\n", i, doc)
		text.WriteString(doc + "\n\n")
		ids, _, err := tk.Document(nil, doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			bin = binary.LittleEndian.AppendUint16(bin, uint16(id))
		}
	}
	put(t, filepath.Join(dir, "held.jsonl"), held.String())
	put(t, filepath.Join(dir, "all.jsonl"), lines.String())
	put(t, filepath.Join(dir, "all.txt"), strings.TrimSuffix(text.String(), "\n\n"))
	put(t, filepath.Join(dir, "all.bin"), string(bin))
	w := &Watched{}
	if err := setOf(t, Source{Format: "jsonl", Dir: dir, Patterns: []string{"held.jsonl"}, ValidationFraction: 1}).Watch(w, tk, Windows{Split: Validation, Length: 8}); err != nil {
		t.Fatal(err)
	}
	if w.Documents != known || w.Partial {
		t.Fatalf("%+v", w)
	}
	for name, s := range map[string]Source{
		"jsonl": {Format: "jsonl", Patterns: []string{"all.jsonl"}},
		// Of this order the documents at the end, which fill no batch, are not measured.
		"shuffled": {Format: "jsonl", Patterns: []string{"all.jsonl"}, Shuffle: true, Seed: 5},
		"cached":   {Format: "jsonl", Patterns: []string{"all.jsonl"}, TokenDir: t.TempDir()},
		"text":     {Format: "text", Patterns: []string{"all.txt"}, Separator: "\n\n"},
		"bin":      {Format: "bin", Patterns: []string{"all.bin"}},
	} {
		s.Dir, s.DocumentMask = dir, true
		for range 2 { // the second time from the cache
			if n := watchedIn(t, s, tk, w, false); n != known {
				t.Errorf("%s: %d of %d are known again", name, n, known)
			}
		}
		if n := watchedIn(t, s, tk, w, true); n != known && s.Format != "bin" || n > known {
			t.Errorf("%s, resumed: %d of %d are known again", name, n, known)
		}
	}
	if n := watchedIn(t, Source{Format: "jsonl", Dir: dir, Patterns: []string{"all.jsonl"}}, tk, &Watched{}, false); n != 0 {
		t.Errorf("%d of no documents are known again", n)
	}
	// Of windows that end early only the documents before the end are measured.
	w = &Watched{}
	if err := setOf(t, Source{Format: "jsonl", Dir: dir, Patterns: []string{"held.jsonl"}, ValidationFraction: 1}).Watch(w, tk, Windows{Split: Validation, Length: 8, Limit: 2}); err != nil || w.Documents != 1 {
		t.Errorf("%+v, %v", w, err)
	}
}
