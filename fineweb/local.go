package fineweb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"stepflow/foreign"
)

// local is an open file on disk. It is read as the file that was opened or not at all: after each read its stamp is
// compared, and that of what its name stands for. One that was only touched, moved in its place by its like or linked
// is hashed and goes on.
type local struct {
	*os.File
	name    string
	size    int64
	ctx     context.Context // ends its reading; a field, because io.ReaderAt takes none
	hashing func(file string, bytes int64)

	mu   sync.Mutex
	seen string // the look of it when it was last found to be the same
	sum  string // its hash; "" while nobody asked for it
	err  error  // what ended the reading
}

func openLocal(s *reading, name string) (file, error) {
	return Await(s.ctx, func() (file, error) {
		f, err := foreign.Open(name)
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		if err == nil {
			l := &local{File: f, name: name, size: st.Size(), ctx: s.ctx, hashing: s.Hashing}
			if l.seen, err = l.look(); err == nil {
				return l, nil
			}
		}
		f.Close()
		return nil, err
	})
}

func (l *local) Size() int64 { return l.size }

// readAtOnce is how many bytes of a file on disk are asked for at a time.
const readAtOnce = 1 << 20

// ReadAt reads beside the caller's memory, a piece at a time: a read that is given up may still end later.
func (l *local) ReadAt(p []byte, at int64) (n int, err error) {
	if l.ctx.Done() == nil {
		return l.readSame(p, at)
	}
	for n < len(p) && err == nil {
		var b []byte
		size, from := min(len(p)-n, readAtOnce), at // a read that is given up has its own
		b, err = Await(l.ctx, func() ([]byte, error) {
			b := make([]byte, size)
			k, err := l.readSame(b, from)
			return b[:k], err
		})
		k := copy(p[n:], b)
		n, at = n+k, at+int64(k)
	}
	return n, err
}

// readSame reads from the file as it was opened. The look comes after the read, and what was read before an apparent
// change, which proved to be none, is read again.
func (l *local) readSame(p []byte, at int64) (n int, err error) {
	for {
		n, err = l.File.ReadAt(p, at)
		again, changed := l.same()
		if changed != nil {
			return 0, changed
		}
		if !again {
			return n, err
		}
	}
}

// Check reports what ended the reading of the file, or that it is not the one that was opened any more.
func (l *local) Check() error {
	_, err := Await(l.ctx, func() (bool, error) { return l.same() })
	return err
}

// look is other when the file's contents may be, or its name stands for another.
func (l *local) look() (string, error) {
	st, err := l.Stat()
	if err != nil {
		return "", err
	}
	now, err := os.Stat(l.name)
	if errors.Is(err, fs.ErrNotExist) {
		return stamp(st) + " gone", nil
	}
	if err != nil {
		return "", err
	}
	return stamp(st) + " " + inode(l.name, now), nil
}

// same compares the file with what it was; again says that it looks otherwise and holds the same.
func (l *local) same() (again bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return false, l.err
	}
	now, err := l.look()
	if err != nil {
		return false, err
	}
	if now == l.seen {
		return false, nil
	}
	if l.seen, err = l.verify(now); err != nil {
		if errors.Is(err, ErrChanged) {
			l.err = err
		}
		return false, err
	}
	return true, nil
}

// verify hashes a file that looks otherwise, both what is open and what its name stands for, and gives the look that
// holds for.
func (l *local) verify(now string) (string, error) {
	for range 3 {
		if st, err := os.Stat(l.name); l.sum == "" || err != nil || !st.Mode().IsRegular() {
			return "", ErrChanged
		}
		d := digests(l.hashing)
		h := sha256.New()
		if err := copyUntil(l.ctx, h, io.NewSectionReader(l.File, 0, l.size+1)); err != nil {
			return "", fmt.Errorf("reading it again, since it looks otherwise than it did: %w", err)
		}
		named, err := d.Sum(l.ctx, l.name)
		if err != nil {
			return "", err
		}
		if hex.EncodeToString(h.Sum(nil)) != l.sum || named != l.sum {
			return "", ErrChanged
		}
		after, err := l.look()
		if err != nil {
			return "", err
		}
		if after == now {
			return now, nil
		}
		now = after
	}
	return "", ErrChanged
}

// know notes the hash that the file's name gave, if it is still the one that was opened.
func (l *local) know(sum string) error {
	_, err := Await(l.ctx, func() (bool, error) {
		_, err := l.same()
		if err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.sum = sum
		}
		return false, err
	})
	return err
}
