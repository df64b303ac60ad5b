package fineweb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"stepflow/fineweb/tokenizer"
)

// reader is a way in which documents lie on disk.
type reader struct {
	name   string
	source Source
}

// separator is in none of the documents of sameDocuments.
const separator = "\n%%\n"

// sameDocuments makes documents of one letter to some thousands.
func sameDocuments(n int) (texts []string) {
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range n {
		length := rng.IntN(12)
		if i%40 == 3 {
			length = 700
		}
		text := fmt.Sprintf("%c", 'a'+i%26)
		for range length {
			text += " " + []string{"word", "Dokument", "says:", "naïve", "e\u0301", "\n", "12"}[rng.IntN(7)]
		}
		texts = append(texts, text)
	}
	return texts
}

// readers are all ways in which the documents can lie, with boundaries of every kind in different places.
func readers(t testing.TB, texts []string, tk *tokenizer.Tokenizer) (list []reader) {
	t.Helper()
	dir := t.TempDir()
	add := func(name, format string, change func(*Source)) {
		s := Source{Format: format, Dir: dir, Patterns: []string{name}, DocumentMask: true, PredictFirst: true}
		if change != nil {
			change(&s)
		}
		list = append(list, reader{name, s})
	}
	var rows []Row
	var lines, plain strings.Builder
	var ids []int32
	for i, text := range texts {
		rows = append(rows, Row{Text: text, ID: fmt.Sprint(i)})
		b, err := json.Marshal(map[string]string{"text": text})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&lines, "%s\n", b)
		if i%100 == 5 {
			lines.WriteString("\n") // a blank line
		}
		if i > 0 {
			plain.WriteString(separator)
		}
		plain.WriteString(text)
		ids = append(ids, encoded(t, tk, text)...)
	}
	for _, group := range []int{1, 9, 250, len(texts)} {
		for _, page := range []int{1, 400, 1 << 20} {
			if group == 1 && page > 1 {
				continue
			}
			name := fmt.Sprintf("g%d-p%d.parquet", group, page)
			writePages(t, filepath.Join(dir, name), rows, group, page)
			add(name, "parquet", nil)
		}
	}
	for i := 0; i < len(rows); i += 333 {
		writePages(t, filepath.Join(dir, fmt.Sprintf("shard-%02d.parquet", i/333)), rows[i:min(i+333, len(rows))], 50, 2000)
	}
	add("shard-*.parquet", "fineweb_edu", nil)
	add("g250-p400.parquet", "parquet", func(s *Source) { s.TokenDir = filepath.Join(dir, "tokens") })
	add("g250-p400.parquet", "parquet", func(s *Source) { s.TokenDir = filepath.Join(dir, "tokens") }) // that are there by now
	write(t, filepath.Join(dir, "lines.jsonl"), lines.String())
	add("lines.jsonl", "jsonl", nil)
	write(t, filepath.Join(dir, "all.txt"), plain.String())
	add("all.txt", "text", func(s *Source) { s.Separator = separator })
	for i := range 300 {
		write(t, filepath.Join(dir, fmt.Sprintf("%04d.txt", i)), texts[i])
	}
	for i, b := range [][]int32{ids[:100], ids[100:101], ids[101 : len(ids)/2], ids[len(ids)/2:]} {
		write(t, filepath.Join(dir, fmt.Sprintf("n%d.bin", i)), string(narrow(b)))
		write(t, filepath.Join(dir, fmt.Sprintf("w%d.bin", i)), string(headed(20240801, 7, len(b), wide(b))))
	}
	add("n?.bin", "bin", nil)
	add("w?.bin", "bin", nil)
	return list
}

// writePages writes rows as parquet with row groups of a number of rows and pages of a number of bytes.
func writePages(t testing.TB, path string, rows []Row, perGroup, page int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := parquet.NewGenericWriter[Row](f, parquet.PageBufferSize(page), parquet.Compression(&zstd.Codec{}))
	for at := 0; at < len(rows); at += perGroup {
		if _, err := w.Write(rows[at:min(len(rows), at+perGroup)]); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// batchesOf reads batches until the third epoch begins.
func batchesOf(t testing.TB, parts []Weighted, tk *tokenizer.Tokenizer, seq int) (list []Batch) {
	t.Helper()
	set, err := OpenSet(context.Background(), parts)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	st, err := set.Stream(Train, tk, seq, Position{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, err := st.Next(3)
		if err != nil {
			t.Fatal(err)
		}
		if b.Cursor.Epoch >= 2 {
			return list
		}
		b.Cursor, b.Sources, b.Documents = Position{}, nil, nil // they say where things lie
		list = append(list, *b)
	}
}

// Where a reader has its boundaries does not show: the same documents give the same batches, bit for bit, from every format, with
// every size of row groups, pages, shards and pieces, from a cache of tokens, and as a mixture's only source.
func TestReadersGiveTheSameBatches(t *testing.T) {
	tk := tok(t)
	texts := sameDocuments(1050)
	list := readers(t, texts, tk)
	for _, masked := range []bool{true, false} {
		for _, first := range []bool{true, false} {
			var want []Batch
			for k, c := range []cut{usual, {7, 64}, {100, 1000}, {1, 5}} {
				inPieces(t, c)
				for i, r := range list {
					if (!masked || !first) && (k > 0 || i%3 > 0) || k == 3 && i%3 > 0 { // a reader knows nothing of masks
						continue
					}
					s := r.source
					s.DocumentMask, s.PredictFirst = masked, first
					got := batchesOf(t, []Weighted{{Source: s, Weight: 1}}, tk, 48)
					if want == nil {
						want = got
					}
					if len(want) < 100 || !reflect.DeepEqual(got, want) {
						t.Fatalf("%s (%s) in pieces of %+v: other batches, %d instead of %d", r.name, r.source.Format, c, len(got), len(want))
					}
				}
			}
		}
	}
}

// Shuffled, an epoch holds the same documents whatever they are read from; only their order is the files'.
func TestReadersShuffleTheSameDocuments(t *testing.T) {
	tk := tok(t)
	texts := sameDocuments(1050)
	want := slices.Sorted(slices.Values(texts))
	list := readers(t, texts, tk)
	for _, c := range []cut{usual, {50, 640}} {
		inPieces(t, c)
		for _, r := range list {
			s := r.source
			s.Shuffle = true
			corpus := open(t, s)
			st, err := corpus.Stream(Train, tk, 48, Cursor{})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				var got []string
				for st.ends = 0; ; {
					d, _, err := st.next()
					if err != nil {
						t.Fatal(err)
					}
					if st.ends > 0 {
						break
					}
					text := d.text
					if corpus.tokens != nil {
						if d.ids, err = corpus.tokens.whole(d.at); err != nil {
							t.Fatal(err)
						}
					}
					if d.ids != nil {
						text = tk.Decode(d.ids, true)
					}
					got = append(got, text)
				}
				if slices.Equal(got, texts) && len(got) > 1 {
					t.Errorf("%s: the order is that of the files", r.name)
				}
				if slices.Sort(got); len(got) < len(want)-1 || st.read.Epoch == 1 && !slices.Equal(got, want) {
					t.Errorf("%s in pieces of %+v: an epoch holds %d documents of %d, or others", r.name, c, len(got), len(want))
				}
			}
		}
	}
}
