package fineweb

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// Pages of LZ4_RAW, as pyarrow writes them, that compress to more than a third: see lz4.go.
func TestLZ4(t *testing.T) {
	c := open(t, Source{Format: "parquet", Patterns: []string{"testdata/lz4_raw.parquet"}})
	i := 0
	err := c.Head(nil, func(d Sample) bool {
		sum := sha256.Sum256([]byte(fmt.Sprint(i)))
		if want := strings.Repeat(fmt.Sprintf("%x", sum), i%3+1); d.Text != want {
			t.Errorf("row %d is %.20q", i, d.Text)
		}
		i++
		return true
	})
	if err != nil || i != 200 {
		t.Errorf("%d rows, %v", i, err)
	}
}

// FuzzParquet reads damaged files: text or an error, no panic, no more memory than the file can fill.
func FuzzParquet(f *testing.F) {
	p := filepath.Join(f.TempDir(), "x.parquet") // small, so that many are tried
	if err := WriteParquet(p, rows(6), 4); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := filepath.Join(t.TempDir(), "x.parquet")
		write(t, p, string(b))
		c, err := Open(context.Background(), Source{Format: "parquet", Patterns: []string{p}})
		if err != nil {
			return
		}
		defer c.Close()
		n := int64(0)
		if err := c.Head(nil, func(Sample) bool { n++; return true }); err == nil && n != c.Rows {
			t.Errorf("%d rows of %d, and no error", n, c.Rows)
		}
	})
}

// A row group of a million rows is read in the memory of one piece: the heap that stays is reported.
func BenchmarkLargeRowGroup(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.parquet")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	w := parquet.NewGenericWriter[Row](f, parquet.Compression(&zstd.Codec{}), parquet.MaxRowsPerRowGroup(1<<30))
	const n = 1_000_000
	some := rows(10_000)
	for i := 0; i < n; i += len(some) {
		if _, err := w.Write(some); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	f.Close()
	s := Source{Format: "fineweb_edu", Patterns: []string{path}}
	b.ResetTimer()
	for range b.N {
		c := open(b, s)
		if c.Groups() != 1 || c.Rows != n {
			b.Fatalf("%d rows in %d groups", c.Rows, c.Groups())
		}
		var most, bytes uint64
		i := 0
		if err := c.Head(nil, func(d Sample) bool {
			bytes += uint64(len(d.Text))
			if i++; i%100_000 == 0 {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
			return true
		}); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(bytes))
		b.ReportMetric(float64(most)/(1<<20), "heap-MiB")
		b.ReportMetric(float64(bytes)/(1<<20), "text-MiB")
	}
}

// How much of a remote file is read before the first batch is there: STEPFLOW_BENCH_PARQUET names a large one.
func BenchmarkRemoteFirstBatch(b *testing.B) {
	path := os.Getenv("STEPFLOW_BENCH_PARQUET")
	if path == "" {
		path = filepath.Join(b.TempDir(), "x.parquet")
		if err := WriteParquet(path, rows(100_000), 1000); err != nil {
			b.Fatal(err)
		}
	}
	st, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	var sent atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		http.ServeFile(counted{w, &sent}, q, path)
	}))
	defer server.Close()
	source := Source{Format: "parquet", Patterns: []string{server.URL}, Shuffle: true, Seed: uint64(b.N), Cache: NewCache(0)}
	b.ResetTimer()
	for range b.N {
		sent.Store(0)
		set, err := OpenSet(context.Background(), []Weighted{{Weight: 1, Source: source}})
		if err != nil {
			b.Fatal(err)
		}
		m, err := set.Stream(Train, tok(b), 1024, Position{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := m.Next(8); err != nil {
			b.Fatal(err)
		}
		set.Close()
	}
	b.ReportMetric(float64(sent.Load())/1e6, "MB-read")
	b.ReportMetric(float64(st.Size())/1e6, "MB-file")
}

type counted struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return c.ResponseWriter.Write(b)
}
