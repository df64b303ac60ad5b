package gpu

import (
	"encoding/binary"
	"math"
)

// format is how elements are stored that share scales.
type format struct {
	bytes func(s Shape) int64
	// quantize fills to, which is zero, from the elements. Every one of them is finite.
	quantize func(to []byte, v []float32, s Shape)
	// dequantize gives the elements from number at on.
	dequantize func(to []float32, from []byte, s Shape, at int)
}

var formats = map[DType]format{}

// Quantized reports whether elements of d share scales. Then they have no size and no address of their own.
func (d DType) Quantized() bool {
	_, ok := formats[d]
	return ok
}

// Encode gives the bytes of the elements of t, rounded to nearest or quantised. Elements to quantise are finite.
func (t Type) Encode(v []float32) []byte {
	f, ok := formats[t.DType]
	if !ok {
		return Float32Bytes(v, t.DType)
	}
	b := make([]byte, t.Bytes())
	f.quantize(b, v, t.Shape)
	return b
}

// Decode is the inverse of Encode, but for what that rounded.
func (t Type) Decode(b []byte) []float32 {
	f, ok := formats[t.DType]
	if !ok {
		return BytesFloat32(b, t.DType)
	}
	v := make([]float32, t.Shape.Elems())
	f.dequantize(v, b, t.Shape, 0)
	return v
}

func float32At(b []byte, i int) float32 {
	return math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
}

func putFloat32(b []byte, i int, x float32) {
	binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
}
