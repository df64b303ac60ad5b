package fineweb

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"stepflow/fineweb/hub"
	"stepflow/fineweb/s3"
	"stepflow/fineweb/web"
	"stepflow/foreign"
)

// file is an open file of a source, on disk or on the web.
type file interface {
	io.ReaderAt
	io.Closer
	Size() int64
	// Check reports that the file is not the one that was opened any more, as far as is known.
	Check() error
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
func (s *reading) openFile(name string) (file, error) {
	place, remote, err := schemeOf(name)
	if err != nil {
		return nil, err
	}
	if remote {
		return place.open(s, s.client(), name)
	}
	return openLocal(s, name)
}

// Ext is the suffix of a file's name in lower case, such as ".parquet"; of an address, without its query.
func Ext(name string) string { return strings.ToLower(path.Ext(base(name))) }

// FormatOf is the format that a file's name tells, which may end in that of a compression; "" for others.
func FormatOf(name string) string {
	return map[string]string{".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text",
		".md": "text", ".bin": "bin"}[Ext(plainName(base(name)))]
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

// Shown is a path or an address as it may be printed and kept.
func Shown(name string) string {
	if IsRemote(name) && !hub.Is(name) && !s3.Is(name) { // a question mark in those stands for a character
		name = web.Show(name)
	}
	return foreign.Shown(name)
}

// contentID tells a file from what it was: by what the list or the server says, else by the contents on disk.
func (s *reading) contentID(e web.Entry, f file) (string, error) {
	id := e.ID
	if id == "" {
		switch f := f.(type) {
		case *web.File:
			id = f.ID()
		case *local:
			sum, err := digests(s.Hashing).Sum(s.ctx, f.name)
			if err != nil {
				return "", err
			}
			id = sum
		}
	}
	if l, ok := f.(*local); ok && sha256Name.MatchString(id) {
		if err := l.know(id); err != nil {
			return "", fmt.Errorf("%s: %w", Shown(e.Address), err)
		}
	}
	return id, nil
}

// identify tells a file from others of its name too.
func (s *Source) identify(e web.Entry, id string) string {
	return fmt.Sprintf("%q %s\n", s.below(e.Address), id)
}
