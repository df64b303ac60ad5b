package fineweb

import (
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"

	"stepflow/fineweb/hub"
	"stepflow/fineweb/web"
)

// file is an open file of a source, on disk or on the web.
type file interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// client reads what lies on the web.
var client = &web.Client{}

type local struct {
	*os.File
	size int64
}

func (l local) Size() int64 { return l.size }

// openFile opens a path or an address; what the hub's cache has is read from there.
func openFile(name string) (file, error) {
	switch {
	case web.Is(name):
		return client.Open(name, nil)
	case hub.Is(name):
		cached := hub.Cached(name)
		if cached == "" {
			return hub.Open(client, name)
		}
		name = cached
	}
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

// base is the last part of a path or an address.
func base(name string) string {
	if web.Is(name) || hub.Is(name) {
		return path.Base(name)
	}
	return filepath.Base(name)
}

// identify adds what tells a file from others, and from what it was: of files on the hub their address, which
// holds a commit; of others on the web the server's word for it; of files on disk the whole contents up to 64 MiB, of larger ones the first and last MiB, size and time.
func identify(h hash.Hash, name string) error {
	if hub.Is(name) {
		fmt.Fprintln(h, name)
		return nil
	}
	f, err := openFile(name)
	if err != nil {
		return err
	}
	defer f.Close()
	fmt.Fprintf(h, "%s %d\n", base(name), f.Size())
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
