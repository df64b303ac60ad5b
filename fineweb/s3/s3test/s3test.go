// Package s3test is a store in memory that speaks as much of S3 as stepflow does, with conditional writes.
package s3test

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Store holds the objects of one bucket.
type Store struct {
	Bucket string
	// Unconditional makes the store ignore the conditions of writes, as old ones do.
	Unconditional bool

	mu      sync.Mutex
	before  func(method, key string) (status int)
	objects map[string][]byte
	parts   map[string]map[int][]byte // of uploads, by id
	served  *httptest.Server
}

// New starts a store with an empty bucket. Close ends it.
func New(bucket string) *Store {
	s := &Store{Bucket: bucket, objects: map[string][]byte{}, parts: map[string]map[int][]byte{}}
	s.served = httptest.NewServer(s)
	return s
}

// URL is its endpoint.
func (s *Store) URL() string { return s.served.URL }

// Close ends the store.
func (s *Store) Close() {
	s.served.CloseClientConnections()
	s.served.Close()
}

// Before has f called before a request is served, with its method and its key. It may wait; a status other than 0 is
// the answer.
func (s *Store) Before(f func(method, key string) (status int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Keys lists the objects.
func (s *Store) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

// Object returns the bytes of an object; nil if there is none.
func (s *Store) Object(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.objects[key])
}

// Set writes an object; nil removes it.
func (s *Store) Set(key string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b == nil {
		delete(s.objects, key)
		return
	}
	s.objects[key] = b
}

func etag(b []byte) string {
	sum := md5.Sum(b)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

func (s *Store) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/")
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if status := before(q.Method, key); status != 0 {
			refuse(w, status, "Told")
			return
		}
	}
	body, err := payload(q)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, "IncompleteBody")
	case !strings.HasPrefix(q.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=id/"):
		refuse(w, http.StatusForbidden, "AccessDenied")
	case bucket != s.Bucket:
		refuse(w, http.StatusNotFound, "NoSuchBucket")
	case key == "":
		s.list(w, q.URL.Query())
	case q.Method == http.MethodPost || q.URL.Query().Has("uploadId"):
		s.multipart(w, q, key, body)
	case q.Method == http.MethodPut:
		s.put(w, q, key, body)
	case q.Method == http.MethodDelete:
		delete(s.objects, key)
		w.WriteHeader(http.StatusNoContent)
	case s.objects[key] == nil:
		refuse(w, http.StatusNotFound, "NoSuchKey")
	default:
		w.Header().Set("ETag", etag(s.objects[key]))
		http.ServeContent(w, q, "", time.Unix(0, 0).Add(time.Hour), bytes.NewReader(s.objects[key]))
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, code)
}

// put writes an object on its conditions.
func (s *Store) put(w http.ResponseWriter, q *http.Request, key string, body []byte) {
	old, none, match := s.objects[key], q.Header.Get("If-None-Match"), q.Header.Get("If-Match")
	switch {
	case s.Unconditional:
	case none == "*" && old != nil, match != "" && old != nil && match != etag(old):
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
		return
	case match != "" && old == nil:
		refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	s.objects[key] = body
	w.Header().Set("ETag", etag(body))
}

// list lists the objects of a prefix, in one page.
func (s *Store) list(w http.ResponseWriter, query url.Values) {
	fmt.Fprint(w, `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>`)
	for _, k := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.HasPrefix(k, query.Get("prefix")) {
			continue
		}
		fmt.Fprint(w, "<Contents><Key>")
		xml.EscapeText(w, []byte(k))
		fmt.Fprintf(w, "</Key><Size>%d</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>",
			len(s.objects[k]))
	}
	fmt.Fprint(w, "</ListBucketResult>")
}

// multipart begins, fills, ends or gives up the upload of an object in parts.
func (s *Store) multipart(w http.ResponseWriter, q *http.Request, key string, body []byte) {
	id := q.URL.Query().Get("uploadId")
	switch {
	case q.URL.Query().Has("uploads"):
		id = strconv.Itoa(len(s.parts) + 1)
		s.parts[id] = map[int][]byte{}
		fmt.Fprintf(w, "<InitiateMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><UploadId>%s</UploadId>"+
			"</InitiateMultipartUploadResult>", s.Bucket, key, id)
	case q.Method == http.MethodPut:
		n, _ := strconv.Atoi(q.URL.Query().Get("partNumber"))
		s.parts[id][n] = body
		w.Header().Set("ETag", etag(body))
	case q.Method == http.MethodDelete:
		delete(s.parts, id)
		w.WriteHeader(http.StatusNoContent)
	default:
		var whole []byte
		for _, n := range slices.Sorted(maps.Keys(s.parts[id])) {
			whole = append(whole, s.parts[id][n]...)
		}
		s.objects[key] = whole
		fmt.Fprintf(w, "<CompleteMultipartUploadResult><Bucket>%s</Bucket><Key>%s</Key><ETag>%s</ETag>"+
			"</CompleteMultipartUploadResult>", s.Bucket, key, etag(whole))
	}
}

// payload reads the body of a request, which may be signed chunk by chunk.
func payload(q *http.Request) ([]byte, error) {
	if !strings.HasPrefix(q.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return io.ReadAll(q.Body)
	}
	whole := []byte{} // of an empty object too, which is there
	r := bufio.NewReader(q.Body)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(size, 16, 32)
		if err != nil || n == 0 {
			return whole, err
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(r, chunk); err != nil {
			return nil, err
		}
		whole = append(whole, chunk[:n]...)
	}
}
