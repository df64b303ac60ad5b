package web

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

func filesIn(t *testing.T, dir string) (list []string, total int64) {
	t.Helper()
	filepath.Walk(dir, func(p string, st os.FileInfo, err error) error {
		if err == nil && st.Mode().IsRegular() {
			list, total = append(list, p), total+st.Size()
		}
		return nil
	})
	return list, total
}

// What was fetched once is not fetched again by another client, unless the file changed or the cache was damaged.
func TestDiskServesWhatItHas(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 3*blockBytes/16)
	body = append(body, "end"...)
	tag := `"one"`
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		asked.Add(1)
		w.Header().Set("ETag", tag)
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(body))
	}))
	defer s.Close()
	dir := t.TempDir()
	read := func() int64 {
		t.Helper()
		asked.Store(0)
		f, err := (&Client{Disk: &Disk{Dir: dir, Limit: 1 << 30}}).Open(context.Background(), s.URL+"/f", nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
		if err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		return asked.Load()
	}
	if n := read(); n != 1+4 {
		t.Errorf("%d requests, not one to open and four to read", n)
	}
	if n := read(); n != 1 {
		t.Errorf("%d requests, not the one to open", n)
	}
	blocks, _ := filesIn(t, dir)
	b, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(blocks[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blocks[1], 5); err != nil {
		t.Fatal(err)
	}
	if n := read(); n != 1+2 {
		t.Errorf("%d requests, not one to open and two for damaged blocks", n)
	}
	var large []string // all but the last, which is shorter
	for _, f := range blocks {
		if st, err := os.Stat(f); err == nil && st.Size() > blockBytes {
			large = append(large, f)
		}
	}
	if b, err = os.ReadFile(large[0]); err == nil {
		err = os.WriteFile(large[1], b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := read(); n != 1+1 {
		t.Errorf("%d requests, not one to open and one for a block in another's place", n)
	}
	tag, body[0] = `"two"`, 'x'
	if n := read(); n != 1+4 {
		t.Errorf("%d requests after the file changed", n)
	}
}

// The folder never holds much more than its limit, and what was used last stays.
func TestDiskEvicts(t *testing.T) {
	d := &Disk{Dir: t.TempDir(), Limit: 10_000}
	block := make([]byte, 1000)
	old := time.Now().Add(-time.Hour)
	for i := 0; i < 50; i++ {
		key := fmt.Sprint("block ", i)
		block[0] = byte(i)
		d.put(key, block)
		if i > 0 && d.get("block 0", 1000) == nil {
			t.Fatalf("the block that is used all the time was evicted when %d was put", i)
		}
		os.Chtimes(d.path(key), old.Add(time.Duration(i)*time.Second), old.Add(time.Duration(i)*time.Second))
		if _, total := filesIn(t, d.Dir); total > d.Limit {
			t.Fatalf("%d bytes of %d allowed", total, d.Limit)
		}
	}
	if d.get("block 1", 1000) != nil {
		t.Error("the oldest block is still there")
	}
	if b := d.get("block 49", 1000); b == nil || b[0] != 49 {
		t.Error("the newest block is gone")
	}
	// Another process' blocks count too.
	other := &Disk{Dir: d.Dir, Limit: 3000}
	other.put("more", block)
	if _, total := filesIn(t, d.Dir); total > 3000 {
		t.Errorf("%d bytes of 3000 allowed", total)
	}
	// A folder that can't be written is no error.
	(&Disk{Dir: "/proc/none", Limit: 1 << 20}).put("x", block)
	(*Disk)(nil).put("x", block)
}
