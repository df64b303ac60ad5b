package web

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"

	"stepflow/foreign"
)

// Disk keeps blocks of files in a folder, each with a checksum. When they exceed Limit bytes, those that
// were not used for longest go. Several processes may share the folder. It only ever saves time: what can't
// be written or does not match its checksum is fetched again.
type Disk struct {
	Dir   string
	Limit int64

	mu      sync.Mutex
	counted bool
	bytes   int64 // in the folder, as far as this process knows
}

const sumBytes = sha256.Size

// sumOf is the checksum of a block. It is of the key too: a block that got into another's place is as wrong as a
// damaged one.
func sumOf(key string, data []byte) (sum [sumBytes]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", key)
	h.Write(data)
	h.Sum(sum[:0])
	return sum
}

func (d *Disk) path(key string) string {
	sum := sha256.Sum256([]byte(key))
	name := hex.EncodeToString(sum[:16])
	return filepath.Join(d.Dir, name[:2], name[2:])
}

// get gives a block of n bytes; nil if it is not there.
func (d *Disk) get(key string, n int64) []byte {
	if d == nil || key == "" || d.Limit <= 0 {
		return nil
	}
	p := d.path(key)
	b, err := foreign.ReadFile(p, n+sumBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || int64(len(b)) != n+sumBytes {
		os.Remove(p)
		return nil
	}
	data := b[sumBytes:]
	if sumOf(key, data) != [sumBytes]byte(b[:sumBytes]) {
		os.Remove(p)
		return nil
	}
	now := time.Now()
	os.Chtimes(p, now, now) // used last
	return data
}

// put keeps a block; it appears whole or not at all.
func (d *Disk) put(key string, data []byte) {
	if d == nil || key == "" || d.Limit < int64(len(data)) {
		return
	}
	sum := sumOf(key, data)
	if WriteCached(d.path(key), append(sum[:], data...), 0o700) != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bytes += int64(len(data)) + sumBytes
	if !d.counted || d.bytes > d.Limit {
		d.evict()
	}
}

// WriteCached writes a file that only saves time: it appears whole or not at all, but a power failure may lose it.
// Missing folders are made with mode perm.
func WriteCached(path string, b []byte, perm os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), perm); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// evict counts the folder again and, where it exceeds the limit, removes the oldest down to nine tenths of it.
func (d *Disk) evict() {
	type entry struct {
		path  string
		bytes int64
		used  time.Time
	}
	var all []entry
	d.bytes, d.counted = 0, true
	filepath.WalkDir(d.Dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if st, err := e.Info(); err == nil {
				all = append(all, entry{p, st.Size(), st.ModTime()})
				d.bytes += st.Size()
			}
		}
		return nil
	})
	if d.bytes <= d.Limit {
		return
	}
	sort.Slice(all, func(i, j int) bool { return all[i].used.Before(all[j].used) })
	for _, e := range all {
		if d.bytes <= d.Limit/10*9 {
			return
		}
		if os.Remove(e.path) == nil {
			d.bytes -= e.bytes
		}
	}
}
