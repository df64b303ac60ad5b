package fineweb

import (
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
}

func (l local) Size() int64 { return l.size }

// openFile opens a path or an address.
func (s *Source) openFile(name string) (file, error) {
	place, remote, err := schemeOf(name)
	if err != nil {
		return nil, err
	}
	if remote {
		return place.open(s.client(), name)
	}
	return openLocal(name)
}

func openLocal(name string) (file, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return local{f, st.Size()}, nil
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
		f, err := openLocal(name)
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
