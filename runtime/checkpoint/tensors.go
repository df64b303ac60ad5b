package checkpoint

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"stepflow/gpu"
)

// entry finds a tensor.
func (s *File) entry(name string) (entry, error) {
	e, ok := s.index[name]
	if !ok {
		return e, fmt.Errorf("%s has no tensor %s", s.path, name)
	}
	return e, nil
}

// fill reads bytes of a tensor from byte from on, as many as b takes.
func (s *File) fill(b []byte, name string, e entry, from int64) error {
	if _, err := s.f.ReadAt(b, s.start+e.Offsets[0]+from); err != nil {
		return fmt.Errorf("reading tensor %s of %s: %w", name, s.path, err)
	}
	return nil
}

// Raw reads a tensor's bytes and the name of its element type.
func (s *File) Raw(name string) ([]byte, string, error) {
	e, err := s.entry(name)
	if err != nil {
		return nil, "", err
	}
	b := make([]byte, e.size())
	if err := s.fill(b, name, e, 0); err != nil {
		return nil, "", err
	}
	return b, e.DType, nil
}

// Elements reads n elements of a tensor from element from on, row-major, as Raw reads all.
func (s *File) Elements(name string, from, n int64) ([]byte, string, error) {
	e, err := s.entry(name)
	if err != nil {
		return nil, "", err
	}
	bytes := elementBits[e.DType] / 8
	if size := e.size(); from < 0 || n < 0 || bytes == 0 || from > size/bytes || n > size/bytes-from {
		return nil, "", fmt.Errorf("tensor %s of %s has no %d elements from %d on", name, s.path, n, from)
	}
	b := make([]byte, n*bytes)
	if err := s.fill(b, name, e, from*bytes); err != nil {
		return nil, "", err
	}
	return b, e.DType, nil
}

func (s *File) section(e entry) io.Reader {
	return io.NewSectionReader(s.f, s.start+e.Offsets[0], e.size())
}

// Floating reports whether Float32 reads tensors of an element type.
func Floating(dtype string) bool { return widening[dtype] != nil }

// Pieces reads a tensor's bytes in order, about a MiB at a time, and whole elements; b is f's until it returns. from is the
// element at which b begins.
func (s *File) Pieces(name string, f func(b []byte, from int) error) error {
	e, err := s.entry(name)
	if err != nil {
		return err
	}
	const piece = 1 << 20 // a multiple of the bytes of all elements that take whole ones
	size := max(1, int(elementBits[e.DType]/8))
	buffer := make([]byte, min(piece, e.size()))
	for at := int64(0); at < e.size(); at += int64(len(buffer)) {
		b := buffer[:min(int64(len(buffer)), e.size()-at)]
		if err := s.fill(b, name, e, at); err != nil {
			return err
		}
		if err := f(b, int(at)/size); err != nil {
			return err
		}
	}
	return nil
}

// Float32 reads a floating-point tensor; narrower types widen exactly, F64 rounds. A number beyond Float32's is an
// error. Beside the numbers, it takes the memory of a piece.
func (s *File) Float32(name string) ([]float32, error) {
	e, err := s.entry(name)
	if err != nil {
		return nil, err
	}
	widen := widening[e.DType]
	if widen == nil {
		return nil, fmt.Errorf("tensor %s of %s is %s, which is not read as floating point", name, s.path, e.DType)
	}
	v := make([]float32, e.size()*8/elementBits[e.DType])
	err = s.Pieces(name, func(b []byte, from int) error {
		if i, x := widen(v[from:], b); i >= 0 {
			return fmt.Errorf("tensor %s of %s holds %g at %s, which is too large for float32", name, s.path, x,
				gpu.Shape(e.Shape).Place(from+i))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

// widening reads elements of a type. It returns the first that is too large for float32, and its place; -1 for none.
var widening = map[string]func(v []float32, b []byte) (place int, x float64){
	"F32": func(v []float32, b []byte) (int, float64) {
		for i := range len(b) / 4 {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		return -1, 0
	},
	"BF16": func(v []float32, b []byte) (int, float64) {
		for i := range len(b) / 2 {
			v[i] = gpu.FromBF16(binary.LittleEndian.Uint16(b[2*i:]))
		}
		return -1, 0
	},
	"F16": func(v []float32, b []byte) (int, float64) {
		for i := range len(b) / 2 {
			v[i] = half(binary.LittleEndian.Uint16(b[2*i:]))
		}
		return -1, 0
	},
	"F64": func(v []float32, b []byte) (int, float64) {
		for i := range len(b) / 8 {
			x := math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
			if v[i] = float32(x); math.IsInf(float64(v[i]), 0) && !math.IsInf(x, 0) {
				return i, x
			}
		}
		return -1, 0
	},
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
