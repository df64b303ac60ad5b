package web

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// part answers a request for a range of data with a header of one's own; what is not given is as it should be.
func part(w http.ResponseWriter, q *http.Request, data []byte, own map[string]string) {
	var from, to int
	fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-%d", &from, &to)
	header := map[string]string{"ETag": `"v1"`, "Content-Range": fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)), "Content-Length": fmt.Sprint(to - from + 1)}
	for k, v := range own {
		header[k] = v
	}
	for k, v := range header {
		if v != "" {
			w.Header().Set(k, v)
		}
	}
	w.WriteHeader(http.StatusPartialContent)
	w.Write(data[from : to+1])
}

// What a server says against itself, or against what was asked, ends the reading at once and in a sentence; what it may leave open works.
func TestOddAnswers(t *testing.T) {
	data := content(2*blockBytes + 5)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(data)
	z.Close()
	always := func(own map[string]string) func(int64, http.ResponseWriter, *http.Request) {
		return func(_ int64, w http.ResponseWriter, q *http.Request) { part(w, q, data, own) }
	}
	later := func(own map[string]string) func(int64, http.ResponseWriter, *http.Request) { // once the file is open
		return func(n int64, w http.ResponseWriter, q *http.Request) {
			if n == 1 {
				part(w, q, data, nil)
			} else {
				part(w, q, data, own)
			}
		}
	}
	status := func(from int64, code int, own map[string]string) func(int64, http.ResponseWriter, *http.Request) {
		return func(n int64, w http.ResponseWriter, q *http.Request) {
			if n < from {
				part(w, q, data, nil)
				return
			}
			for k, v := range own {
				w.Header().Set(k, v)
			}
			w.WriteHeader(code)
		}
	}
	for name, x := range map[string]struct {
		answer func(n int64, w http.ResponseWriter, q *http.Request)
		path   string
		asked  int64  // 0 for a file that is read
		want   string // of the error
	}{
		"size unknown":          {always(map[string]string{"Content-Range": "bytes 0-0/*"}), "", 1, "does not say how large the file is"},
		"size unknown later":    {later(map[string]string{"Content-Range": "STAR"}), "", 0, ""},
		"unit in capitals":      {always(map[string]string{"Content-Range": "CAPITALS"}), "", 0, ""},
		"no Content-Range":      {always(map[string]string{"Content-Range": ""}), "", 1, "no Content-Range"},
		"no range":              {always(map[string]string{"Content-Range": "bytes */100"}), "", 1, "names no range"},
		"unreadable":            {always(map[string]string{"Content-Range": "bytes zero-0/9"}), "", 1, "cannot be read"},
		"another unit":          {always(map[string]string{"Content-Range": "lines 0-0/9"}), "", 1, "cannot be read"},
		"size below the range":  {always(map[string]string{"Content-Range": "bytes 0-0/0"}), "", 1, "cannot be read"},
		"size beyond an int64":  {always(map[string]string{"Content-Range": "bytes 0-0/9223372036854775808"}), "", 1, "cannot be read"},
		"negative":              {always(map[string]string{"Content-Range": "bytes -1-0/9"}), "", 1, "cannot be read"},
		"several parts":         {always(map[string]string{"Content-Range": "", "Content-Type": "multipart/byteranges; boundary=x"}), "", 1, "no Content-Range"},
		"another range, always": {always(map[string]string{"Content-Range": "bytes 7-7/9"}), "", mostContradictions, `were asked for, the server sends "bytes 7-7/9", 6 times`},
		"another length, always": {func(_ int64, w http.ResponseWriter, q *http.Request) {
			part(w, q, append(data[:1:1], data...), map[string]string{"Content-Range": "bytes 0-0/9", "Content-Length": "0"})
		}, "", mostContradictions, "Content-Length"},
		"compressed": {func(_ int64, w http.ResponseWriter, q *http.Request) {
			part(w, q, zipped.Bytes(), map[string]string{"Content-Encoding": "gzip"})
		}, "/x.parquet", 1, "Content-Encoding"},
		"compressed as its name says": {func(_ int64, w http.ResponseWriter, q *http.Request) {
			part(w, q, data, map[string]string{"Content-Encoding": "gzip"})
		}, "/x.jsonl.gz", 0, ""},
		"not compressed": {always(map[string]string{"Content-Encoding": "identity"}), "", 0, ""},
		"weak tag":       {always(map[string]string{"ETag": `W/"v1"`, "Last-Modified": "Sat, 28 Nov 2026 21:00:00 GMT"}), "", 0, ""},
		"weak tag, time changes": {func(n int64, w http.ResponseWriter, q *http.Request) {
			part(w, q, data, map[string]string{"ETag": `W/"v1"`, "Last-Modified": fmt.Sprintf("Sat, 28 Nov 2026 21:00:%02d GMT", n)})
		}, "", 2, ErrChanged.Error()},
		"tag changes":              {later(map[string]string{"ETag": `"v2"`}), "", 2, ErrChanged.Error()},
		"size changes":             {later(map[string]string{"Content-Range": "GROWN"}), "", 2, ErrChanged.Error()},
		"whole":                    {status(1, 200, map[string]string{"Content-Length": "9"}), "", 1, "whole file"},
		"whole later":              {status(2, 200, map[string]string{"Content-Length": "9", "ETag": `"v1"`}), "", 2, "whole file"},
		"whole later, changed":     {status(2, 200, map[string]string{"Content-Length": "9", "ETag": `"v2"`}), "", 2, ErrChanged.Error()},
		"no such range":            {status(1, 416, map[string]string{"Content-Range": "bytes */77"}), "", 1, "says that it has 77 bytes"},
		"no such range later":      {status(2, 416, map[string]string{"Content-Range": "bytes */77", "ETag": `"v1"`}), "", 2, ErrChanged.Error()},
		"precondition without one": {status(1, 412, nil), "", 1, "412"},
		"no content":               {status(1, 204, nil), "", 1, "204"},
		"nowhere":                  {status(1, 302, nil), "", 6, "302"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			s := serve(t, nil, func(w http.ResponseWriter, q *http.Request) bool {
				n := asked.Add(1)
				var from, to int
				fmt.Sscanf(q.Header.Get("Range"), "bytes=%d-%d", &from, &to)
				x.answer(n, rewriting{w, strings.NewReplacer("STAR", fmt.Sprintf("bytes %d-%d/*", from, to), "CAPITALS", fmt.Sprintf("Bytes %d-%d/%d", from, to, len(data)), "GROWN", fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)+1))}, q)
				return true
			})
			f, err := (&Client{Backoff: time.Millisecond, Budget: time.Second}).Open(context.Background(), s.URL+x.path, nil)
			got := make([]byte, len(data))
			if err == nil {
				_, err = f.ReadAt(got, 0)
			}
			if x.asked == 0 {
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), x.want) || asked.Load() > x.asked || errors.Is(err, ErrUnreachable) {
				t.Errorf("asked %d times: %v", asked.Load(), err)
			}
		})
	}
}

// rewriting fills in what a test says of the range that is asked for.
type rewriting struct {
	http.ResponseWriter
	r *strings.Replacer
}

func (w rewriting) WriteHeader(code int) {
	for _, v := range w.Header() {
		for i := range v {
			v[i] = w.r.Replace(v[i])
		}
	}
	w.ResponseWriter.WriteHeader(code)
}

// An answer to another question that comes once is asked for again.
func TestContradictionOnce(t *testing.T) {
	data := content(100)
	var asked atomic.Int64
	s := serve(t, nil, func(w http.ResponseWriter, q *http.Request) bool {
		own := map[string]string{}
		if asked.Add(1)%2 == 0 {
			own["Content-Range"] = "bytes 7-8/100"
		}
		part(w, q, data, own)
		return true
	})
	f, err := (&Client{Backoff: time.Millisecond}).Open(context.Background(), s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) || asked.Load() != 3 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

func TestSame(t *testing.T) {
	for _, same := range [][2]string{{"https://h/x", "https://H:443/x"}, {"http://h/a%20b", "http://h:80/a%20b#c"}, {"https://h/%78", "https://h/x"}, {"https://h", "https://h/"}, {"http://[::1]/x", "http://[::1]:80/x"}} {
		if Same(same[0]) != Same(same[1]) {
			t.Errorf("%q are told apart", same)
		}
	}
	for _, other := range [][2]string{{"https://h/x", "http://h/x"}, {"https://h/a%2Fb", "https://h/a/b"}, {"https://h/x?a", "https://h/x?b"}, {"https://h/x", "https://h/X"}, {"https://h:1/x", "https://h/x"}, {"https://u@h/x", "https://h/x"}} {
		if Same(other[0]) == Same(other[1]) {
			t.Errorf("%q are taken for one", other)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-0/5", "bytes 0-0/*", "bytes */5", "bytes 5-4/9", "Bytes 1-2/3", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseContentRange([]string{s})
		if err == nil && (r.from > r.to || r.size >= 0 && r.to >= r.size || r.from < -1 || r.size < -1) {
			t.Errorf("%q is %+v", s, r)
		}
	})
}
