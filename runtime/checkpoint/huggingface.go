package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"stepflow/foreign"
	"stepflow/gpu"
)

// Folder is the safetensors of a Hugging Face folder: one file, or shards with an index.
type Folder struct {
	dir    string
	names  []string
	files  []*File
	tensor map[string]*File
	zeros  map[string]zero // tensors that are in none of them; see AddComposed
}

// maxIndex is the most bytes that are read of an index.
const maxIndex = 100_000_000

// OpenFolder opens model.safetensors or, where there is none, the shards of model.safetensors.index.json, in that
// order as Transformers does; an index has to be sound either way. Each tensor lies in one file only, which is the one
// the index says.
func OpenFolder(dir string) (*Folder, error) {
	d := &Folder{dir: dir, tensor: map[string]*File{}}
	if err := d.open(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Folder) open() error {
	weights, path, indexErr := d.index()
	if indexErr != nil && !errors.Is(indexErr, fs.ErrNotExist) {
		return indexErr
	}
	f, err := Open(filepath.Join(d.dir, ModelFile))
	switch {
	case err == nil:
		return d.add(f, ModelFile)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case indexErr != nil:
		return fmt.Errorf("%s has neither %s nor %s: %w", d.dir, ModelFile, IndexFile, fs.ErrNotExist)
	}
	d.names = append(d.names, IndexFile)
	for _, name := range slices.Compact(slices.Sorted(maps.Values(weights))) {
		f, err := Open(filepath.Join(d.dir, name))
		if err != nil {
			return err
		}
		if err := d.add(f, name); err != nil {
			return err
		}
	}
	for _, tensor := range d.Names() {
		if weights[tensor] == "" {
			return fmt.Errorf("reading %s: it does not name tensor %s, which is in %s", path, foreign.Shown(tensor),
				d.tensor[tensor].path)
		}
	}
	for _, tensor := range slices.Sorted(maps.Keys(weights)) {
		in := filepath.Join(d.dir, weights[tensor])
		if f := d.tensor[tensor]; f == nil || f.path != in {
			return fmt.Errorf("reading %s: it says that tensor %s is in %s, which does not hold it", path,
				foreign.Shown(tensor), foreign.Shown(weights[tensor]))
		}
	}
	return nil
}

// index reads which file each tensor is in.
func (d *Folder) index() (weights map[string]string, path string, err error) {
	path = filepath.Join(d.dir, IndexFile)
	b, err := foreign.ReadFile(path, maxIndex)
	if err != nil {
		return nil, path, err
	}
	if weights, err = parseIndex(b); err != nil {
		return nil, path, fmt.Errorf("reading %s: %w", path, err)
	}
	for _, name := range weights {
		if !foreign.IsFileName(name) {
			return nil, path, fmt.Errorf("reading %s: %q is not the name of a file in the folder", path, name)
		}
	}
	return weights, path, nil
}

// parseIndex gives the file of each tensor.
func parseIndex(b []byte) (map[string]string, error) {
	fields, err := foreign.Object(b)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		if f.Name != "weight_map" {
			continue
		}
		members, err := foreign.Object(f.Value)
		if err != nil {
			return nil, fmt.Errorf("weight_map: %w", err)
		}
		weights := make(map[string]string, len(members))
		for _, m := range members {
			var file string
			if err := json.Unmarshal(m.Value, &file); err != nil || file == "" {
				return nil, fmt.Errorf("weight_map: the file of tensor %s is not a name", foreign.Shown(m.Name))
			}
			weights[m.Name] = file
		}
		if len(weights) == 0 {
			return nil, errors.New("weight_map is empty")
		}
		return weights, nil
	}
	return nil, errors.New("it has no weight_map")
}

// add takes the tensors of a file in; the folder closes it.
func (d *Folder) add(f *File, name string) error {
	d.files, d.names = append(d.files, f), append(d.names, name)
	for tensor := range f.index {
		if other := d.tensor[tensor]; other != nil {
			return fmt.Errorf("tensor %s is in both %s and %s", foreign.Shown(tensor), other.path, f.path)
		}
		d.tensor[tensor] = f
	}
	return nil
}

// Files are the paths of what was opened: the safetensors, and before them the index where there is one.
func (d *Folder) Files() (paths []string) {
	for _, n := range d.names {
		paths = append(paths, filepath.Join(d.dir, n))
	}
	return paths
}

// Has reports whether the folder holds a tensor.
func (d *Folder) Has(name string) bool { return d.DType(name) != "" }

// Names lists the tensors, sorted.
func (d *Folder) Names() []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(d.tensor)), maps.Keys(d.zeros))
	slices.Sort(names)
	return names
}

// DType is the format's name of a tensor's element type, such as "BF16"; empty if there is no such tensor.
func (d *Folder) DType(name string) string {
	if f := d.tensor[name]; f != nil {
		return f.index[name].DType
	}
	return d.zeros[name].dtype
}

// Same reports whether two tensors are of one type and shape and hold the same bytes.
func (d *Folder) Same(a, b string) (bool, error) {
	f, g := d.tensor[a], d.tensor[b]
	if f == nil || g == nil {
		return false, nil
	}
	x, y := f.index[a], g.index[b]
	if x.DType != y.DType || !slices.Equal(x.Shape, y.Shape) {
		return false, nil
	}
	return sameBytes(f.section(x), g.section(y))
}

// sameBytes compares what two readers of the same length give.
func sameBytes(a, b io.Reader) (bool, error) {
	const piece = 1 << 20
	x, y := make([]byte, piece), make([]byte, piece)
	for {
		n, err := io.ReadFull(a, x)
		m, err2 := io.ReadFull(b, y)
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		for _, err := range []error{err, err2} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return false, err
			}
		}
		if n < piece {
			return true, nil
		}
	}
}

// Shape gives a tensor's shape.
func (d *Folder) Shape(name string) (gpu.Shape, bool) {
	if f := d.tensor[name]; f != nil {
		return f.Shape(name)
	}
	z, ok := d.zeros[name]
	return z.shape, ok
}

// Float32 reads a tensor.
func (d *Folder) Float32(name string) ([]float32, error) {
	if f := d.tensor[name]; f != nil {
		return f.Float32(name)
	}
	if z, ok := d.zeros[name]; ok {
		return make([]float32, z.shape.Elems()), nil
	}
	return nil, fmt.Errorf("the checkpoint has no tensor %s", name)
}

// Close closes all files.
func (d *Folder) Close() error {
	var first error
	for _, f := range d.files {
		if err := f.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
