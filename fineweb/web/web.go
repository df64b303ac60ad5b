// Package web reads ranges of files over HTTP (RFC 9110, section 14). A range that comes late, short, broken
// off or with an error of the server is asked for again; one from a file that changed is never used.
package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"stepflow/foreign"
)

// ErrChanged tells that a file is not the one that was opened.
var ErrChanged = errors.New("the file changed while it was read: plan again")

// Client opens files. Zero fields mean their defaults; a client is safe for concurrent use.
type Client struct {
	Context context.Context // when it ends, so do requests and the waiting for the next; nil for never. A field, because io.ReaderAt takes none
	HTTP    *http.Client
	Timeout time.Duration // of one request with its body; 60 s
	Budget  time.Duration // of one range with all its retries; 5 min
	Backoff time.Duration // before the first retry, then doubled up to 100 times it; 200 ms
	Disk    *Disk         // where blocks are kept beyond a run; nil for nowhere
}

// Auth puts credentials on a request, each time it is sent. It may be nil. What it sets does not go to another
// origin (scheme, host and port) that the server redirects to, nor on from there.
type Auth func(*http.Request) error

// Entry is a file in a list: its address, and what changes when its bytes do; "" where the list does not tell.
type Entry struct{ Address, ID string }

// ErrUnreachable tells that a server did not answer, or only with errors of its own.
var ErrUnreachable = errors.New("the server cannot be reached")

// File is an open file. ReadAt is safe for concurrent use; it holds up to blocks·blockBytes of what was read.
type File struct {
	client   *Client
	url      *url.URL
	auth     Auth
	size     int64
	tag      string // the entity tag, where the server gives a strong one
	modified string // Last-Modified, where there is no tag

	mu     sync.Mutex
	cached []block // the last used first
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

// Is tells whether a path is an address that this package reads.
func Is(path string) bool {
	return strings.HasPrefix(path, "https://") || strings.HasPrefix(path, "http://")
}

// Open asks for a file's size and version.
func (c *Client) Open(address string, auth Auth) (*File, error) {
	u, err := parse(address)
	if err != nil {
		return nil, err
	}
	f := &File{client: c, url: u, auth: auth, size: -1}
	if _, err := f.fetch(0, 1); err != nil && !errors.Is(err, errEmpty) {
		return nil, err
	}
	return f, nil
}

// Size is the file's length in bytes.
func (f *File) Size() int64 { return f.size }

// ID changes when the bytes do, as far as the server tells: entity tag or time of change, and size.
func (f *File) ID() string { return fmt.Sprintf("%d %s%s", f.size, f.tag, f.modified) }

// Close forgets what is cached.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cached = nil
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
			return nil, err
		}
		f.client.Disk.put(f.key(at), data)
	}
	f.cached = append([]block{{at, data}}, f.cached[:min(len(f.cached), blocks-1)]...)
	return data, nil
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
	err = f.client.retry(f.url, fmt.Sprintf("bytes %d to %d", at, at+n-1), func() (after time.Duration, err error) {
		b, after, err = f.request(at, n)
		return after, err
	})
	return b, err
}

// Get reads a small answer whole, up to 64 MiB, with its header.
func (c *Client) Get(address string, auth Auth) (body []byte, answer http.Header, err error) {
	u, err := parse(address)
	if err != nil {
		return nil, nil, err
	}
	err = c.retry(u, "its answer", func() (time.Duration, error) {
		r, done, after, err := c.ask(u, nil, auth)
		if err != nil {
			return after, err
		}
		defer done()
		if r.StatusCode != http.StatusOK {
			return 0, permanent{answered(r)}
		}
		answer = r.Header
		body, err = io.ReadAll(io.LimitReader(r.Body, 64<<20))
		return 0, err
	})
	return body, answer, err
}

func parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is no address", Show(address))
	}
	return u, nil
}

// context is the client's, never nil.
func (c *Client) context() context.Context {
	if c.Context == nil {
		return context.Background()
	}
	return c.Context
}

// retry calls f until it succeeds, the budget is spent, calling again is of no use, or the client's context ends.
func (c *Client) retry(u *url.URL, what string, f func() (after time.Duration, err error)) error {
	budget, wait := or(c.Budget, 5*time.Minute), or(c.Backoff, 200*time.Millisecond)
	longest := 100 * wait
	start := time.Now()
	ctx := c.context()
	for try := 1; ; try++ {
		after, err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", show(u), ctx.Err())
		}
		var final permanent
		if errors.As(err, &final) {
			return fmt.Errorf("%s: %w", show(u), final.error)
		}
		// Exponential, with jitter so that clients do not come back together; longer where the server says so.
		pause := max(after, wait/2+rand.N(wait))
		wait = min(2*wait, longest)
		if time.Since(start)+pause > budget {
			return fmt.Errorf("%s: %s: %w: %w; asked %d times in %s", show(u), what, ErrUnreachable, err, try, time.Since(start).Round(time.Millisecond))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", show(u), ctx.Err())
		}
	}
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
var harmless = map[string]bool{"recursive": true, "cursor": true, "limit": true, "list-type": true, "prefix": true, "continuation-token": true}

func show(u *url.URL) string {
	x := *u
	for k := range x.Query() {
		if !harmless[k] {
			x.RawQuery = "…"
		}
	}
	return x.Redacted()
}

func or(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

var errEmpty = errors.New("the file is empty")

// permanent is an error that asking again does not cure.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// ErrDenied tells that a server wants credentials, other ones, or does not show that a file is there.
var ErrDenied = errors.New("the file needs credentials, or is not there")

// ask sends a request once. Answers that mean "later" are errors; done ends the reading of others. after is
// how long the server wants to be left alone.
func (c *Client) ask(u *url.URL, header http.Header, auth Auth) (r *http.Response, done func(), after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(c.context(), or(c.Timeout, time.Minute))
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, nil, 0, permanent{err}
	}
	if header != nil {
		q.Header = header.Clone()
	}
	if auth != nil {
		if err := auth(q); err != nil {
			return nil, nil, 0, permanent{fmt.Errorf("credentials: %w", err)}
		}
	}
	h := http.Client{}
	if c.HTTP != nil {
		h = *c.HTTP
	}
	h.CheckRedirect = redirect
	if r, err = h.Do(q); err != nil {
		var u *url.Error // its text holds the address, with what may be secret in it
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, nil, 0, err
	}
	done = func() {
		r.Body.Close()
		cancel()
	}
	switch code := r.StatusCode; {
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		after, err = retryAfter(r.Header.Get("Retry-After")), answered(r)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		err = permanent{fmt.Errorf("%w: %w", answered(r), ErrDenied)}
	}
	if err != nil {
		r.Body.Close()
	}
	return r, done, after, err
}

// ours are the headers of a request that say nothing about who asks.
var ours = map[string]bool{"Range": true, "Accept-Encoding": true, "If-Match": true, "If-Unmodified-Since": true, "User-Agent": true}

// mostRedirects are followed for one request.
const mostRedirects = 10

// redirect lets a request be sent on. To another origin than all before go only the headers that are ours: what else is there
// may be a credential, whatever its name. No Referer goes anywhere: it holds the address, of which the query may be a key.
func redirect(q *http.Request, via []*http.Request) error {
	if len(via) > mostRedirects {
		return permanent{fmt.Errorf("the server redirects more than %d times", mostRedirects)}
	}
	q.Header.Del("Referer")
	for _, before := range via {
		if origin(before.URL) != origin(q.URL) {
			q.Host = ""
			for name := range q.Header {
				if !ours[name] {
					delete(q.Header, name)
				}
			}
			return nil
		}
	}
	return nil
}

// origin is the scheme, host and port of an address, in one spelling.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")) + ":" + port
}

// answered is an answer that is of no use, with the first of what the server says about it.
func answered(r *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(r.Body, 200))
	status := foreign.Shown(r.Status)
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(said), "")), " ")
	if text != "" {
		return fmt.Errorf("the server answers %s: %s", status, foreign.Shown(text))
	}
	return fmt.Errorf("the server answers %s", status)
}

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
	r, done, after, err := f.client.ask(f.url, header, f.auth)
	if err != nil {
		return nil, after, err
	}
	defer done()
	switch code := r.StatusCode; {
	case code == http.StatusPartialContent:
	case code == http.StatusRequestedRangeNotSatisfiable && at == 0 && f.size < 0, // an empty file has no first byte
		code == http.StatusOK && r.ContentLength == 0 && f.size < 0:
		f.size = 0
		return nil, 0, permanent{errEmpty}
	case code == http.StatusOK:
		return nil, 0, permanent{errors.New("the server sends the whole file where a range was asked for: download it and give its path")}
	case code == http.StatusPreconditionFailed:
		return nil, 0, permanent{ErrChanged}
	default:
		return nil, 0, permanent{answered(r)}
	}
	var from, to, size int64
	if _, err := fmt.Sscanf(r.Header.Get("Content-Range"), "bytes %d-%d/%d", &from, &to, &size); err != nil || from != at || to != at+n-1 || size <= to {
		return nil, 0, fmt.Errorf("bytes %d to %d were asked for, %q came", at, at+n-1, r.Header.Get("Content-Range"))
	}
	tag := r.Header.Get("ETag")
	if strings.HasPrefix(tag, "W/") { // weak: says nothing about bytes
		tag = ""
	}
	if f.size < 0 {
		f.size, f.tag = size, tag
		if tag == "" {
			f.modified = r.Header.Get("Last-Modified")
		}
	} else if size != f.size || f.tag != "" && tag != f.tag || f.modified != "" && r.Header.Get("Last-Modified") != f.modified {
		return nil, 0, permanent{ErrChanged}
	}
	b = make([]byte, n)
	if k, err := io.ReadFull(r.Body, b); err != nil {
		return nil, 0, fmt.Errorf("%d of %d bytes came: %w", k, n, err)
	}
	return b, 0, nil
}

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(s string) time.Duration {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return time.Until(t)
	}
	return 0
}
