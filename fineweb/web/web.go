// Package web reads ranges of files over HTTP (RFC 9110, section 14). A range that comes late, short, broken
// off or with an error of the server is asked for again; one from a file that changed is never used.
package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrChanged says that a file is not the one that was opened.
var ErrChanged = errors.New("the file changed while it was read: plan again")

// Entry is a file in a list.
type Entry struct {
	Address string
	ID      string // changes when its bytes do; "" where the list does not say
	Aside   string // why a file that matches is not read, to follow its name; "" where it is read
}

// File is an open file. ReadAt is safe for concurrent use; it holds up to blocks·blockBytes of what was read.
type File struct {
	ctx      context.Context // ends its requests; a field, because io.ReaderAt takes none
	client   *Client
	url      *url.URL
	auth     Auth
	size     int64
	tag      string // the entity tag, where the server gives a strong one
	modified string // Last-Modified, where there is no tag
	counting *counting

	mu      sync.Mutex
	cached  []block // the last used first
	changed error   // once a server said that it is another file
}

type block struct {
	at   int64
	data []byte
}

// Requests are for whole blocks of 1 MiB, of which the last 16 are kept: a footer, a dictionary and the pages
// of a few columns.
const (
	blockBytes = 1 << 20
	blocks     = 16
)

// Is reports whether a path is an address that this package reads.
func Is(path string) bool {
	return strings.HasPrefix(path, "https://") || strings.HasPrefix(path, "http://")
}

// Open asks for a file's size and version. When ctx ends, so do its requests, and those that reading it makes.
func (c *Client) Open(ctx context.Context, address string, auth Auth) (*File, error) {
	u, err := parse(address)
	if err != nil {
		return nil, err
	}
	f := &File{ctx: ctx, client: c, url: u, auth: auth, size: -1, counting: counted(ctx, show(u))}
	if _, err := f.fetch(0, 1); err != nil && !errors.Is(err, errEmpty) {
		return nil, err
	}
	return f, nil
}

// Size is the file's length in bytes.
func (f *File) Size() int64 { return f.size }

// Check reports that the server gave another file than the one that was opened, even where a decoder swallowed the
// error.
func (f *File) Check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// ID changes when the bytes do, as far as the server tells: entity tag or time of change, and size.
func (f *File) ID() string { return fmt.Sprintf("%d %s%s", f.size, f.tag, f.modified) }

// Close forgets what is cached.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cached = nil
	f.counting.close()
	return nil
}

// ReadAt reads through the cache of blocks.
func (f *File) ReadAt(p []byte, at int64) (n int, err error) {
	if at < 0 {
		return 0, errors.New("web: negative offset")
	}
	for n < len(p) {
		if at >= f.size {
			return n, io.EOF
		}
		b, err := f.block(at / blockBytes * blockBytes)
		if err != nil {
			return n, err
		}
		k := copy(p[n:], b[at%blockBytes:])
		n, at = n+k, at+int64(k)
	}
	return n, nil
}

// block gives the block that begins at an offset. Others wait meanwhile: a corpus reads in order.
func (f *File) block(at int64) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, b := range f.cached {
		if b.at == at {
			copy(f.cached[1:i+1], f.cached[:i])
			f.cached[0] = b
			return b.data, nil
		}
	}
	n := min(blockBytes, f.size-at)
	data := f.client.Disk.get(f.key(at), n)
	if data == nil {
		var err error
		if data, err = f.fetch(at, n); err != nil {
			if errors.Is(err, ErrChanged) {
				f.changed = err
			}
			return nil, err
		}
		f.client.Disk.put(f.key(at), data)
	}
	f.cached = append([]block{{at, data}}, f.cached[:min(len(f.cached), blocks-1)]...)
	return data, nil
}

// other reports whether an answer is about another version of the file than the one that was opened.
func (f *File) other(r *http.Response) bool {
	return f.tag != "" && strong(r) != f.tag || f.modified != "" && r.Header.Get("Last-Modified") != f.modified
}

// strong is an answer's entity tag; "" for a weak one, which says nothing about bytes.
func strong(r *http.Response) string {
	tag := r.Header.Get("ETag")
	if len(tag) < 2 || tag[0] != '"' {
		return ""
	}
	return tag
}

// unsatisfied is why a server has no such range: an empty file has no first byte.
func (f *File) unsatisfied(at int64, r *http.Response) error {
	got, err := parseContentRange(r.Header.Values("Content-Range"))
	switch {
	case f.size >= 0 && (f.other(r) || err == nil && got.size >= 0 && got.size != f.size):
		return ErrChanged
	case f.size < 0 && at == 0 && (err != nil || got.size <= 0):
		f.size = 0
		return errEmpty
	}
	return fmt.Errorf("%w, of a file of which it says that it has %d bytes", answered(r), got.size)
}

// plain checks that the bytes came as they lie. A file whose name says that it is compressed lies so.
func plain(r *http.Response, path string) error {
	for _, v := range r.Header.Values("Content-Encoding") {
		for _, coding := range strings.Split(v, ",") {
			switch c := strings.ToLower(strings.TrimSpace(coding)); {
			case c == "" || c == "identity":
			case (c == "gzip" || c == "x-gzip") && strings.HasSuffix(path, ".gz"):
			case c == "zstd" && strings.HasSuffix(path, ".zst"):
			default:
				return fmt.Errorf("the server sends the file compressed (Content-Encoding %q), though it was asked "+
					"not to: its ranges cannot be read. Download it and give its path", v)
			}
		}
	}
	return nil
}

// contentRange is what an answer holds: bytes from and to, of a file of so many; -1 where it does not say.
type contentRange struct{ from, to, size int64 }

// parseContentRange reads the header (RFC 9110, section 14.4): bytes FROM-TO/SIZE, where SIZE may be *, or bytes
// */SIZE.
func parseContentRange(values []string) (r contentRange, err error) {
	if len(values) == 0 {
		return r, errors.New("the server answers 206 without saying what part of the file it sends (no " +
			"Content-Range): download the file and give its path")
	}
	bad := fmt.Errorf("the server sends a Content-Range that cannot be read: %.80q", values)
	unit, rest, ok := strings.Cut(strings.TrimSpace(values[0]), " ")
	part, size, slash := strings.Cut(strings.TrimSpace(rest), "/")
	if len(values) > 1 || !ok || !slash || !strings.EqualFold(unit, "bytes") {
		return r, bad
	}
	number := func(s string) int64 {
		n, err := strconv.ParseUint(s, 10, 63)
		ok = ok && err == nil
		return int64(n)
	}
	r = contentRange{-1, -1, -1}
	if size != "*" {
		r.size = number(size)
	}
	if part != "*" {
		from, to, _ := strings.Cut(part, "-")
		r.from, r.to = number(from), number(to)
		ok = ok && r.from <= r.to && (r.size < 0 || r.to < r.size)
	}
	if !ok {
		return r, bad
	}
	return r, nil
}

// key names a block of this version of the file; "" where the server tells no version. A query is left out, so that
// a key of the day does not make another file, only where an entity tag tells files apart.
func (f *File) key(at int64) string {
	switch {
	case f.tag != "":
		return fmt.Sprintf("%s %s %d", show(f.url), f.ID(), at)
	case f.modified != "":
		return fmt.Sprintf("%s %s %d", f.url, f.ID(), at)
	}
	return ""
}

// fetch asks for a range until it is there.
func (f *File) fetch(at, n int64) (b []byte, err error) {
	err = f.client.retry(f.ctx, f.url, fmt.Sprintf("bytes %d to %d", at, at+n-1),
		func() (after time.Duration, err error) {
			start := time.Now()
			if b, after, err = f.request(at, n); err == nil {
				f.counting.got(len(b), start)
			}
			f.counting.failed(err)
			return after, err
		})
	return b, err
}

// Starred reports whether the path of an address has a star that is not written as %2A.
func Starred(address string) bool {
	path, _, _ := strings.Cut(address, "#")
	path, _, _ = strings.Cut(path, "?")
	return strings.Contains(path, "*")
}

// Same is one text for the spellings of an address that name the same thing (RFC 3986, section 6.2.2 and 6.2.3).
func Same(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	user := ""
	if u.User != nil {
		user = u.User.String() + "@"
	}
	path := (&url.URL{Path: u.Path}).EscapedPath()
	// An escaped slash is not one.
	if strings.Contains(u.EscapedPath(), "%2F") || strings.Contains(u.EscapedPath(), "%2f") {
		path = u.EscapedPath()
	}
	return origin(u) + " " + user + cmp.Or(path, "/") + "?" + u.RawQuery
}

// Show is an address as it may be printed and kept: without a password, and without a query, which often is a key.
func Show(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "an address that is none"
	}
	return show(u)
}

// harmless are the parts of a query that lists are asked with.
var harmless = map[string]bool{"recursive": true, "cursor": true, "limit": true, "list-type": true, "prefix": true,
	"continuation-token": true}

func show(u *url.URL) string {
	x := *u
	for k := range x.Query() {
		if !harmless[k] {
			x.RawQuery = "…"
		}
	}
	return x.Redacted()
}

var errEmpty = errors.New("the file is empty")

// request asks for a range once.
func (f *File) request(at, n int64) (b []byte, after time.Duration, err error) {
	header := http.Header{}
	header.Set("Range", fmt.Sprintf("bytes=%d-%d", at, at+n-1))
	header.Set("Accept-Encoding", "identity") // ranges of the bytes as they lie
	if f.tag != "" {
		header.Set("If-Match", f.tag)
	} else if f.modified != "" {
		header.Set("If-Unmodified-Since", f.modified)
	}
	r, done, after, err := f.client.ask(f.ctx, f.url, header, f.auth)
	if err != nil {
		return nil, after, err
	}
	defer done()
	switch code := r.StatusCode; {
	case code == http.StatusPartialContent:
	case code == http.StatusRequestedRangeNotSatisfiable:
		return nil, 0, permanent{f.unsatisfied(at, r)}
	case code == http.StatusOK && f.size >= 0 && f.other(r):
		return nil, 0, permanent{ErrChanged}
	case code == http.StatusOK && r.ContentLength == 0 && f.size < 0:
		f.size = 0
		return nil, 0, permanent{errEmpty}
	case code == http.StatusOK:
		return nil, 0, permanent{errors.New("the server sends the whole file where a range was asked for: download " +
			"it and give its path")}
	case code == http.StatusPreconditionFailed && f.size >= 0:
		return nil, 0, permanent{ErrChanged}
	default:
		return nil, 0, permanent{answered(r)}
	}
	if err := plain(r, f.url.Path); err != nil {
		return nil, 0, permanent{err}
	}
	got, err := parseContentRange(r.Header.Values("Content-Range"))
	switch {
	case err != nil:
		return nil, 0, permanent{err}
	case got.from < 0:
		return nil, 0, permanent{fmt.Errorf("the server answers 206 with Content-Range %q, which names no range",
			r.Header.Get("Content-Range"))}
	case got.size < 0 && f.size < 0:
		return nil, 0, permanent{fmt.Errorf("the server does not say how large the file is (Content-Range %q): "+
			"download it and give its path", r.Header.Get("Content-Range"))}
	case got.size >= 0 && f.size >= 0 && got.size != f.size || f.size >= 0 && f.other(r):
		return nil, 0, permanent{ErrChanged}
	case got.from != at || got.to != at+n-1:
		return nil, 0, contradiction{fmt.Errorf("bytes %d to %d were asked for, the server sends %q",
			at, at+n-1, r.Header.Get("Content-Range"))}
	case r.ContentLength >= 0 && r.ContentLength != n:
		return nil, 0, contradiction{fmt.Errorf("the server sends %d bytes (Content-Length) as the %d of %q",
			r.ContentLength, n, r.Header.Get("Content-Range"))}
	}
	if f.size < 0 {
		f.size, f.tag = got.size, strong(r)
		if f.tag == "" {
			f.modified = r.Header.Get("Last-Modified")
		}
	}
	b = make([]byte, n)
	if k, err := io.ReadFull(r.Body, b); err != nil {
		return nil, 0, fmt.Errorf("%d of %d bytes came: %w", k, n, err)
	}
	return b, 0, nil
}
