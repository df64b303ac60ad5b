package gpu

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// DType is the element type of a buffer.
type DType uint8

const (
	InvalidDType DType = iota
	F32                // IEEE 754 binary32
	BF16               // bfloat16: binary32 with a 7-bit fraction
	I32                // signed 32-bit integer: token ids, segment ids
	U8                 // a byte: the codes of a quantised tensor in a file

	// Blocks of codes, a byte each, that share a scale; see codes.go.
	Dynamic8
	UDynamic8
	Linear8

	NF4     // matrices in 4 bits an element; see nf4.go
	RowInt8 // matrices in 8 bits an element and a scale a row; see int8.go
)

var dtypes = [...]struct {
	name string
	size int64
}{InvalidDType: {"invalid", 0}, F32: {"f32", 4}, BF16: {"bf16", 2}, I32: {"i32", 4}, U8: {"u8", 1},
	Dynamic8: {"dynamic8", 0}, UDynamic8: {"udynamic8", 0}, Linear8: {"linear8", 0},
	NF4: {"nf4", 0}, RowInt8: {"int8", 0}}

// Size is the number of bytes of one element; 0 where elements share what they take.
func (d DType) Size() int64 { return dtypes[d].size }

func (d DType) String() string { return dtypes[d].name }

// IsFloat reports whether d is a floating-point type.
func (d DType) IsFloat() bool { return d == F32 || d == BF16 }

// Shape lists the extents of a row-major buffer, outermost first.
type Shape []int

// Product multiplies counts. One that an int64 cannot hold is math.MaxInt64.
func Product(counts ...int64) int64 {
	n := uint64(1)
	for _, c := range counts {
		hi, lo := bits.Mul64(n, uint64(c))
		if n = lo; hi != 0 || lo > math.MaxInt64 {
			n = math.MaxInt64
		}
	}
	return int64(n)
}

// Sum adds counts. One that an int64 cannot hold is math.MaxInt64.
func Sum(counts ...int64) (n int64) {
	for _, c := range counts {
		if n += c; n < 0 {
			return math.MaxInt64
		}
	}
	return n
}

// Elems is the number of elements, as Product counts; 1 for an empty shape.
func (s Shape) Elems() int {
	n := int64(1)
	for _, d := range s {
		n = Product(n, int64(d))
	}
	return int(n)
}

// Cols is the last extent: the length of a row.
func (s Shape) Cols() int {
	if len(s) == 0 {
		return 1
	}
	return s[len(s)-1]
}

// Rows is the product of all extents but the last: a buffer seen as a matrix [Rows, Cols].
func (s Shape) Rows() int {
	if s.Cols() == 0 {
		return 0
	}
	return s.Elems() / s.Cols()
}

// Place is the index of element i in each dimension, as text: "[1, 0]".
func (s Shape) Place(i int) string {
	at := make([]string, len(s))
	for d := len(s) - 1; d >= 0; d-- {
		at[d], i = strconv.Itoa(i%s[d]), i/s[d]
	}
	return "[" + strings.Join(at, ", ") + "]"
}

// Equal reports whether two shapes have the same extents.
func (s Shape) Equal(t Shape) bool {
	if len(s) != len(t) {
		return false
	}
	for i := range s {
		if s[i] != t[i] {
			return false
		}
	}
	return true
}

// withCols is s with its last extent replaced.
func (s Shape) withCols(n int) Shape {
	t := append(Shape(nil), s...)
	t[len(t)-1] = n
	return t
}

func (s Shape) String() string {
	parts := make([]string, len(s))
	for i, d := range s {
		parts[i] = fmt.Sprint(d)
	}
	return "[" + strings.Join(parts, ",") + "]"
}

// Type is what a buffer holds: a shape and an element type.
type Type struct {
	Shape Shape
	DType DType
}

// Bytes is the storage a contiguous buffer of this type takes, as Product counts.
func (t Type) Bytes() int64 {
	if t.DType.Quantized() {
		return formats[t.DType].bytes(t.Shape)
	}
	return Product(int64(t.Shape.Elems()), t.DType.Size())
}

// Equal reports whether shape and element type agree.
func (t Type) Equal(u Type) bool { return t.DType == u.DType && t.Shape.Equal(u.Shape) }

func (t Type) String() string { return t.DType.String() + t.Shape.String() }
