package fineweb

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// Files on a web server give the batches that they give on disk, in every format.
func TestWebGivesWhatTheDiskGives(t *testing.T) {
	dir := corpusDir(t)
	var lines, text strings.Builder
	for _, r := range rows(50) {
		lines.WriteString(`{"id":"` + r.ID + `","text":"` + r.Text + "\"}\n")
		text.WriteString(r.Text + "\n\n")
	}
	write(t, filepath.Join(dir, "d.jsonl"), lines.String())
	write(t, filepath.Join(dir, "d.txt"), text.String())
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	tk := tok(t)
	for format, names := range map[string][]string{"fineweb_edu": {"000.parquet", "001.parquet"}, "jsonl": {"d.jsonl"},
		"text": {"d.txt"}} {
		batches := func(patterns []string) (list []*Batch) {
			s := source(dir)
			s.Format, s.Patterns, s.Separator = format, patterns, "\n\n"
			st, err := open(t, s).Stream(Train, tk, 16, Cursor{})
			if err != nil {
				t.Fatal(err)
			}
			for len(list) < 20 {
				b, err := st.Next(4)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range b.Documents {
					d.Origin.File = base(d.File)
				}
				list = append(list, b)
			}
			return list
		}
		var addresses []string
		for _, n := range names {
			addresses = append(addresses, server.URL+"/"+n)
		}
		if !reflect.DeepEqual(batches(names), batches(addresses)) {
			t.Errorf("%s: other batches from the web", format)
		}
		identity := func() string {
			s := source(dir)
			s.Format, s.Patterns = format, addresses
			id, err := open(t, s).Identity()
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		id := identity()
		if identity() != id {
			t.Errorf("%s: the identity changes by itself", format)
		}
		path := filepath.Join(dir, names[0])
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, string(b))
		os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)) // the server tells versions by it
		if identity() == id {
			t.Errorf("%s: the identity is that of before", format)
		}
	}
	s := source(dir)
	for address, want := range map[string]string{server.URL + "/*.parquet": "name each of them",
		server.URL + "/none.parquet": "404", "gs://a/b": "AWS_ENDPOINT_URL=https://storage.googleapis.com",
		"ftp://a/b": "there is no ftp://"} {
		s.Patterns = []string{address}
		if _, err := Open(context.Background(), s); err == nil || !strings.Contains(err.Error(),
			want) || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// A row group larger than a piece is read in pieces, from any row, with a page index and without; an epoch holds
// each of its documents once, and a stream goes on from any position.
func TestLargeRowGroup(t *testing.T) {
	const n = 8969
	all := rows(n)
	indexed := filepath.Join(t.TempDir(), "indexed.parquet")
	f, err := os.Create(indexed)
	if err != nil {
		t.Fatal(err)
	}
	w := parquet.NewGenericWriter[Row](f, parquet.PageBufferSize(10_000), parquet.Compression(&zstd.Codec{}))
	if _, err := w.Write(all); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	// The other file holds the same rows; pyarrow wrote it, large_string, one row group, no page index.
	for _, path := range []string{indexed, "testdata/no_page_index.parquet"} {
		s := source(".")
		s.Format, s.Patterns, s.ValidationFraction = "parquet", []string{path}, 0
		c := open(t, s)
		if len(c.groups) != 1 || len(c.groups[0]) != 257 || c.Rows != n {
			t.Fatalf("%d rows in %d groups", c.Rows, len(c.groups))
		}
		// From anywhere, in any order.
		for _, from := range []int64{5000, 0, 1, n - 1, 4096, 9} {
			k := min(int64(100), n-from)
			docs, err := c.shards[0].read(0, from, k)
			if err != nil {
				t.Fatal(err)
			}
			for i, d := range docs {
				if want := all[from+int64(i)]; d.text != want.Text || d.id != want.ID {
					t.Fatalf("row %d is %q, not %q", from+int64(i), d.id, want.ID)
				}
			}
		}
		st, err := c.Stream(Train, tok(t), 16, Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		var cursors []Cursor
		for st.read.Epoch == 0 && len(seen) < n {
			cursors = append(cursors, st.read)
			d, _, err := st.next()
			if err != nil {
				t.Fatal(err)
			}
			seen[d.id]++
		}
		if len(seen) != n {
			t.Errorf("an epoch holds %d of %d documents", len(seen), n)
		}
		for id, k := range seen {
			if k != 1 {
				t.Errorf("%s came %d times", id, k)
			}
		}
		for _, at := range []int{1, pieceRows - 1, pieceRows, 16 * pieceRows, n - 3} {
			a, err := open(t, s).Stream(Train, tok(t), 16, cursors[at])
			if err != nil {
				t.Fatal(err)
			}
			b, err := open(t, s).Stream(Train, tok(t), 16, cursors[at-1])
			if err != nil {
				t.Fatal(err)
			}
			if err := b.more(); err != nil {
				t.Fatal(err)
			}
			b.drop(len(b.ids))
			x, err := a.Next(2)
			if err != nil {
				t.Fatal(err)
			}
			y, err := b.Next(2)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(x.IDs, y.IDs) || !reflect.DeepEqual(x.Cursor, y.Cursor) {
				t.Errorf("position %+v gives another batch than reading up to it", cursors[at])
			}
		}
	}
}
