package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"stepflow/gpu"
)

// Type is the type of a tensor's elements, by its number in ggml.
type Type uint32

// The types that are written.
const (
	F32  Type = 0
	F16  Type = 1
	Q8_0 Type = 8 // blocks of 32 numbers: a scale in F16 and a signed byte each
	BF16 Type = 30
)

func (t Type) String() string {
	return map[Type]string{F32: "F32", F16: "F16", Q8_0: "Q8_0", BF16: "BF16"}[t]
}

// blockQ8 is how many numbers of Q8_0 share a scale.
const blockQ8 = 32

// block is how many numbers are written together: a row is a whole number of them.
func (t Type) block() int {
	if t == Q8_0 {
		return blockQ8
	}
	return 1
}

// Takes reports whether rows of n numbers can be of the type.
func (t Type) Takes(n int) bool { return n%t.block() == 0 }

// Bytes is what n numbers take; of Q8_0, n is a multiple of 32.
func (t Type) Bytes(n int64) int64 {
	switch t {
	case F32:
		return 4 * n
	case Q8_0:
		return n / blockQ8 * (2 + blockQ8)
	}
	return 2 * n
}

// encode appends numbers, of Q8_0 a multiple of 32.
func (t Type) encode(b []byte, x []float32) ([]byte, error) {
	switch t {
	case F32:
		for _, v := range x {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
	case F16:
		for _, v := range x {
			h := toF16(v)
			if h&0x7fff == infF16 && !math.IsInf(float64(v), 0) {
				return nil, fmt.Errorf("%g is beyond F16, which ends at 65504: choose bf16 or f32", v)
			}
			b = binary.LittleEndian.AppendUint16(b, h)
		}
	case BF16:
		for _, v := range x {
			b = binary.LittleEndian.AppendUint16(b, gpu.ToBF16(v))
		}
	case Q8_0:
		for ; len(x) >= blockQ8; x = x[blockQ8:] {
			var err error
			if b, err = appendQ8(b, x[:blockQ8]); err != nil {
				return nil, err
			}
		}
	default:
		return nil, fmt.Errorf("tensors of type %d are not written", t)
	}
	return b, nil
}

// appendQ8 appends a block: d = max|x|/127 in F16, and x/d rounded to the nearest whole number, halves away from zero, as
// quantize_row_q8_0_ref of ggml does.
func appendQ8(b []byte, x []float32) ([]byte, error) {
	var most float32
	for _, v := range x {
		if v != v || math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("%g cannot be rounded to Q8_0: choose f16, bf16 or f32", v)
		}
		most = max(most, float32(math.Abs(float64(v))))
	}
	d, inverse := most/127, float32(0)
	if d > 1/math.MaxFloat32 { // of smaller ones the inverse is infinite, and the scale is 0 in F16
		inverse = 1 / d
	}
	scale := toF16(d)
	if scale&0x7fff == infF16 {
		return nil, fmt.Errorf("%g is too large for Q8_0: choose bf16 or f32", most)
	}
	b = binary.LittleEndian.AppendUint16(b, scale)
	for _, v := range x {
		b = append(b, byte(int8(math.Round(float64(v*inverse)))))
	}
	return b, nil
}

// infF16 is infinity in F16.
const infF16 = 0x7c00

// toF16 rounds to IEEE 754 binary16, to nearest, ties to even.
func toF16(x float32) uint16 {
	u := math.Float32bits(x)
	sign := uint16(u >> 16 & 0x8000)
	switch u &= 0x7fffffff; {
	case u > 0x7f800000: // NaN
		return sign | infF16 | 0x200 | uint16(u>>13&0x3ff)
	case u >= 0x47800000: // 2^16
		return sign | infF16
	case u < 0x38800000: // below 2^-14: a whole number of 2^-24
		n := math.RoundToEven(float64(math.Float32frombits(u)) * (1 << 24))
		return sign | uint16(n)
	}
	u += 0xfff + u>>13&1 // may carry into the exponent, up to infinity
	return sign | uint16((u-0x38000000)>>13)
}
