package gguf

import (
	"bytes"
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"stepflow/gpu"
)

// given makes the rows of a tensor.
func given(width int, x ...float32) func(first, n int) ([]float32, error) {
	return func(first, n int) ([]float32, error) { return x[first*width : (first+n)*width], nil }
}

// TestFile compares a small file with one that was written out by hand from the description of the format.
func TestFile(t *testing.T) {
	f := &File{
		Metadata: []KV{{"a", "hi"}, {"n", uint32(7)}, {"f", float32(1)}, {"b", true}, {"s", []string{"x", ""}},
			{"i", []int32{-1}}, {"g", []float32{0.5}}},
		Tensors: []Tensor{
			{"w", gpu.Shape{2, 3}, F16, given(3, 1, -2, 65504, 0, 0.5, 6.1035156e-05)},
			{"v", gpu.Shape{2}, F32, given(2, 1, -1)},
		},
	}
	want := strings.Join([]string{
		"47475546", "03000000", // GGUF, version 3
		"0200000000000000", "0700000000000000", // 2 tensors, 7 keys
		"0100000000000000", "61", "08000000", "0200000000000000", "6869", // a: a string, hi
		"0100000000000000", "6e", "04000000", "07000000", // n: uint32
		"0100000000000000", "66", "06000000", "0000803f", // f: float32
		"0100000000000000", "62", "07000000", "01", // b: bool
		"0100000000000000", "73", "09000000", "08000000", "0200000000000000", // s: an array of 2 strings
		"0100000000000000", "78", "0000000000000000",
		"0100000000000000", "69", "09000000", "05000000", "0100000000000000", "ffffffff", // i: of int32
		"0100000000000000", "67", "09000000", "06000000", "0100000000000000", "0000003f", // g: of float32
		// w: 2 extents, that of a row first; F16; at byte 0 of the data
		"0100000000000000", "77", "02000000", "0300000000000000", "0200000000000000", "01000000", "0000000000000000",
		// v: 1 extent; F32; at byte 32
		"0100000000000000", "76", "01000000", "0200000000000000", "00000000", "2000000000000000",
	}, "")
	head := len(want) / 2
	want += strings.Repeat("00", (32-head%32)%32)
	want += "003c" + "00c0" + "ff7b" + "0000" + "0038" + "0004" + strings.Repeat("00", 20)
	want += "0000803f" + "000080bf" + strings.Repeat("00", 24)
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b.Bytes()); got != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	if n, err := f.Size(); err != nil || n != int64(b.Len()) {
		t.Errorf("Size says %d (%v), the file has %d", n, err, b.Len())
	}
}

// TestQ8 is a block by hand: max|x| = 127, so the scale is 1, and halves are rounded away from zero.
func TestQ8(t *testing.T) {
	x := make([]float32, 64)
	copy(x, []float32{127, -127, 0.5, -0.5, 1.49, -2.5})
	x[32] = -2 * 127 // the second block's scale is 2
	x[33] = 3
	b, err := Q8_0.encode(nil, x)
	if err != nil {
		t.Fatal(err)
	}
	want := "003c" + "7f81" + "01ff" + "01fd" + strings.Repeat("00", 26) + // 1.0, then 127 -127 1 -1 1 -3
		"0040" + "8102" + strings.Repeat("00", 30) // 2.0, then -127 2
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if b, err := Q8_0.encode(nil, make([]float32, 32)); err != nil || !bytes.Equal(b, make([]byte, 34)) {
		t.Errorf("zeros give %x, %v", b, err)
	}
}

// TestF16 rounds every F16 number, and what lies a little beside the middle between two, to itself.
func TestF16(t *testing.T) {
	value := func(h uint16) float64 {
		e, m := int(h>>10&31), float64(h&1023)
		if e == 0 {
			return math.Ldexp(m, -24)
		}
		return math.Ldexp(1024+m, e-25)
	}
	for h := range uint16(infF16) {
		x, next := value(h), value(h+1)
		if h == 0x7bff {
			next = 65536
		}
		middle := float32((x + next) / 2)
		even := h + h&1
		for v, want := range map[float32]uint16{float32(x): h, math.Nextafter32(middle, 0): h, middle: even,
			math.Nextafter32(middle, 1e9): h + 1} {
			if got := toF16(v); got != want {
				t.Fatalf("%g becomes %#x, not %#x", v, got, want)
			}
			if got := toF16(-v); got != want|0x8000 {
				t.Fatalf("%g becomes %#x, not %#x", -v, got, want|0x8000)
			}
		}
	}
	if h := toF16(float32(math.NaN())); h&infF16 != infF16 || h&0x3ff == 0 {
		t.Errorf("NaN becomes %#x", h)
	}
}

// TestRefused: what would be lost or would make a file that nobody reads.
func TestRefused(t *testing.T) {
	inf := float32(math.Inf(1))
	for want, f := range map[string]File{
		"beyond F16":                  {Tensors: []Tensor{{"w", gpu.Shape{1}, F16, given(1, 65520)}}},
		"cannot be rounded":           {Tensors: []Tensor{{"w", gpu.Shape{32}, Q8_0, given(32, append(make([]float32, 31), inf)...)}}},
		"too large for Q8_0":          {Tensors: []Tensor{{"w", gpu.Shape{32}, Q8_0, given(32, append(make([]float32, 31), 1e9)...)}}},
		"not a whole number of block": {Tensors: []Tensor{{"w", gpu.Shape{2, 31}, Q8_0, nil}}},
		"two tensors named w":         {Tensors: []Tensor{{"w", gpu.Shape{1}, F32, nil}, {"w", gpu.Shape{1}, F32, nil}}},
		"there twice":                 {Metadata: []KV{{"a", true}, {"a", false}}},
		"cannot be written":           {Metadata: []KV{{"a", 1}}},
		"have 1 elements, not 2":      {Tensors: []Tensor{{"w", gpu.Shape{2}, F32, func(int, int) ([]float32, error) { return []float32{1}, nil }}}},
	} {
		if err := f.Write(&bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	b, err := F16.encode(nil, []float32{inf, -inf})
	if err != nil || hex.EncodeToString(b) != "007c00fc" {
		t.Errorf("infinities become %x, %v", b, err)
	}
}
