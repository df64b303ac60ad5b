// Package checkpoint stores tensors and what belongs to them: safetensors files, and folders whose
// manifest, written last, holds a hash of every file.
package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sort"

	"stepflow/foreign"
	"stepflow/gpu"
)

type entry struct {
	DType   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// size is how many bytes a tensor has.
func (e entry) size() int64 { return e.Offsets[1] - e.Offsets[0] }

var dtypeNames = map[gpu.DType]string{gpu.F32: "F32", gpu.BF16: "BF16", gpu.I32: "I32", gpu.U8: "U8"}

// File is an opened safetensors file; tensors are read one by one.
type File struct {
	f     *os.File
	path  string
	start int64
	index map[string]entry
}

// maxHeader bounds the header in bytes, as the safetensors library does.
const maxHeader = 100_000_000

// bits of an element of each type that the format knows. Those that Float32 reads, I32 and U8 are of use to us.
var elementBits = map[string]int64{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8,
	"F8_E4M3": 8, "F8_E8M0": 8,
	"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
	"C64": 64, "F64": 64, "I64": 64, "U64": 64}

// Open reads the header and checks it as the safetensors library does: the tensors' bytes follow one another, without
// gaps and overlaps, and fill the file, and each tensor has the bytes that its shape and type want.
func Open(path string) (*File, error) {
	f, err := foreign.Open(path)
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
	if string(binary.LittleEndian.AppendUint64(nil, n)) == "version " {
		return errors.New("it is a pointer of Git LFS, not the file: run git lfs pull in its folder")
	}
	if n > maxHeader {
		return fmt.Errorf("the header claims %d bytes; a safetensors header has at most %d", n, maxHeader)
	}
	if int64(n)+8 > st.Size() {
		return fmt.Errorf("the header claims %d bytes, the file has %d", n, st.Size())
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.f, b); err != nil {
		return err
	}
	return s.parse(b, st.Size())
}

func (s *File) parse(header []byte, size int64) error {
	if len(header) == 0 || header[0] != '{' {
		return errors.New("no safetensors header: it does not begin with {")
	}
	fields, err := foreign.Object(header)
	if err != nil {
		return fmt.Errorf("the header: %w", err)
	}
	s.start = int64(len(header)) + 8
	s.index = make(map[string]entry, len(fields))
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		if f.Name == "__metadata__" {
			var m map[string]*string
			err := json.Unmarshal(f.Value, &m)
			for _, v := range m {
				if v == nil {
					err = errors.New("a value is null")
				}
			}
			if err != nil {
				return fmt.Errorf("the header: __metadata__ maps strings to strings: %w", err)
			}
			continue
		}
		e, err := parseEntry(f.Value)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", foreign.Shown(f.Name), err)
		}
		s.index[f.Name] = e
		names = append(names, f.Name)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := s.index[names[i]].Offsets, s.index[names[j]].Offsets
		return a[0] < b[0] || a[0] == b[0] && a[1] < b[1]
	})
	at, before := int64(0), ""
	for _, n := range names {
		switch lo := s.index[n].Offsets[0]; {
		case lo < at:
			return fmt.Errorf("tensor %s begins at byte %d, inside tensor %s", foreign.Shown(n), lo, foreign.Shown(before))
		case lo > at:
			return fmt.Errorf("tensor %s begins at byte %d, and no tensor owns bytes %d to %d", foreign.Shown(n), lo, at, lo-1)
		}
		at, before = s.index[n].Offsets[1], n
	}
	switch rest := size - s.start; {
	case at > rest:
		return fmt.Errorf("tensor %s ends at byte %d of the %d after the header: the file is cut short",
			foreign.Shown(before), at, rest)
	case at < rest:
		return fmt.Errorf("no tensor owns the last %d bytes", rest-at)
	}
	return nil
}

// parseEntry reads what the header says of a tensor: its type, shape and bytes, which have to agree.
func parseEntry(b []byte) (e entry, err error) {
	fields, err := foreign.Object(b)
	if err != nil {
		return e, err
	}
	raw := map[string]json.RawMessage{}
	for _, f := range fields {
		raw[f.Name] = f.Value
	}
	if err := json.Unmarshal(raw["dtype"], &e.DType); err != nil || e.DType == "" {
		return e, fmt.Errorf("it has no dtype: %s", foreign.Shown(string(raw["dtype"])))
	}
	bits, known := elementBits[e.DType]
	if !known {
		return e, fmt.Errorf("the dtype %q is not known", e.DType)
	}
	shape, err := naturals(raw["shape"])
	if err != nil {
		return e, fmt.Errorf("its shape: %w", err)
	}
	e.Shape = make([]int, len(shape))
	n := int64(1)
	for i, d := range shape { // the product is checked before any zero can hide that it overflows
		if d > 0 && n > math.MaxInt64/64/d {
			return e, fmt.Errorf("the shape %v has more elements than any file", shape)
		}
		n *= d
		e.Shape[i] = int(d)
	}
	offsets, err := naturals(raw["data_offsets"])
	if err != nil || len(offsets) != 2 {
		return e, fmt.Errorf("data_offsets are two whole numbers, not %s", foreign.Shown(string(raw["data_offsets"])))
	}
	lo, hi := offsets[0], offsets[1]
	e.Offsets = [2]int64{lo, hi}
	if hi < lo {
		return e, fmt.Errorf("it ends at byte %d, before it begins at %d", hi, lo)
	}
	if n*bits%8 != 0 || hi-lo != n*bits/8 {
		return e, fmt.Errorf("%s %v takes %d bits, its data_offsets hold %d bytes", e.DType, shape, n*bits, hi-lo)
	}
	return e, nil
}

// naturals reads a JSON array of whole numbers of at least 0.
func naturals(b []byte) (list []int64, err error) {
	var all []*int64
	if err := json.Unmarshal(b, &all); err != nil || all == nil {
		return nil, fmt.Errorf("%s is not a list of whole numbers", foreign.ShownStart(string(b), 100))
	}
	for _, x := range all {
		if x == nil || *x < 0 {
			return nil, fmt.Errorf("%s is not a list of whole numbers of at least 0", foreign.ShownStart(string(b), 100))
		}
		list = append(list, *x)
	}
	return list, nil
}

// Path is the file's.
func (s *File) Path() string { return s.path }

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

// DType is the format's name of a tensor's element type, such as "BF16"; empty if there is no such tensor.
func (s *File) DType(name string) string { return s.index[name].DType }

// Close closes the file.
func (s *File) Close() error { return s.f.Close() }
