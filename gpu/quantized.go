package gpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync"
)

// format is how elements are stored that share scales.
type format struct {
	bytes func(s Shape) int64
	// quantize fills to, which is zero, from the elements. Every one of them is finite.
	quantize func(to []byte, v []float32, s Shape)
	// decoder returns what gives elements, which are numbered row by row, from number at on.
	decoder func(from []byte, s Shape) func(to []float32, at int)
}

var formats = map[DType]format{
	NF4:     {nf4Bytes, quantizeNF4, nf4Decoder},
	RowInt8: {int8Bytes, quantizeInt8, int8Decoder},
}

// Stored reports whether d is a format of frozen matrices. They are the right operand of products, which take them apart
// as they read them.
func (d DType) Stored() bool { return d == NF4 || d == RowInt8 }

// NarrowerThan reports whether products whose left operand is of type t take a right operand of d, and multiply by its
// elements rounded to t.
func (d DType) NarrowerThan(t DType) bool {
	return d.Stored() && t.IsFloat() || d == BF16 && t == F32
}

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

// Decode is the inverse of Encode, up to rounding.
func (t Type) Decode(b []byte) []float32 {
	f, ok := formats[t.DType]
	if !ok {
		return BytesFloat32(b, t.DType)
	}
	v, decode := make([]float32, t.Shape.Elems()), f.decoder(b, t.Shape)
	const piece = 1 << 16
	InPieces(len(v), piece, func(lo, hi int) { decode(v[lo:hi], lo) })
	return v
}

// Decoder returns what gives elements of a quantised tensor, which are numbered row by row, from number at on.
func (t Type) Decoder(b []byte) func(to []float32, at int) {
	return formats[t.DType].decoder(b, t.Shape)
}

// Finite returns an error that names the first element that is not finite.
func (t Type) Finite(v []float32) error {
	for i, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("%s is %g, which has no place in %v", t.Shape.Place(i), x, t.DType)
		}
	}
	return nil
}

// InPieces calls f with pieces of [0, n), as many at the same time as there are processors.
func InPieces(n, size int, f func(lo, hi int)) {
	var all sync.WaitGroup
	limit := make(chan struct{}, runtime.GOMAXPROCS(0))
	for lo := 0; lo < n; lo += size {
		limit <- struct{}{}
		all.Go(func() {
			f(lo, min(lo+size, n))
			<-limit
		})
	}
	all.Wait()
}

func float32At(b []byte, i int) float32 {
	return math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
}

func putFloat32(b []byte, i int, x float32) {
	binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
}

// largest is the largest magnitude.
func largest(v []float32) (m float32) {
	for _, x := range v {
		m = max(m, float32(math.Abs(float64(x))))
	}
	return m
}
