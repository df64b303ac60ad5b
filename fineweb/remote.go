package fineweb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"stepflow/fineweb/hub"
	"stepflow/fineweb/s3"
	"stepflow/fineweb/web"
	"stepflow/foreign"
)

// scheme is a place beyond the disk: how a pattern becomes a list of files, and how one of them is opened.
type scheme struct {
	list func(ctx context.Context, c *web.Client, pattern string) ([]web.Entry, error)
	open func(s *reading, c *web.Client, address string) (file, error)
}

var schemes = map[string]scheme{
	"http":  {listWeb, openWeb},
	"https": {listWeb, openWeb},
	"hf":    {hub.List, openHub},
	"s3":    {s3.List, openS3},
}

// ErrChanged says that a file is not the one that was opened any more.
var ErrChanged = web.ErrChanged

// ErrUnreachable says that a server of the data does not answer.
var ErrUnreachable = web.ErrUnreachable

// schemeOf finds the scheme of an address; remote is false for a path.
func schemeOf(name string) (s scheme, remote bool, err error) {
	prefix, _, remote := strings.Cut(name, "://")
	if !remote {
		return s, false, nil
	}
	s, known := schemes[prefix]
	switch {
	case known:
	case prefix == "gs":
		err = fmt.Errorf("%s: gs:// is not read. Google's storage speaks S3's protocol: write s3://BUCKET/…, with "+
			"AWS_ENDPOINT_URL=https://storage.googleapis.com and an HMAC key in AWS_ACCESS_KEY_ID and "+
			"AWS_SECRET_ACCESS_KEY", name)
	default:
		err = fmt.Errorf("%s: there is no %s://; sources are paths, https://, hf:// and s3:// addresses",
			Shown(name), prefix)
	}
	return s, true, err
}

// IsRemote reports whether a pattern is an address.
func IsRemote(pattern string) bool { return strings.Contains(pattern, "://") }

// listWeb takes an address for the file it is: there is no list to match a pattern with.
func listWeb(_ context.Context, _ *web.Client, address string) ([]web.Entry, error) {
	if web.Starred(address) {
		return nil, fmt.Errorf("%s: a web server has no list of its files: name each of them, and write %%2A for a "+
			"star in a name", Shown(address))
	}
	return []web.Entry{{Address: address}}, nil
}

func openWeb(s *reading, c *web.Client, address string) (file, error) {
	return asFile(c.Open(s.ctx, address, nil))
}

func openS3(s *reading, c *web.Client, address string) (file, error) {
	return asFile(s3.Open(s.ctx, c, address))
}

// openHub reads what the hub's cache has from there, unless it is damaged.
func openHub(s *reading, c *web.Client, address string) (file, error) {
	cached := hub.Cached(address)
	if cached == "" {
		return asFile(hub.Open(s.ctx, c, address))
	}
	damage := digests(nil).CheckBlob(s.ctx, cached)
	if damage == nil {
		return openLocal(s, cached)
	}
	f, err := asFile(hub.Open(s.ctx, c, address))
	if err != nil {
		return nil, errors.Join(damage, err)
	}
	return f, nil
}

// asFile keeps a nil pointer from becoming a file.
func asFile(f *web.File, err error) (file, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// patient waits for servers as a run does; hasty for as long as a person waits for a plan.
var (
	patient = sync.OnceValue(func() *web.Client {
		return &web.Client{HTTP: &http.Client{Transport: transport()}}
	})
	hasty = sync.OnceValue(func() *web.Client {
		t := transport()
		t.DialContext = (&net.Dialer{Timeout: 700 * time.Millisecond}).DialContext
		t.ResponseHeaderTimeout = 10 * time.Second
		return &web.Client{HTTP: &http.Client{Transport: t}, Budget: 500 * time.Millisecond}
	})
)

// transport keeps a connection open for each file that is opened together with others.
func transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = together
	return t
}

func (s *Source) client() *web.Client {
	c := *patient()
	if s.Hasty {
		c = *hasty()
	}
	c.Disk = s.Ranges()
	return &c
}

// Ranges is the cache of ranges of the source's remote files.
func (s *Source) Ranges() *Cache {
	if s.Cache != nil {
		return s.Cache
	}
	return usualCache()
}

// CacheSizeVariable says how much is kept of remote files in foreign.CacheDir, such as "50 GiB"; "0 B" for nothing.
const CacheSizeVariable = "STEPFLOW_CACHE_SIZE"

// usualCacheSize is how many bytes of ranges are kept where nothing says how many.
const usualCacheSize = 10 << 30

// usualCache is the cache of sources that name none.
var usualCache = sync.OnceValue(func() *Cache { return NewCache(usualCacheSize) })

// Cache keeps ranges of remote files on disk.
type Cache = web.Disk

// NewCache is a cache of ranges of remote files in CacheDir, of at most so many bytes; 0 keeps nothing. Sources share
// it.
func NewCache(limit int64) *Cache {
	dir := foreign.CacheDir()
	if dir == "" {
		return &Cache{}
	}
	return &Cache{Dir: filepath.Join(dir, "ranges"), Limit: limit}
}

// together is how many remote files are opened at a time.
const together = 16

// openAll opens files, several at a time where they are remote, in order. An error keeps its file's place.
func openAll[T any](names []string, open func(i int) (T, error)) (all []T, errs []error) {
	all, errs = make([]T, len(names)), make([]error, len(names))
	var remote []int
	for i, n := range names {
		if IsRemote(n) {
			remote = append(remote, i)
		} else {
			all[i], errs[i] = open(i)
		}
	}
	parallel(len(remote), together, func(i int) { all[remote[i]], errs[remote[i]] = open(remote[i]) })
	return all, errs
}

// parallel calls f for each i below n, for so many at a time, and waits for all.
func parallel(n, most int, f func(i int)) {
	turn := make(chan struct{}, most)
	var wait sync.WaitGroup
	for i := range n {
		turn <- struct{}{}
		wait.Go(func() {
			defer func() { <-turn }()
			f(i)
		})
	}
	wait.Wait()
}
