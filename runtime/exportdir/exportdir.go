// Package exportdir keeps apart what an export wrote to a folder and what its user put there. The folder has a manifest
// with the hash of every file of the export: what hashes to it is ours and is replaced by the next export, everything
// else is the user's and is never touched.
package exportdir

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"stepflow/foreign"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/durable"
)

// ManifestName is the file that makes a folder an export; it is written last.
const ManifestName = "stepflow_export.json"

// replacedName is the list of the files that an export replaces, beside its own manifest until it is in place.
const replacedName = "replaced.json"

// keyFiles match what makes programs read a folder as a model: it is removed first and comes back last, so that a folder
// with files of two models never reads as one. An export has one.
var keyFiles = regexp.MustCompile(`^(adapter_)?config\.json$|\.gguf$`)

// keyOf returns the key file among those of an export; "" if there is none.
func keyOf(files map[string]checkpoint.Digest) string {
	for name := range files {
		if keyFiles.MatchString(name) {
			return name
		}
	}
	return ""
}

// tmpName is the name of the folder, inside that of the export, where files lie until all are complete.
var tmpName = regexp.MustCompile(`^\.stepflow-export-[0-9a-f]{16}$`)

const tmpPrefix = ".stepflow-export-"

// known are the names of the files that an export may consist of.
var known = regexp.MustCompile(`^(config|adapter_config|generation_config|tokenizer|tokenizer_config|special_tokens_map)\.json$` +
	`|^chat_template\.jinja$|^README\.md$|^model-(F32|F16|BF16|Q8_0)\.gguf$` +
	`|^adapter_model\.safetensors$` +
	`|^model(-[0-9]{5,}-of-[0-9]{5,})?\.safetensors$|^model\.safetensors\.index\.json$`)

// CardName is the name of the model card, which gives way: where the user has one of his own, or changed ours, his stays and
// none is written.
const CardName = "README.md"

// Names are examples of the names that an export writes, one of each kind.
func Names() []string {
	return []string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
		"special_tokens_map.json", "chat_template.jinja", "model.safetensors", "model-00001-of-00002.safetensors",
		"model.safetensors.index.json", "model-F16.gguf", "adapter_config.json", "adapter_model.safetensors", ManifestName}
}

// Manifest says what was exported. It depends on nothing else: two runs of one pipeline leave the same bytes.
type Manifest struct {
	Version int                          `json:"format_version"`
	Stage   string                       `json:"stage"`  // address of the stage
	Recipe  string                       `json:"recipe"` // of the export block
	Files   map[string]checkpoint.Digest `json:"files"`
}

// version is that of manifests; those before 2 had no list of files.
const version = 2

// manifestLimit bounds what is read of a manifest, in bytes.
const manifestLimit = 64 << 20

// Hashes remembers the hashes of files by path, size and time of change.
type Hashes map[string]string

// of hashes a file.
func (h Hashes) of(path string, st os.FileInfo) (string, error) {
	key := fmt.Sprintf("%s %d %d", path, st.Size(), st.ModTime().UnixNano())
	if s, ok := h[key]; ok {
		return s, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("reading %s: %w", path, err)
	}
	h[key] = hex.EncodeToString(sum.Sum(nil))
	return h[key], nil
}

// is reports whether a file is there as it was written; a link is not.
func (h Hashes) is(path string, f checkpoint.Digest) (bool, error) {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !st.Mode().IsRegular() || st.Size() != f.Size {
		return false, err
	}
	sum, err := h.of(path, st)
	return sum == f.SHA256, err
}

// Folder is a folder that an export goes to.
type Folder struct {
	Path   string // as it is named
	Real   string // absolute and without symbolic links; it need not be there
	there  string // Real, or the nearest folder above it that is there
	hashes Hashes
}

// Open finds the folder that a path names and checks that no file is in its place. Nothing is changed.
func Open(path string, hashes Hashes) (*Folder, error) {
	real, err := durable.Resolve(path)
	if err != nil {
		return nil, err
	}
	f := &Folder{Path: path, Real: real, hashes: hashes}
	for dir := real; ; dir = filepath.Dir(dir) { // the folder itself, or the nearest one above it that is there
		st, err := os.Stat(dir)
		switch {
		case err != nil && durable.Missing(err) && filepath.Dir(dir) != dir:
			continue
		case err != nil:
			return nil, err
		case !st.IsDir() && dir == real:
			return nil, fmt.Errorf("%s is a file: name a folder", path)
		case !st.IsDir():
			return nil, fmt.Errorf("%s lies below %s, which is a file: name another folder", path, dir)
		}
		f.there = dir
		return f, nil
	}
}

// Writable returns an error if this process may not write an export there.
func (f *Folder) Writable() error { return durable.Writable(f.there) }

// Content is what a folder holds.
type Content struct {
	Manifest *Manifest                    // of the export that is there; nil for none
	Listed   bool                         // the manifest lists its files; early ones did not
	Cut      bool                         // an export was stopped while it was put in place
	Left     int64                        // bytes of exports that were stopped before; the next one removes them
	Ours     map[string]checkpoint.Digest // files that are as an export wrote them
	Changed  []string                     // files of an export that somebody changed since
	Card     bool                         // the user has a model card of his own, or changed ours
	Missing  []string                     // files of the export that are gone
	Unlisted []string                     // files that an early export may have written
	InWay    []string                     // files that no export wrote, under names that exports write
	Others   []string                     // everything else
}

// Look reads what the folder holds, and hashes the files of an export.
func (f *Folder) Look() (*Content, error) {
	c := &Content{Ours: map[string]checkpoint.Digest{}}
	entries, err := os.ReadDir(f.Real)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	var manifests []map[string]checkpoint.Digest
	m, err := readManifest(filepath.Join(f.Real, ManifestName))
	if err != nil {
		return nil, err
	}
	if m != nil {
		c.Manifest, c.Listed = m, m.Files != nil
		manifests = append(manifests, m.Files)
	}
	for _, e := range entries {
		if !e.IsDir() || !tmpName.MatchString(e.Name()) {
			continue
		}
		now, old, err := readTmp(filepath.Join(f.Real, e.Name()))
		if err != nil {
			return nil, err
		}
		if now == nil {
			c.Left += sizeOf(filepath.Join(f.Real, e.Name()))
		} else {
			c.Cut = true
			if c.Manifest == nil {
				c.Manifest, c.Listed = now, true
			}
			manifests = append(manifests, now.Files, old.Files)
		}
	}
	for _, e := range entries {
		if err := f.sort(c, e, manifests); err != nil {
			return nil, err
		}
	}
	if c.Manifest != nil {
		for _, name := range slices.Sorted(maps.Keys(c.Manifest.Files)) {
			if !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name }) {
				c.Missing = append(c.Missing, name)
			}
		}
	}
	return c, nil
}

// sizeOf adds up the files in a folder, as far as they can be looked at.
func sizeOf(dir string) (n int64) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() {
			n += st.Size()
		}
	}
	return n
}

// sort puts one entry of the folder where it belongs.
func (f *Folder) sort(c *Content, e fs.DirEntry, manifests []map[string]checkpoint.Digest) error {
	name := e.Name()
	if name == ManifestName && c.Manifest != nil || e.IsDir() && tmpName.MatchString(name) {
		return nil
	}
	listed := false
	for _, m := range manifests {
		want, ok := m[name]
		if !ok {
			continue
		}
		listed = true
		same, err := f.hashes.is(filepath.Join(f.Real, name), want)
		if err != nil {
			return err
		}
		if same {
			c.Ours[name] = want
			return nil
		}
	}
	switch {
	case name == CardName:
		c.Others, c.Card = append(c.Others, name), true
	case listed:
		c.Changed = append(c.Changed, name)
	case !known.MatchString(name):
		c.Others = append(c.Others, name)
	case c.Manifest != nil && !c.Listed && e.Type().IsRegular():
		c.Unlisted = append(c.Unlisted, name)
	default:
		c.InWay = append(c.InWay, name)
	}
	return nil
}

// Refuse returns why an export may not be written over what the folder holds: it names what is the user's and would
// be lost.
func (f *Folder) Refuse(c *Content) error {
	var errs []error
	if c.Manifest == nil {
		if all := slices.Concat(c.InWay, c.Others); len(all) > 0 {
			slices.Sort(all)
			return fmt.Errorf("%s exists and was not written by an export: it holds %s. Choose another path, or empty it",
				f.Path, List(all))
		}
		return nil
	}
	if len(c.Changed) > 0 {
		errs = append(errs, fmt.Errorf("%s in %s %s changed after the export. Move %s elsewhere to keep the change, "+
			"remove %[4]s to have %[4]s written again, or choose another path", List(c.Changed), f.Path, was(c.Changed),
			it(c.Changed)))
	}
	if len(c.InWay) > 0 {
		errs = append(errs, fmt.Errorf("%s in %s %s not written by an export and would be in its way. Move %s "+
			"elsewhere, or choose another path", List(c.InWay), f.Path, was(c.InWay), it(c.InWay)))
	}
	return errors.Join(errs...)
}

// List names some files, and how many more there are.
func List(names []string) string {
	const most = 5
	shown := make([]string, 0, most)
	for _, n := range names[:min(len(names), most)] {
		shown = append(shown, foreign.Shown(n))
	}
	switch n := len(shown) - 1; {
	case len(names) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(shown, ", "), len(names)-most)
	case n > 0:
		return strings.Join(shown[:n], ", ") + " and " + shown[n]
	}
	return strings.Join(shown, "")
}

func was(names []string) string {
	if len(names) == 1 {
		return "was"
	}
	return "were"
}

func it(names []string) string {
	if len(names) == 1 {
		return "it"
	}
	return "them"
}

// readManifest reads a manifest; nil if there is none.
func readManifest(path string) (*Manifest, error) {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	damaged := func(why string) error {
		return fmt.Errorf("%s is damaged (%s), so that nothing tells which files of the folder are the export's: empty "+
			"the folder, or choose another path", path, why)
	}
	if !st.Mode().IsRegular() || st.Size() > manifestLimit {
		return nil, damaged("it is not a file of this kind")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := foreign.Unmarshal(b, &m); err != nil {
		return nil, damaged(err.Error())
	}
	if m.Version > version {
		return nil, fmt.Errorf("%s is of version %d, this stepflow knows up to %d: use the newer stepflow, or choose "+
			"another path", path, m.Version, version)
	}
	if m.Recipe == "" && filepath.Base(path) == ManifestName || m.Version == version && m.Files == nil {
		return nil, damaged("something is missing")
	}
	for name := range m.Files {
		if !known.MatchString(name) {
			return nil, damaged(fmt.Sprintf("exports write no %q", name))
		}
	}
	return &m, nil
}

// readTmp reads the manifests of files that are not all in place yet; nil if they are not complete.
func readTmp(dir string) (now, old *Manifest, err error) {
	if now, err = readManifest(filepath.Join(dir, ManifestName)); err != nil || now == nil {
		return nil, nil, err
	}
	if old, err = readManifest(filepath.Join(dir, replacedName)); err != nil {
		return nil, nil, err
	}
	if old == nil {
		old = &Manifest{}
	}
	return now, old, nil
}
