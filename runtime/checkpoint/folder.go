package checkpoint

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"stepflow/foreign"
	"stepflow/runtime/durable"
)

// ManifestName is the file that makes a folder a checkpoint; it is written last.
const ManifestName = "manifest.json"

// NoteName is a file that says where a checkpoint comes from. The content id leaves it out: what two recipes make has
// one content if its bytes are the same.
const NoteName = "block.json"

// Suffixes of folders that a process leaves behind when it is killed in Write: one that is not complete, and one that
// another was about to replace.
const (
	tmpSuffix = ".tmp"
	oldSuffix = ".old"
)

// maxManifest is the size of a manifest beyond which it is not read.
const maxManifest = 1 << 20

type manifest struct {
	Version int               `json:"version"`
	Files   map[string]Digest `json:"files"`
}

// Digest is what a manifest says of a file.
type Digest struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Part is one file of a checkpoint.
type Part struct {
	Name string
	Fill func(io.Writer) error
	// Link is a file that the part is the same as, of a checkpoint; "" for none. It gets a second name where the file system
	// has those.
	Link string
	// Around runs the writing of the file, to watch it; nil for none.
	Around func(write func() error) error

	tensors []Tensor // of a safetensors file
}

// Write makes the part's file in a folder, synced, and hashes it while it is written.
func (p Part) Write(dir string) (Digest, error) {
	if p.Link != "" {
		if err := os.Link(p.Link, filepath.Join(dir, p.Name)); err == nil {
			return digestOf(p.Link)
		}
	}
	h := sha256.New()
	var n counter
	write := func() error {
		return durable.WriteTo(filepath.Join(dir, p.Name), func(w io.Writer) error { return p.Fill(io.MultiWriter(w, h, &n)) })
	}
	around := p.Around
	if around == nil {
		around = func(write func() error) error { return write() }
	}
	err := around(write)
	return Digest{int64(n), hex.EncodeToString(h.Sum(nil))}, err
}

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

// Bytes makes a part of given contents.
func Bytes(name string, b []byte) Part {
	return Part{Name: name, Fill: func(w io.Writer) error { _, err := w.Write(b); return err }}
}

// Tensors makes a part that is a safetensors file.
func Tensors(name string, list []Tensor) Part {
	return Part{Name: name, Fill: func(w io.Writer) error { return writeTensors(w, list) }, tensors: list}
}

// Linked makes a part that is the same as a file of a checkpoint.
func Linked(name, path string) Part {
	return Part{Name: name, Link: path, Fill: func(w io.Writer) error {
		f, err := open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	}}
}

// digestOf returns what the manifest says of a file of a checkpoint.
func digestOf(path string) (Digest, error) {
	m, err := readManifest(filepath.Dir(path))
	if err != nil {
		return Digest{}, err
	}
	d, ok := m.Files[filepath.Base(path)]
	if !ok {
		return d, fmt.Errorf("%w: %s is not in its manifest", ErrDamaged, path)
	}
	return d, nil
}

// Write makes the folder dir: all parts beside it, synced and hashed while written, the manifest,
// then one rename. It returns the content id. A folder that is replaced is removed when the new one is in place, and an
// error leaves no trace and takes nothing away.
func Write(dir string, parts []Part) (id string, err error) {
	if err := durable.MkdirAll(filepath.Dir(dir), 0o777); err != nil {
		return "", err
	}
	if err := Recover(dir); err != nil {
		return "", err
	}
	tmp := dir + tmpSuffix
	if err := os.Mkdir(tmp, 0o777); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(tmp)
		}
	}()
	m := manifest{Version: 1, Files: map[string]Digest{}}
	for _, p := range parts {
		if m.Files[p.Name], err = p.Write(tmp); err != nil {
			return "", err
		}
	}
	return commit(dir, tmp, m)
}

// commit writes the manifest of a folder and puts it in its place.
func commit(dir, tmp string, m manifest) (id string, err error) {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", err
	}
	if _, err := Bytes(ManifestName, b).Write(tmp); err != nil {
		return "", err
	}
	if err := durable.SyncDir(tmp); err != nil {
		return "", err
	}
	old := dir + oldSuffix
	switch err := durable.Rename(dir, old); {
	case errors.Is(err, fs.ErrNotExist):
		return contentID(m), durable.Rename(tmp, dir)
	case err != nil:
		return "", err
	}
	if err := durable.Rename(tmp, dir); err != nil {
		return "", errors.Join(err, durable.Rename(old, dir))
	}
	return contentID(m), os.RemoveAll(old)
}

// Recover puts a folder back that was about to be replaced when the process was killed, and removes what Write left
// beside it.
func Recover(dir string) error {
	old := dir + oldSuffix
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := durable.Rename(old, dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return errors.Join(os.RemoveAll(old), os.RemoveAll(dir+tmpSuffix))
}

// Leftover gives the folder that a leftover of Write belongs to; ok is false for other names.
func Leftover(name string) (dir string, ok bool) {
	for _, s := range []string{tmpSuffix, oldSuffix} {
		if dir, ok := strings.CutSuffix(name, s); ok {
			return dir, true
		}
	}
	return "", false
}

// IsReplaced reports whether a leftover is a folder that another was about to replace.
func IsReplaced(name string) bool { return strings.HasSuffix(name, oldSuffix) }

// contentID hashes names and hashes of the files: it does not depend on when or where they were written, nor on what
// made them.
func contentID(m manifest) string {
	h := sha256.New()
	for _, n := range slices.Sorted(maps.Keys(m.Files)) {
		if n != NoteName {
			fmt.Fprintf(h, "%s %s\n", n, m.Files[n].SHA256)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Size returns the bytes of the files of a folder, by its manifest; 0 if that cannot be read.
func Size(dir string) (n int64) {
	m, err := readManifest(dir)
	if err != nil {
		return 0
	}
	for _, d := range m.Files {
		n += d.Size
	}
	return n
}

// ErrDamaged says that a folder is not what its manifest says.
var ErrDamaged = errors.New("damaged checkpoint")

// Damage makes damage of an error which says that a file is not there. Others, as of permissions, of descriptors or
// of the disk, say nothing about what the file holds, and stay as they are: nothing may be removed because of them.
func Damage(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// read gives the contents of a file that is neither a link nor a device and not larger than most.
func read(path string, most int64) ([]byte, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%w: %s is larger than %d bytes", ErrDamaged, path, most)
	}
	return b, err
}

// BeforeRead, where a test sets it, is called before a file of a checkpoint is opened; its error is that of the file.
var BeforeRead func(path string) error

// open opens a regular file.
func open(path string) (*os.File, error) {
	if BeforeRead != nil {
		if err := BeforeRead(path); err != nil {
			return nil, Damage(err)
		}
	}
	st, err := os.Lstat(path)
	if err != nil {
		return nil, Damage(err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a regular file (%s)", ErrDamaged, path, st.Mode().Type())
	}
	f, err := os.Open(path)
	return f, Damage(err)
}

// ReadNote reads what a checkpoint's note says into v. Check says whether it is what was written.
func ReadNote(dir string, v any) error {
	path := filepath.Join(dir, NoteName)
	b, err := read(path, maxManifest)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	return nil
}

func readManifest(dir string) (m manifest, err error) {
	path := filepath.Join(dir, ManifestName)
	b, err := read(path, maxManifest)
	if err != nil {
		return m, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("%w: %s: %w", ErrDamaged, path, err)
	}
	if d.More() {
		return m, fmt.Errorf("%w: %s goes on after its end", ErrDamaged, path)
	}
	if m.Version != 1 {
		return m, fmt.Errorf("%w: %s is of version %d, this stepflow reads 1", ErrDamaged, path, m.Version)
	}
	if len(m.Files) == 0 {
		return m, fmt.Errorf("%w: %s lists no files", ErrDamaged, path)
	}
	return m, nil
}

// Check compares a folder with its manifest, every byte, and gives its content id and the names of its files. An
// error that is not ErrDamaged says that it could not be read, and nothing about what it holds.
func Check(dir string) (id string, files []string, err error) {
	if st, err := os.Lstat(dir); err != nil {
		return "", nil, Damage(err)
	} else if !st.IsDir() {
		return "", nil, fmt.Errorf("%w: %s is not a folder", ErrDamaged, dir)
	}
	m, err := readManifest(dir)
	if err != nil {
		return "", nil, err
	}
	if err := unlisted(dir, m); err != nil {
		return "", nil, err
	}
	files = slices.Sorted(maps.Keys(m.Files))
	for _, name := range files {
		if !foreign.IsFileName(name) || name == ManifestName {
			return "", nil, fmt.Errorf("%w: %q is not the name of a file in it", ErrDamaged, name)
		}
		if err := m.Files[name].check(filepath.Join(dir, name)); err != nil {
			return "", nil, err
		}
	}
	return contentID(m), files, nil
}

// Contents returns the content id of a folder, and what is known of each of its files, the manifest among them. It believes
// what the manifest says; see Check.
func Contents(dir string) (id string, files map[string]Digest, err error) {
	m, err := readManifest(dir)
	if err != nil {
		return "", nil, err
	}
	b, err := read(filepath.Join(dir, ManifestName), maxManifest)
	if err != nil {
		return "", nil, err
	}
	id, files = contentID(m), m.Files
	sum := sha256.Sum256(b)
	files[ManifestName] = Digest{int64(len(b)), hex.EncodeToString(sum[:])}
	return id, files, nil
}

// unlisted refuses files that would be read although the manifest does not list them; others may lie there.
func unlisted(dir string, m manifest) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return Damage(err)
	}
	for _, e := range entries {
		_, listed := m.Files[e.Name()]
		if ext := filepath.Ext(e.Name()); !listed && e.Name() != ManifestName && (ext == ".json" || ext == ".safetensors") {
			return fmt.Errorf("%w: %s is not in its manifest: remove that file", ErrDamaged, filepath.Join(dir, e.Name()))
		}
	}
	return nil
}

// check compares a file with what the manifest says of it.
func (want Digest) check(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != want.Size { // without reading what has grown without bounds
		return fmt.Errorf("%w: %s has %d bytes, its manifest says %d", ErrDamaged, path, st.Size(), want.Size)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want.SHA256 {
		return fmt.Errorf("%w: %s hashes to %.12s…, its manifest says %.12s…", ErrDamaged, path, got, want.SHA256)
	}
	return nil
}

const stepPrefix = "step-"

// StepDir is the folder of a checkpoint at a step.
func StepDir(root string, step int) string {
	return filepath.Join(root, fmt.Sprintf("%s%08d", stepPrefix, step))
}

// Steps lists the steps with a folder under root, the latest first. Unfinished folders are left out. No root has none;
// an error says that it could not be read.
func Steps(root string) (steps []int, err error) {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(Damage(err), ErrDamaged) {
		return nil, err
	}
	for _, e := range entries {
		n, err := strconv.Atoi(strings.TrimPrefix(e.Name(), stepPrefix))
		if err == nil && e.IsDir() && e.Name() == filepath.Base(StepDir(root, n)) {
			steps = append(steps, n)
		}
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	return steps, nil
}
