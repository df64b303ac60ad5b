package fineweb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"

	"stepflow/fineweb/web"
)

// file is an open file of a source, on disk or on the web.
type file interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

type local struct {
	*os.File
	size int64
	ctx  context.Context
}

func (l local) Size() int64 { return l.size }

// readAtOnce is how many bytes of a file on disk are asked for at a time.
const readAtOnce = 1 << 20

// ReadAt reads beside the caller's memory, a piece at a time: a read that is given up may still end later.
func (l local) ReadAt(p []byte, at int64) (n int, err error) {
	if l.ctx == nil || l.ctx.Done() == nil {
		return l.File.ReadAt(p, at)
	}
	for n < len(p) && err == nil {
		var b []byte
		b, err = Await(l.ctx, func() ([]byte, error) {
			b := make([]byte, min(len(p)-n, readAtOnce))
			k, err := l.File.ReadAt(b, at)
			return b[:k], err
		})
		k := copy(p[n:], b)
		n, at = n+k, at+int64(k)
	}
	return n, err
}

// Await runs f, but no longer than until ctx ends: a disk that fails, a network file system whose server is gone or a
// named pipe hold a read for as long as they like. f then goes on by itself, and what it gives is dropped.
func Await[T any](ctx context.Context, f func() (T, error)) (T, error) {
	if ctx == nil || ctx.Done() == nil {
		return f()
	}
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// openFile opens a path or an address.
func (s *Source) openFile(name string) (file, error) {
	place, remote, err := schemeOf(name)
	if err != nil {
		return nil, err
	}
	if remote {
		return place.open(s.client(), name)
	}
	return openLocal(s.Context, name)
}

func openLocal(ctx context.Context, name string) (file, error) {
	return Await(ctx, func() (file, error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		return local{f, st.Size(), ctx}, nil
	})
}

// base is the last part of a path or an address, without the query, which may be a key of the day.
func base(name string) string {
	if u, err := url.Parse(name); err == nil && web.Is(name) {
		return path.Base(u.Path)
	}
	if IsRemote(name) {
		return path.Base(name)
	}
	return filepath.Base(name)
}

// shown is a path or an address as it may be printed and kept.
func shown(name string) string {
	if web.Is(name) {
		return web.Show(name)
	}
	return name
}

// Identity is a hash of files' names and of what tells them from others, and from what they were: of files on
// disk the whole contents up to 64 MiB, of larger ones the first and last MiB, size and time.
func Identity(files []string) (string, error) {
	h := sha256.New()
	for _, name := range files {
		f, err := openLocal(nil, name)
		if err != nil {
			return "", err
		}
		err = identify(h, web.Entry{Address: name}, f)
		f.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// identify adds what tells a file from others of its name: what the list or the server says, else what the disk holds.
func identify(h hash.Hash, e web.Entry, f file) error {
	name := base(e.Address)
	if e.ID != "" {
		fmt.Fprintf(h, "%s %s\n", name, e.ID)
		return nil
	}
	fmt.Fprintf(h, "%s %d\n", name, f.Size())
	if w, ok := f.(*web.File); ok {
		fmt.Fprintln(h, w.ID())
		return nil
	}
	const whole, edge = 64 << 20, 1 << 20
	if f.Size() <= whole {
		_, err := io.Copy(h, io.NewSectionReader(f, 0, f.Size()))
		return err
	}
	for _, at := range []int64{0, f.Size() - edge} {
		if _, err := io.Copy(h, io.NewSectionReader(f, at, edge)); err != nil {
			return err
		}
	}
	st, err := f.(local).Stat()
	if err != nil {
		return err
	}
	fmt.Fprintln(h, st.ModTime().UnixNano())
	return nil
}
