// Package artifacts keeps results and checkpoints, which lie in a state's folder, in a second place too, from where
// another machine goes on. Files are sent while training goes on, and fetched when something needs them.
package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"stepflow/fineweb/s3"
	"stepflow/runtime/durable"
)

// None is the address that stands for no place.
const None = "none"

// Place is a folder or a part of a bucket, which holds the artifacts of any number of states.
type Place struct {
	address string
	files   files
}

// files are the objects of a place. Names are relative to it, with slashes.
type files interface {
	put(ctx context.Context, name string, size int64, r io.Reader) error
	get(ctx context.Context, name string, from int64) (io.ReadCloser, error)
	each(ctx context.Context, prefix string, f func(name string, size int64)) error
	remove(ctx context.Context, name string) error
	show(name string) string
}

// Open returns the place of an address: s3://BUCKET/PREFIX, or a folder; nil for None. It asks nothing of it yet.
func Open(address string) (*Place, error) {
	switch {
	case address == None:
		return nil, nil
	case s3.Is(address):
		store, err := s3.Dial(address)
		if err != nil {
			return nil, err
		}
		prefix := strings.Trim(store.Key, "/")
		if prefix != "" {
			prefix += "/"
		}
		return &Place{address, bucket{store, prefix}}, nil
	case strings.Contains(address, "://"):
		return nil, fmt.Errorf("%q is no place for artifacts: write s3://BUCKET/PREFIX, the path of a folder, or %s",
			address, None)
	}
	path, err := filepath.Abs(address)
	if err != nil {
		return nil, err
	}
	return &Place{path, folder(path)}, nil
}

// String is the address, as others may use it from another folder.
func (p *Place) String() string { return p.address }

// bucket is a part of a bucket, whose objects have a prefix.
type bucket struct {
	store  *s3.Store
	prefix string
}

func (b bucket) put(ctx context.Context, name string, size int64, r io.Reader) error {
	return b.store.Put(ctx, b.prefix+name, size, r)
}

func (b bucket) get(ctx context.Context, name string, from int64) (io.ReadCloser, error) {
	body, _, err := b.store.Get(ctx, b.prefix+name, from)
	return body, err
}

func (b bucket) each(ctx context.Context, prefix string, f func(string, int64)) error {
	return b.store.Each(ctx, b.prefix+prefix, func(key string, size int64) { f(strings.TrimPrefix(key, b.prefix), size) })
}

func (b bucket) remove(ctx context.Context, name string) error {
	return b.store.Delete(ctx, b.prefix+name)
}

func (b bucket) show(name string) string { return b.store.Show(b.prefix + name) }

// folder is a folder, such as one that several machines have mounted.
type folder string

func (d folder) show(name string) string { return filepath.Join(string(d), filepath.FromSlash(name)) }

func (d folder) put(ctx context.Context, name string, size int64, r io.Reader) error {
	path := d.show(name)
	if err := durable.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return durable.Write(path, func(w io.Writer) error {
		n, err := io.Copy(w, reader(func(b []byte) (int, error) {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			return r.Read(b)
		}))
		if err == nil && n != size {
			err = fmt.Errorf("it has %d bytes, not %d", n, size)
		}
		return err
	})
}

// reader is a function that reads.
type reader func([]byte) (int, error)

func (r reader) Read(b []byte) (int, error) { return r(b) }

func (d folder) get(_ context.Context, name string, from int64) (io.ReadCloser, error) {
	f, err := os.Open(d.show(name))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (d folder) each(ctx context.Context, prefix string, f func(string, int64)) error {
	return filepath.WalkDir(d.show(prefix), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return ctx.Err()
		}
		if err != nil || e.IsDir() || durable.Temporary(e.Name()) {
			return errors.Join(err, ctx.Err())
		}
		st, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(string(d), path)
		if err == nil {
			f(filepath.ToSlash(name), st.Size())
		}
		return err
	})
}

func (d folder) remove(_ context.Context, name string) error { return durable.Remove(d.show(name)) }
