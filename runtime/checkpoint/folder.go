package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"stepflow/runtime/durable"
)

// ManifestName is the file that makes a folder a checkpoint; it is written last.
const ManifestName = "manifest.json"

type manifest struct {
	Version int             `json:"version"`
	Files   map[string]item `json:"files"`
}

type item struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Part is one file of a checkpoint.
type Part struct {
	Name string
	Fill func(io.Writer) error
}

// Bytes makes a part of given contents.
func Bytes(name string, b []byte) Part {
	return Part{name, func(w io.Writer) error { _, err := w.Write(b); return err }}
}

// Tensors makes a part that is a safetensors file.
func Tensors(name string, list []Tensor) Part {
	return Part{name, func(w io.Writer) error { return WriteTensors(w, list) }}
}

// Write makes the folder dir: all parts beside it, synced and hashed while written, the manifest,
// then one rename. It returns the content id. An error leaves no trace and takes nothing away.
func Write(dir string, parts []Part) (id string, err error) {
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	if err := os.MkdirAll(tmp, 0o777); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	m := manifest{Version: 1, Files: map[string]item{}}
	for _, p := range parts {
		h := sha256.New()
		var n counter
		err := durable.WriteTo(filepath.Join(tmp, p.Name), func(w io.Writer) error { return p.Fill(io.MultiWriter(w, h, &n)) })
		if err != nil {
			return "", err
		}
		m.Files[p.Name] = item{int64(n), hex.EncodeToString(h.Sum(nil))}
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", err
	}
	if err := durable.WriteTo(filepath.Join(tmp, ManifestName), func(w io.Writer) error { _, err := w.Write(b); return err }); err != nil {
		return "", err
	}
	if err := durable.SyncDir(tmp); err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return "", err
	}
	return contentID(m), durable.SyncDir(filepath.Dir(dir))
}

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

// contentID hashes names and hashes of the files: it does not depend on when or where they were written.
func contentID(m manifest) string {
	names := make([]string, 0, len(m.Files))
	for n := range m.Files {
		names = append(names, n)
	}
	sort.Strings(names)
	h := sha256.New()
	for _, n := range names {
		fmt.Fprintf(h, "%s %s\n", n, m.Files[n].SHA256)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ErrDamaged tells that a folder is not what its manifest says.
var ErrDamaged = errors.New("damaged checkpoint")

func readManifest(dir string) (m manifest, err error) {
	b, err := os.ReadFile(filepath.Join(dir, ManifestName))
	if err != nil {
		return m, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: %s: %w", ErrDamaged, filepath.Join(dir, ManifestName), err)
	}
	if m.Version != 1 {
		return m, fmt.Errorf("%w: %s is of version %d, this stepflow reads 1", ErrDamaged, filepath.Join(dir, ManifestName), m.Version)
	}
	return m, nil
}

// Check compares a folder with its manifest and gives its content id: sizes only, or every byte
// when full is set.
func Check(dir string, full bool) (id string, err error) {
	m, err := readManifest(dir)
	if err != nil {
		return "", err
	}
	for name, want := range m.Files {
		path := filepath.Join(dir, name)
		if filepath.Base(name) != name {
			return "", fmt.Errorf("%w: %q is no file name", ErrDamaged, name)
		}
		st, err := os.Stat(path)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if st.Size() != want.Size {
			return "", fmt.Errorf("%w: %s has %d bytes, its manifest says %d", ErrDamaged, path, st.Size(), want.Size)
		}
		if !full {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		h := sha256.New()
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want.SHA256 {
			return "", fmt.Errorf("%w: %s hashes to %.12s…, its manifest says %.12s…", ErrDamaged, path, got, want.SHA256)
		}
	}
	return contentID(m), nil
}

const stepPrefix = "step-"

// StepDir is the folder of a checkpoint at a step.
func StepDir(root string, step int) string {
	return filepath.Join(root, fmt.Sprintf("%s%08d", stepPrefix, step))
}

// Steps lists the steps with a folder under root, the latest first. Unfinished folders are left out.
func Steps(root string) (steps []int) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		var n int
		if rest, ok := strings.CutPrefix(e.Name(), stepPrefix); ok && !strings.HasSuffix(rest, ".tmp") {
			if _, err := fmt.Sscanf(rest, "%d", &n); err == nil {
				steps = append(steps, n)
			}
		}
	}
	sort.Sort(sort.Reverse(sort.IntSlice(steps)))
	return steps
}
