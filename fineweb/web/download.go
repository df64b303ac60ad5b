package web

import (
	"context"
	"sync"
	"time"
)

// Download is what was fetched of a file between opening and closing it, without what the cache on disk had.
type Download struct {
	Address        string // without what may be secret in it
	Opened, Closed time.Time
	Bytes          int64
	Requests       int           // that were answered with bytes
	Waited         time.Duration // for them
	Retries        int
	Failures       []Failure // the first of those that led to retries
}

// Failure is why a request was made again.
type Failure struct {
	At  time.Time
	Why string
}

// failuresKept is how many failures a Download tells.
const failuresKept = 20

type watchKey struct{}

// Watching returns a context for Open: tell is called when a file that was opened with it is closed.
func Watching(ctx context.Context, tell func(Download)) context.Context {
	return context.WithValue(ctx, watchKey{}, tell)
}

// counting counts what is fetched of a file. The nil counting counts nothing.
type counting struct {
	tell func(Download)
	mu   sync.Mutex
	d    Download
}

// counted returns what counts for whom a context tells; nil if it tells nobody.
func counted(ctx context.Context, address string) *counting {
	tell, ok := ctx.Value(watchKey{}).(func(Download))
	if !ok {
		return nil
	}
	return &counting{tell: tell, d: Download{Address: address, Opened: time.Now()}}
}

// got counts a request since start that brought n bytes.
func (c *counting) got(n int, start time.Time) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.d.Bytes += int64(n)
	c.d.Requests++
	c.d.Waited += time.Since(start)
}

// failed counts a request that is made again.
func (c *counting) failed(err error) {
	if c == nil || err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.d.Retries++; len(c.d.Failures) < failuresKept {
		c.d.Failures = append(c.d.Failures, Failure{time.Now(), err.Error()})
	}
}

// close tells of the download, once, unless nothing was fetched.
func (c *counting) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.d.Requests+c.d.Retries > 0 {
		c.d.Closed = time.Now()
		c.tell(c.d)
	}
	c.d.Requests, c.d.Retries = 0, 0
}
