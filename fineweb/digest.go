package fineweb

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"stepflow/fineweb/web"
	"stepflow/foreign"
)

// Digests gives SHA-256 hashes of files' contents. Those it worked out are kept in a folder by the file's path, size,
// times and inode: a file that was touched, or fetched again, is read again and found to be the same.
type Digests struct {
	Dir     string                         // where hashes are kept; "" for nowhere
	Hashing func(file string, bytes int64) // is called before a large file is read; may be nil
}

// slow is the size from which Hashing is told of a file, in bytes.
const slow = 1 << 30

// settle is how long a file must have been left alone before its times are trusted: a file system may give two
// writes the same time.
var settle = 2 * time.Second

// digests are those of this user.
func digests(hashing func(file string, bytes int64)) *Digests {
	d := &Digests{Hashing: hashing}
	if dir := foreign.CacheDir(); dir != "" {
		d.Dir = filepath.Join(dir, "hashes")
	}
	return d
}

// Sum is the hash of a regular file's contents, in hex. Reading ends with ctx.
func (d *Digests) Sum(ctx context.Context, path string) (string, error) {
	return Await(ctx, func() (string, error) { return d.steady(ctx, path) })
}

// steady hashes a file that stays as it is meanwhile.
func (d *Digests) steady(ctx context.Context, path string) (string, error) {
	for range 3 {
		f, err := foreign.Open(path)
		if err != nil {
			return "", err
		}
		sum, same, err := d.sum(ctx, path, f)
		f.Close()
		if err != nil || same {
			return sum, err
		}
	}
	return "", fmt.Errorf("%s changes while it is read: wait until it is written", foreign.Shown(path))
}

// sum looks the hash up or works it out; same reports whether the file stayed as it was meanwhile.
func (d *Digests) sum(ctx context.Context, path string, f *os.File) (sum string, same bool, err error) {
	st, err := f.Stat()
	if err != nil {
		return "", false, err
	}
	began := time.Now()
	if sum := d.get(path, stamp(st)); sum != "" {
		return sum, true, nil
	}
	if d.Hashing != nil && st.Size() >= slow {
		d.Hashing(path, st.Size())
	}
	h := sha256.New()
	if err := copyUntil(ctx, h, f); err != nil {
		return "", false, fmt.Errorf("reading %s: %w", foreign.Shown(path), err)
	}
	now, err := f.Stat()
	if err != nil {
		return "", false, err
	}
	if stamp(now) != stamp(st) {
		return "", false, nil
	}
	sum = hex.EncodeToString(h.Sum(nil))
	if changed(st).Before(began.Add(-settle)) {
		d.put(path, stamp(st), sum)
	}
	return sum, true, nil
}

// copyUntil reads a file into a hash until the context ends.
func copyUntil(ctx context.Context, h hash.Hash, f io.Reader) error {
	b := make([]byte, 1<<20)
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := f.Read(b)
		h.Write(b[:n])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// All gives the hashes of several files, in their order; they are read in parallel.
func (d *Digests) All(ctx context.Context, paths []string) ([]string, error) {
	sums, errs := make([]string, len(paths)), make([]error, len(paths))
	parallel(len(paths), runtime.GOMAXPROCS(0), func(i int) { sums[i], errs[i] = d.Sum(ctx, paths[i]) })
	return sums, errors.Join(errs...)
}

// entry is the file that keeps a path's hash: the magic, the file's stamp, its hash, and a checksum of its own name and
// these.
func (d *Digests) entry(path string) string {
	if d.Dir == "" {
		return ""
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	name := hex.EncodeToString(hashOf([]byte(abs)))
	return filepath.Join(d.Dir, name[:2], name[2:])
}

const digestMagic = "stepflow hash 1"

func hashOf(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

func entryText(e, stamp, sum string) []byte {
	b := fmt.Appendf(nil, "%s\n%s\n%s\n", digestMagic, stamp, sum)
	return fmt.Appendf(b, "%x\n", hashOf(append([]byte(filepath.Base(e)), b...)))
}

// get gives a hash that is kept for a file with this stamp; "" if there is none, or it is damaged.
func (d *Digests) get(path, stamp string) string {
	e := d.entry(path)
	if e == "" {
		return ""
	}
	b, err := foreign.ReadFile(e, 4096)
	if err != nil {
		return ""
	}
	lines := strings.Split(string(b), "\n")
	if len(lines) != 5 || !sha256Name.MatchString(lines[2]) || !bytes.Equal(b, entryText(e, stamp, lines[2])) {
		return ""
	}
	return lines[2]
}

// put keeps a hash. It only ever saves time: an error leaves it out.
func (d *Digests) put(path, stamp, sum string) {
	if e := d.entry(path); e != "" {
		web.WriteCached(e, entryText(e, stamp, sum), 0o700)
	}
}

// names of blobs in the cache of Hugging Face's tools: the SHA-256 of a large file, the id git has of a small one.
var (
	sha256Name = regexp.MustCompile(`^[0-9a-f]{64}$`)
	gitName    = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// ErrBlob reports a file of the hub's cache that is not what its name says.
var ErrBlob = errors.New("the file in the hub's cache is damaged")

// CheckBlob compares a file with the hash that the cache of Hugging Face's tools names it by, where path is a link to
// one of its blobs; about other files it says nothing.
func (d *Digests) CheckBlob(ctx context.Context, path string) error {
	target, err := os.Readlink(path)
	if err != nil || filepath.Base(filepath.Dir(target)) != "blobs" {
		return nil
	}
	name := filepath.Base(target)
	var sum string
	switch {
	case sha256Name.MatchString(name):
		sum, err = d.Sum(ctx, path)
	case gitName.MatchString(name):
		sum, err = d.gitSum(ctx, path)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	if sum != name {
		return fmt.Errorf("%w: %s hashes to %.12s…, its name says %.12s…. Remove it, and download it again",
			ErrBlob, foreign.Shown(path), sum, name)
	}
	return nil
}

// gitSum is the id that git gives a file's contents.
func (d *Digests) gitSum(ctx context.Context, path string) (string, error) {
	f, err := foreign.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", st.Size())
	if err := copyUntil(ctx, h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Identity is a hash of files' names and contents. Blobs of the hub's cache must be what their names say.
func Identity(ctx context.Context, files []string, hashing func(file string, bytes int64)) (string, error) {
	d := digests(hashing)
	for _, f := range files {
		if err := d.CheckBlob(ctx, f); err != nil {
			return "", err
		}
	}
	sums, err := d.All(ctx, files)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for i, f := range files {
		fmt.Fprintf(h, "%q %s\n", filepath.Base(f), sums[i])
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
