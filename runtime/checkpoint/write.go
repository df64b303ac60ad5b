package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sort"

	"stepflow/gpu"
)

// Tensor is one tensor to write: Data gives its bytes, little-endian, when its turn comes, or Stream writes them a piece at a
// time. One that is quantised is written as the bytes it takes.
type Tensor struct {
	Name   string
	Shape  gpu.Shape
	DType  gpu.DType
	Data   func() ([]byte, error)
	Stream func(io.Writer) error // nil for Data
	Rank   int                   // that writes it; see WriteTogether
}

// Bytes returns the bytes that the tensor takes.
func (t Tensor) Bytes() int64 { return gpu.Type{Shape: t.Shape, DType: t.DType}.Bytes() }

// writeTensors writes a safetensors file: its header, then the tensors in order of names. It holds one tensor in memory at a
// time, or less of one that is streamed.
func writeTensors(w io.Writer, tensors []Tensor) error {
	list, header, err := layout(tensors)
	if err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range list {
		if err := t.write(w); err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
	}
	return nil
}

// write writes the tensor's bytes.
func (t Tensor) write(w io.Writer) error {
	if t.Stream != nil {
		var n counter
		if err := t.Stream(io.MultiWriter(w, &n)); err != nil {
			return err
		}
		return t.whole(int64(n))
	}
	data, err := t.Data()
	if err == nil {
		err = t.whole(int64(len(data)))
	}
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// whole returns an error unless n are all bytes of the tensor.
func (t Tensor) whole(n int64) error {
	if n != t.Bytes() {
		return fmt.Errorf("it has %d bytes, its shape wants %d", n, t.Bytes())
	}
	return nil
}

// layout returns tensors in the order of a safetensors file, and what begins the file: an 8-byte header length, and the
// header as JSON padded with spaces to 8 bytes.
func layout(tensors []Tensor) (list []Tensor, header []byte, err error) {
	list = append(list, tensors...)
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	entries := map[string]any{"__metadata__": map[string]string{"format": "pt"}}
	var at int64
	for _, t := range list {
		if _, dup := entries[t.Name]; dup {
			return nil, nil, fmt.Errorf("two tensors named %s", t.Name)
		}
		shape := []int(t.Shape)
		if shape == nil {
			shape = []int{}
		}
		name := dtypeNames[t.DType]
		if t.DType.Quantized() {
			name, shape = "U8", []int{int(t.Bytes())}
		}
		entries[t.Name] = entry{name, shape, [2]int64{at, at + t.Bytes()}}
		at += t.Bytes()
	}
	b, err := json.Marshal(entries)
	if err != nil {
		return nil, nil, err
	}
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	return list, append(binary.LittleEndian.AppendUint64(nil, uint64(len(b))), b...), nil
}

// TensorsSize returns the bytes of the file that Tensors writes. It reads no tensor.
func TensorsSize(tensors []Tensor) int64 {
	list, header, err := layout(tensors)
	if err != nil { // writing says so
		return 0
	}
	n := int64(len(header))
	for _, t := range list {
		n = gpu.Sum(n, t.Bytes())
	}
	return n
}
