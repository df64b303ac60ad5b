package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func content(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// serve gives a server of one file, with faults: a function that may answer instead.
func serve(t *testing.T, data []byte, fault func(w http.ResponseWriter, q *http.Request) bool) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if fault == nil || !fault(w, q) {
			w.Header().Set("ETag", `"v1"`)
			http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// Ten thousand ranges, of which one in twenty meets each kind of fault: every byte as in the file.
func TestTenThousandRangesWithFaults(t *testing.T) {
	data := content(40 << 20)
	var asked atomic.Int64
	var faults [6]atomic.Int64
	hang := make(chan struct{})
	defer close(hang)
	s := serve(t, data, func(w http.ResponseWriter, q *http.Request) bool {
		asked.Add(1)
		kind := rand.IntN(100)
		if kind >= 30 {
			return false
		}
		kind /= 5
		faults[kind].Add(1)
		part := func(send int) { // promises the range and sends some of it
			var from, to int
			fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-%d", &from, &to)
			w.Header().Set("ETag", `"v1"`)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
			w.Header().Set("Content-Length", fmt.Sprint(to-from+1))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(data[from : from+min(send, to-from)])
		}
		switch kind {
		case 0:
			w.WriteHeader(http.StatusTooManyRequests)
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2: // the connection is cut before an answer
			panic(http.ErrAbortHandler)
		case 3: // and in the middle of one
			part(1000)
			panic(http.ErrAbortHandler)
		case 4: // another range than was asked for
			q.Header.Set("Range", "bytes=7-9")
			w.Header().Set("ETag", `"v1"`)
			http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
		case 5: // no answer in time
			select {
			case <-hang:
			case <-q.Context().Done():
			}
		}
		return true
	})
	c := &Client{Timeout: 200 * time.Millisecond, Backoff: time.Microsecond}
	f, err := c.Open(context.Background(), s.URL+"/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.Size() != int64(len(data)) {
		t.Fatalf("size %d, not %d", f.Size(), len(data))
	}
	const readers, n = 50, 10000 // what waits for an answer that does not come waits together
	var all sync.WaitGroup
	for i := uint64(0); i < readers; i++ {
		all.Go(func() {
			r := rand.New(rand.NewPCG(3, i))
			for j := 0; j < n/readers; j++ {
				at, k := r.IntN(len(data)-1), 1+r.IntN(4000)
				k = min(k, len(data)-at)
				got, err := f.fetch(int64(at), int64(k))
				if err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(got, data[at:at+k]) {
					t.Errorf("bytes %d to %d are not those of the file", at, at+k)
					return
				}
			}
		})
	}
	all.Wait()
	for kind := range faults {
		if faults[kind].Load() == 0 {
			t.Errorf("fault %d was not met", kind)
		}
	}
	t.Logf("%d requests for %d ranges", asked.Load(), n)
}

func TestReadAt(t *testing.T) {
	data := content(3*blockBytes + 77)
	var requests atomic.Int64
	s := serve(t, data, func(http.ResponseWriter, *http.Request) bool { requests.Add(1); return false })
	f, err := (&Client{}).Open(context.Background(), s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, f.Size()))
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("read %d bytes: %v", len(got), err)
	}
	if n := requests.Load(); n != 1+4 {
		t.Errorf("%d requests, not one to open and one a block", n)
	}
	b := make([]byte, 100)
	if n, err := f.ReadAt(b, int64(len(data))-40); n != 40 || err != io.EOF || !bytes.Equal(b[:n], data[len(data)-40:]) {
		t.Errorf("the end: %d, %v", n, err)
	}
	if n, err := f.ReadAt(b, int64(len(data))+5); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d, %v", n, err)
	}
}

// Memory is bounded: the blocks used last are kept, the others are asked for again.
func TestBlocksKept(t *testing.T) {
	data := content((blocks + 2) * blockBytes)
	var requests atomic.Int64
	s := serve(t, data, func(http.ResponseWriter, *http.Request) bool { requests.Add(1); return false })
	f, err := (&Client{}).Open(context.Background(), s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	read := func(i int) {
		if _, err := f.ReadAt(b, int64(i)*blockBytes+5); err != nil || b[0] != data[i*blockBytes+5] {
			t.Fatalf("block %d: %d, %v", i, b[0], err)
		}
	}
	for i := 0; i < blocks+2; i++ {
		read(i)
		read(0) // always used last, so never thrown away
	}
	if len(f.cached) != blocks {
		t.Errorf("%d blocks are kept, not %d", len(f.cached), blocks)
	}
	before := requests.Load()
	read(0)
	read(blocks + 1)
	if n := requests.Load() - before; n != 0 {
		t.Errorf("%d requests for blocks that are kept", n)
	}
	read(1)
	if n := requests.Load() - before; n != 1 {
		t.Errorf("%d requests for a block that is not", n)
	}
}

func TestEmptyFile(t *testing.T) {
	f, err := (&Client{}).Open(context.Background(), serve(t, nil, nil).URL, nil)
	if err != nil || f.Size() != 0 {
		t.Fatalf("%v, %v", f, err)
	}
}

// Errors that asking again does not cure are told at once, without the password in the address.
func TestPermanentErrors(t *testing.T) {
	for _, x := range []struct {
		code int
		want string
	}{{404, "404"}, {403, "credentials"}, {401, "credentials"}, {410, "410"}} {
		var asked atomic.Int64
		s := serve(t, nil, func(w http.ResponseWriter, _ *http.Request) bool { asked.Add(1); w.WriteHeader(x.code); return true })
		_, err := (&Client{}).Open(context.Background(), strings.Replace(s.URL, "http://", "http://me:secret@", 1)+"/x.parquet", nil)
		if err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), "x.parquet") || strings.Contains(err.Error(), "secret") || asked.Load() != 1 {
			t.Errorf("%d, asked %d times: %v", x.code, asked.Load(), err)
		}
	}
	s := serve(t, nil, func(w http.ResponseWriter, _ *http.Request) bool { w.Write([]byte("all of it")); return true })
	if _, err := (&Client{}).Open(context.Background(), s.URL, nil); err == nil || !strings.Contains(err.Error(), "whole file") {
		t.Errorf("a server without ranges: %v", err)
	}
	if _, err := (&Client{}).Open(context.Background(), "http://", nil); err == nil {
		t.Error("an address without a host was opened")
	}
}

// A file that changes midway is never mixed with what it was.
func TestChangedFile(t *testing.T) {
	data := content(3 * blockBytes)
	for _, how := range []string{"precondition", "tag", "size"} {
		changed := false
		s := serve(t, data, func(w http.ResponseWriter, q *http.Request) bool {
			if !changed {
				return false
			}
			switch how {
			case "precondition": // a server that heeds If-Match
				w.Header().Set("ETag", `"v2"`)
			case "tag": // and one that does not
				q.Header.Del("If-Match")
				w.Header().Set("ETag", `"v2"`)
			case "size":
				q.Header.Del("If-Match")
				w.Header().Set("ETag", `"v1"`)
				http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data[:len(data)-1]))
				return true
			}
			http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(data))
			return true
		})
		f, err := (&Client{}).Open(context.Background(), s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		changed = true
		if _, err := f.ReadAt(b, blockBytes); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", how, err)
		}
	}
}

// The budget bounds the retries, and Retry-After is honoured within it.
func TestBudget(t *testing.T) {
	var asked atomic.Int64
	s := serve(t, nil, func(w http.ResponseWriter, _ *http.Request) bool {
		asked.Add(1)
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	_, err := (&Client{Budget: 50 * time.Millisecond, Backoff: time.Millisecond}).Open(context.Background(), s.URL, nil)
	if err == nil || !strings.Contains(err.Error(), "502") || !strings.Contains(err.Error(), "times in") || asked.Load() < 2 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
	for _, after := range []string{"3600", "9223372036", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"} {
		asked.Store(0)
		s = serve(t, nil, func(w http.ResponseWriter, _ *http.Request) bool {
			asked.Add(1)
			w.Header().Set("Retry-After", after)
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		})
		if _, err := (&Client{}).Open(context.Background(), s.URL, nil); err == nil || asked.Load() != 1 {
			t.Errorf("waiting until %s is beyond the budget: asked %d times, %v", after, asked.Load(), err)
		}
	}
	if d := retryAfter(time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)); d < 50*time.Second || d > time.Minute {
		t.Errorf("a date is %v", d)
	}
}
