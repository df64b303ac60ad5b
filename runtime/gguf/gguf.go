// Package gguf writes GGUF files, version 3, the format that llama.cpp reads: a header with typed metadata and the names,
// shapes and places of tensors, and then their bytes, of which some rows are in memory at a time.
//
// The format is described in https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"stepflow/gpu"
)

// magic and version begin a file.
const (
	magic   = "GGUF"
	version = 3
)

// alignment is what the bytes of every tensor begin at a multiple of; readers assume it where the metadata do not say otherwise.
const alignment = 32

// KV is a key of the metadata with its value: a string, bool, uint32, float32, []string, []int32 or []float32.
type KV struct {
	Key   string
	Value any
}

// The format's numbers of types of values.
const (
	typeUint32  = 4
	typeInt32   = 5
	typeFloat32 = 6
	typeBool    = 7
	typeString  = 8
	typeArray   = 9
)

// Tensor is a tensor to write. Rows gives n of its rows from row first on, when their turn comes.
type Tensor struct {
	Name  string
	Shape gpu.Shape // the last extent is that of a row, as in safetensors
	Type  Type
	Rows  func(first, n int) ([]float32, error)
}

// Bytes is what a tensor takes without the padding behind it.
func (t Tensor) Bytes() int64 { return t.Type.Bytes(int64(t.Shape.Elems())) }

// File is the content of a file.
type File struct {
	Metadata []KV
	Tensors  []Tensor
}

// Size returns the bytes of the file.
func (f *File) Size() (int64, error) {
	head, err := f.header()
	return int64(len(head)) + f.TensorBytes(), err
}

// TensorBytes returns the bytes of the tensors, with the padding between them.
func (f *File) TensorBytes() (n int64) {
	for _, t := range f.Tensors {
		n = padded(n + t.Bytes())
	}
	return n
}

// Write writes the file.
func (f *File) Write(w io.Writer) error {
	head, err := f.header()
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, t := range f.Tensors {
		if err := t.write(w); err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
		if _, err := w.Write(make([]byte, padded(t.Bytes())-t.Bytes())); err != nil {
			return err
		}
	}
	return nil
}

// room is about how many elements are in memory at a time.
const room = 1 << 20

// write writes the tensor's bytes, some rows at a time.
func (t Tensor) write(w io.Writer) error {
	width := t.Shape[len(t.Shape)-1]
	var b []byte
	for at, rows := 0, t.Shape.Elems()/width; at < rows; {
		n := min(rows-at, max(1, room/width))
		data, err := t.Rows(at, n)
		if err != nil {
			return err
		}
		if len(data) != n*width {
			return fmt.Errorf("%d rows from row %d have %d elements, not %d", n, at, len(data), n*width)
		}
		if b, err = t.Type.encode(b[:0], data); err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// header is the file up to the first tensor.
func (f *File) header() ([]byte, error) {
	b := append([]byte(magic), 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[4:], version)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(f.Tensors)))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(f.Metadata)))
	seen := map[string]bool{}
	for _, kv := range f.Metadata {
		if seen[kv.Key] {
			return nil, fmt.Errorf("the key %s is there twice", kv.Key)
		}
		seen[kv.Key] = true
		var err error
		if b, err = appendValue(appendString(b, kv.Key), kv.Value); err != nil {
			return nil, fmt.Errorf("key %s: %w", kv.Key, err)
		}
	}
	clear(seen)
	var at int64
	for _, t := range f.Tensors {
		if seen[t.Name] {
			return nil, fmt.Errorf("two tensors named %s", t.Name)
		}
		seen[t.Name] = true
		if n := len(t.Shape); n == 0 || !t.Type.Takes(t.Shape[n-1]) {
			return nil, fmt.Errorf("tensor %s: its rows are not a whole number of blocks of %d", t.Name, t.Type.block())
		}
		b = appendString(b, t.Name)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(t.Shape)))
		for i := range t.Shape { // the extent of a row comes first
			b = binary.LittleEndian.AppendUint64(b, uint64(t.Shape[len(t.Shape)-1-i]))
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(t.Type))
		b = binary.LittleEndian.AppendUint64(b, uint64(at))
		at = padded(at + t.Bytes())
	}
	return append(b, make([]byte, padded(int64(len(b)))-int64(len(b)))...), nil
}

func padded(n int64) int64 { return (n + alignment - 1) / alignment * alignment }

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends a value after the number of its type.
func appendValue(b []byte, v any) ([]byte, error) {
	word := binary.LittleEndian.AppendUint32
	array := func(of uint32, n int) {
		b = word(word(b, typeArray), of)
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	switch v := v.(type) {
	case string:
		return appendString(word(b, typeString), v), nil
	case bool:
		if b = word(b, typeBool); v {
			return append(b, 1), nil
		}
		return append(b, 0), nil
	case uint32:
		return word(word(b, typeUint32), v), nil
	case float32:
		return word(word(b, typeFloat32), math.Float32bits(v)), nil
	case []string:
		array(typeString, len(v))
		for _, s := range v {
			b = appendString(b, s)
		}
		return b, nil
	case []int32:
		array(typeInt32, len(v))
		for _, x := range v {
			b = word(b, uint32(x))
		}
		return b, nil
	case []float32:
		array(typeFloat32, len(v))
		for _, x := range v {
			b = word(b, math.Float32bits(x))
		}
		return b, nil
	}
	return nil, fmt.Errorf("a %T cannot be written", v)
}
