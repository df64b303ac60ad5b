// Package archive unpacks archives that others made, once, into a folder named by their content.
package archive

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"stepflow/foreign"
)

// Limits of an archive, which holds text.
const (
	mostPacked   = 64 << 20  // bytes of the file
	mostUnpacked = 256 << 20 // bytes of all files in it
	mostEntries  = 10_000    // files and folders
	longestName  = 1024      // bytes
	mostDepth    = 16        // folders inside each other
)

// formats are the archives that are read, by the ends of their names.
var formats = []struct {
	suffix string
	walk   func(packed []byte, each entries) error
}{{".zip", walkZip}, {".tar.gz", walkGzip}, {".tgz", walkGzip}, {".tar", walkTar}}

// entries takes the files and folders of an archive, one after the other.
type entries func(name string, mode fs.FileMode, content io.Reader) error

// Is reports whether a file is an archive by its name.
func Is(name string) bool { return walker(name) != nil }

func walker(name string) func([]byte, entries) error {
	for _, f := range formats {
		if strings.HasSuffix(strings.ToLower(name), f.suffix) {
			return f.walk
		}
	}
	return nil
}

// Unpack returns the folder below dir that holds what is in an archive, and makes it if it is not there yet. Nothing
// is left of an archive that is refused.
func Unpack(path, dir string) (folder string, err error) {
	packed, err := foreign.ReadFile(path, mostPacked)
	if err != nil {
		return "", err
	}
	walk := walker(path)
	if walk == nil {
		return "", fmt.Errorf("%s is not an archive", foreign.Shown(path))
	}
	sum := sha256.Sum256(packed)
	folder = filepath.Join(dir, hex.EncodeToString(sum[:16]))
	if st, err := os.Stat(folder); err == nil && st.IsDir() {
		return folder, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(dir, ".unpacking-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	u := &unpacker{dir: temp, left: mostUnpacked}
	if err := walk(packed, u.entry); err != nil {
		return "", fmt.Errorf("unpacking %s: %w", foreign.Shown(path), err)
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return "", err
	}
	err = os.Rename(temp, folder)
	if st, e := os.Stat(folder); e == nil && st.IsDir() { // another process may have been first
		return folder, nil
	}
	return "", err
}

// unpacker writes entries below a folder.
type unpacker struct {
	dir   string
	count int
	left  int64
}

var errSize = fmt.Errorf("it holds more than %d MiB", mostUnpacked>>20)

// entry writes a file or a folder.
func (u *unpacker) entry(name string, mode fs.FileMode, content io.Reader) error {
	name = strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	if u.count++; u.count > mostEntries {
		return fmt.Errorf("it holds more than %d files", mostEntries)
	}
	switch {
	case name == "" && mode.IsDir():
		return nil
	case len(name) > longestName || strings.ContainsAny(name, "\\\x00") || !filepath.IsLocal(filepath.FromSlash(name)):
		return fmt.Errorf("the name %s in it leads elsewhere or is not a name", foreign.Shown(name))
	case strings.Count(name, "/") > mostDepth:
		return fmt.Errorf("%s in it lies in more than %d folders", foreign.Shown(name), mostDepth)
	case !mode.IsDir() && !mode.IsRegular():
		return fmt.Errorf("%s in it is not a regular file: links and devices are not unpacked", foreign.Shown(name))
	}
	path := filepath.Join(u.dir, filepath.FromSlash(name))
	if mode.IsDir() {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is in it twice", foreign.Shown(name))
	}
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(content, u.left+1))
	if u.left -= n; u.left < 0 {
		err = errSize
	}
	return errors.Join(err, f.Close())
}

func walkZip(packed []byte, each entries) error {
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return err
	}
	for _, f := range z.File {
		err := func() error {
			if f.Mode().IsDir() {
				return each(f.Name, f.Mode(), nil)
			}
			content, err := f.Open()
			if err != nil {
				return err
			}
			defer content.Close()
			return each(f.Name, f.Mode(), content)
		}()
		if err != nil {
			return err
		}
	}
	return nil
}

func walkGzip(packed []byte, each entries) error {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return err
	}
	return walkTarOf(z, each)
}

func walkTar(packed []byte, each entries) error { return walkTarOf(bytes.NewReader(packed), each) }

// walkTarOf reads a tar, but no more of it than the largest files and their headers take.
func walkTarOf(r io.Reader, each entries) error {
	const headers = 1 << 10 * mostEntries
	t := tar.NewReader(&bounded{r, mostUnpacked + headers})
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		mode := h.FileInfo().Mode()
		switch h.Typeflag {
		case tar.TypeXGlobalHeader: // git archive writes one
			continue
		case tar.TypeReg, tar.TypeDir:
		default:
			mode |= fs.ModeIrregular
		}
		if err := each(h.Name, mode, t); err != nil {
			return err
		}
	}
}

// bounded is a reader that fails after a number of bytes.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errSize
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
