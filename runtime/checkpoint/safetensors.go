// Package checkpoint stores tensors and what belongs to them: safetensors files, and folders whose
// manifest, written last, holds a hash of every file.
package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sort"

	"stepflow/gpu"
)

// Tensor is one tensor to write: Data gives its bytes, little-endian, when its turn comes.
type Tensor struct {
	Name  string
	Shape gpu.Shape
	DType gpu.DType
	Data  func() ([]byte, error)
}

func (t Tensor) bytes() int64 { return gpu.Type{Shape: t.Shape, DType: t.DType}.Bytes() }

type entry struct {
	DType   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

var dtypeNames = map[gpu.DType]string{gpu.F32: "F32", gpu.BF16: "BF16", gpu.I32: "I32"}

// WriteTensors writes a safetensors file: an 8-byte header length, the header as JSON padded with
// spaces to 8 bytes, then the tensors in order of names. It holds one tensor in memory at a time.
func WriteTensors(w io.Writer, tensors []Tensor) error {
	list := append([]Tensor(nil), tensors...)
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	header := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var at int64
	for _, t := range list {
		if _, dup := header[t.Name]; dup {
			return fmt.Errorf("two tensors named %s", t.Name)
		}
		shape := []int(t.Shape)
		if shape == nil {
			shape = []int{}
		}
		header[t.Name] = entry{dtypeNames[t.DType], shape, [2]int64{at, at + t.bytes()}}
		at += t.bytes()
	}
	b, err := json.Marshal(header)
	if err != nil {
		return err
	}
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	if err := binary.Write(w, binary.LittleEndian, uint64(len(b))); err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	for _, t := range list {
		data, err := t.Data()
		if err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
		if int64(len(data)) != t.bytes() {
			return fmt.Errorf("tensor %s has %d bytes, its shape wants %d", t.Name, len(data), t.bytes())
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	return nil
}

// File is an opened safetensors file; tensors are read one by one.
type File struct {
	f     *os.File
	path  string
	start int64
	index map[string]entry
}

// maxHeader bounds the header, as the safetensors library does.
const maxHeader = 100 << 20

// sizes of the element types that can be read.
var readable = map[string]int64{"F32": 4, "BF16": 2, "F16": 2, "F64": 8, "I32": 4}

// Open reads the header and checks that every tensor lies inside the file.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &File{f: f, path: path}
	if err := s.readHeader(); err != nil {
		f.Close()
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return s, nil
}

func (s *File) readHeader() error {
	st, err := s.f.Stat()
	if err != nil {
		return err
	}
	var n uint64
	if err := binary.Read(s.f, binary.LittleEndian, &n); err != nil {
		return fmt.Errorf("no safetensors header: %w", err)
	}
	if n > maxHeader || int64(n)+8 > st.Size() {
		return fmt.Errorf("the header claims %d bytes, the file has %d", n, st.Size())
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.f, b); err != nil {
		return err
	}
	return s.parse(b, st.Size())
}

func (s *File) parse(header []byte, size int64) error {
	raw := map[string]json.RawMessage{}
	if err := json.Unmarshal(header, &raw); err != nil {
		return fmt.Errorf("the header is no JSON: %w", err)
	}
	s.start = int64(len(header)) + 8
	s.index = map[string]entry{}
	for name, r := range raw {
		if name == "__metadata__" {
			continue
		}
		var e entry
		if err := json.Unmarshal(r, &e); err != nil {
			return fmt.Errorf("tensor %s: %w", name, err)
		}
		n := int64(1)
		for _, d := range e.Shape {
			if d < 0 || d > 0 && n > math.MaxInt64/16/int64(d) {
				return fmt.Errorf("tensor %s has the shape %v", name, e.Shape)
			}
			n *= int64(d)
		}
		lo, hi := e.Offsets[0], e.Offsets[1]
		if lo < 0 || hi < lo || hi > size-s.start {
			return fmt.Errorf("tensor %s lies outside the file", name)
		}
		if el, ok := readable[e.DType]; ok && hi-lo != n*el {
			return fmt.Errorf("tensor %s of %s %v has %d bytes", name, e.DType, e.Shape, hi-lo)
		}
		s.index[name] = e
	}
	return nil
}

// Names lists the tensors, sorted.
func (s *File) Names() []string {
	names := make([]string, 0, len(s.index))
	for n := range s.index {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Shape gives a tensor's shape.
func (s *File) Shape(name string) (gpu.Shape, bool) {
	e, ok := s.index[name]
	return e.Shape, ok
}

// Raw reads a tensor's bytes and the name of its element type.
func (s *File) Raw(name string) ([]byte, string, error) {
	e, ok := s.index[name]
	if !ok {
		return nil, "", fmt.Errorf("%s has no tensor %s", s.path, name)
	}
	b := make([]byte, e.Offsets[1]-e.Offsets[0])
	if _, err := s.f.ReadAt(b, s.start+e.Offsets[0]); err != nil {
		return nil, "", fmt.Errorf("reading tensor %s of %s: %w", name, s.path, err)
	}
	return b, e.DType, nil
}

// Float32 reads a floating-point tensor; narrower types widen exactly, F64 rounds.
func (s *File) Float32(name string) ([]float32, error) {
	b, dtype, err := s.Raw(name)
	if err != nil {
		return nil, err
	}
	switch dtype {
	case "F32":
		return gpu.BytesFloat32(b, gpu.F32), nil
	case "BF16":
		return gpu.BytesFloat32(b, gpu.BF16), nil
	case "F16":
		v := make([]float32, len(b)/2)
		for i := range v {
			v[i] = half(binary.LittleEndian.Uint16(b[2*i:]))
		}
		return v, nil
	case "F64":
		v := make([]float32, len(b)/8)
		for i := range v {
			v[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:])))
		}
		return v, nil
	}
	return nil, fmt.Errorf("tensor %s of %s is %s, which is not read as floating point", name, s.path, dtype)
}

// half widens an IEEE 754 binary16.
func half(h uint16) float32 {
	sign, e, m := uint32(h>>15)<<31, uint32(h>>10&31), uint32(h&1023)
	switch {
	case e == 31:
		return math.Float32frombits(sign | 0x7f800000 | m<<13)
	case e == 0:
		f := float32(m) / (1 << 24)
		if sign != 0 {
			f = -f
		}
		return f
	}
	return math.Float32frombits(sign | (e+112)<<23 | m<<13)
}

// Close closes the file.
func (s *File) Close() error { return s.f.Close() }

// Folder is the safetensors of a Hugging Face folder: one file, or shards with an index.
type Folder struct {
	files  []*File
	tensor map[string]*File
}

// OpenFolder finds model.safetensors or the shards of model.safetensors.index.json.
func OpenFolder(dir string) (*Folder, error) {
	names := []string{"model.safetensors"}
	index := filepath.Join(dir, "model.safetensors.index.json")
	if b, err := os.ReadFile(index); err == nil {
		var x struct {
			WeightMap map[string]string `json:"weight_map"`
		}
		if err := json.Unmarshal(b, &x); err != nil {
			return nil, fmt.Errorf("reading %s: %w", index, err)
		}
		seen := map[string]bool{}
		names = nil
		for _, f := range x.WeightMap {
			if filepath.Base(f) != f {
				return nil, fmt.Errorf("reading %s: %q is no file name", index, f)
			}
			if !seen[f] {
				seen[f] = true
				names = append(names, f)
			}
		}
		sort.Strings(names)
	}
	d := &Folder{tensor: map[string]*File{}}
	for _, n := range names {
		f, err := Open(filepath.Join(dir, n))
		if err != nil {
			d.Close()
			return nil, err
		}
		d.files = append(d.files, f)
		for name := range f.index {
			d.tensor[name] = f
		}
	}
	return d, nil
}

// Has tells whether the folder holds a tensor.
func (d *Folder) Has(name string) bool { return d.tensor[name] != nil }

// Shape gives a tensor's shape.
func (d *Folder) Shape(name string) (gpu.Shape, bool) {
	if f := d.tensor[name]; f != nil {
		return f.Shape(name)
	}
	return nil, false
}

// Float32 reads a tensor.
func (d *Folder) Float32(name string) ([]float32, error) {
	f := d.tensor[name]
	if f == nil {
		return nil, fmt.Errorf("the checkpoint has no tensor %s", name)
	}
	return f.Float32(name)
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
