package gpu_test

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"stepflow/gpu"
)

// fixture is what tools/parity/quantized_fixture.py writes.
type fixture struct {
	Levels   []byte
	ScaleMap []byte `json:"scale_map"`
	Cases    []struct {
		Shape     gpu.Shape
		NF4, Int8 struct{ Mean, Groups, Scales, Codes, Values []byte }
	}
}

// weights are the numbers that the script makes too.
func weights(s gpu.Shape) []float32 {
	v := make([]float32, s.Elems())
	for i := range v {
		u := float64(uint32(uint64(i)*2654435761+12345))/(1<<32) - 0.5
		v[i] = float32(u * u * u * 8 * float64(1+i/s.Cols()%7))
	}
	if s.Equal(gpu.Shape{3, 128}) {
		clear(v[:70])
	}
	return v
}

func floats(b []byte) []float32 { return gpu.BytesFloat32(b, gpu.F32) }

// Codes and scales are those of bitsandbytes, bit for bit, but for the mean of the scales, which it adds up in another
// order, and for one of 1,000 scales, of which it takes the second nearest value of the map.
func TestQuantizesAsBitsandbytes(t *testing.T) {
	text, err := os.ReadFile("testdata/bitsandbytes.json")
	if err != nil {
		t.Fatal(err)
	}
	var f fixture
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	levels, scales := gpu.NF4Tables()
	for _, m := range []struct {
		name      string
		got, want []float32
	}{{"levels", levels[:], floats(f.Levels)}, {"map of scales", scales[:], floats(f.ScaleMap)}} {
		same(t, nil, m.name, m.got, m.want, 0)
	}
	for _, c := range f.Cases {
		v := weights(c.Shape)
		nf4 := gpu.Type{Shape: c.Shape, DType: gpu.NF4}
		b := nf4.Encode(v)
		for _, part := range []struct {
			name string
			want []byte
			near bool
		}{{"mean", c.NF4.Mean, true}, {"groups", c.NF4.Groups, true}, {"scales", c.NF4.Scales, false}, {"codes", c.NF4.Codes, false}} {
			got := b[:len(part.want)]
			b = b[len(part.want):]
			switch {
			case part.near:
				same(t, c.Shape, part.name, floats(got), floats(part.want), 3e-7)
			case part.name == "scales":
				steps := 0
				for i := range got {
					steps += max(int(got[i])-int(part.want[i]), int(part.want[i])-int(got[i]))
				}
				if steps > 1 {
					t.Errorf("%v: scales are %x, bitsandbytes has %x", c.Shape, got, part.want)
				}
			case string(got) != string(part.want):
				t.Errorf("%v: %s are %x, bitsandbytes has %x", c.Shape, part.name, got, part.want)
			}
		}
		if len(b) != 0 {
			t.Errorf("%v: %d bytes are left over", c.Shape, len(b))
		}
		int8 := gpu.Type{Shape: c.Shape, DType: gpu.RowInt8}
		b = int8.Encode(v)
		if want := string(c.Int8.Scales) + string(c.Int8.Codes); string(b) != want {
			t.Errorf("%v: int8 is %x, bitsandbytes has %x", c.Shape, b, want)
		}
		if c.NF4.Values == nil {
			continue
		}
		same(t, c.Shape, "values", nf4.Decode(nf4.Encode(v)), floats(c.NF4.Values), 3e-7)
		same(t, c.Shape, "values of int8", int8.Decode(b), floats(c.Int8.Values), 0)
	}
}

func same(t *testing.T, s gpu.Shape, what string, got, want []float32, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%v: %d %s, bitsandbytes has %d", s, len(got), what, len(want))
	}
	var most float64
	for _, x := range want {
		most = math.Max(most, math.Abs(float64(x)))
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); d > tol*most {
			t.Errorf("%v: %s[%d] is %g, bitsandbytes has %g", s, what, i, got[i], want[i])
			return
		}
	}
}

// A part of a matrix is the same as that part of all of it, wherever it begins.
func TestDecodesParts(t *testing.T) {
	for _, d := range []gpu.DType{gpu.NF4, gpu.RowInt8, gpu.Dynamic8, gpu.Linear8} {
		x := gpu.Type{Shape: gpu.Shape{5, 67}, DType: d}
		b := x.Encode(weights(x.Shape))
		all := x.Decode(b)
		for at := range all {
			for _, n := range []int{1, 2, 5, 64, 130} {
				part := make([]float32, min(n, len(all)-at))
				x.Decoder(b)(part, at)
				for i, got := range part {
					if got != all[at+i] {
						t.Fatalf("%v: element %d of %d from %d on is %g, not %g", d, i, n, at, got, all[at+i])
					}
				}
			}
		}
	}
}

func TestQuantizedBytes(t *testing.T) {
	for _, c := range []struct {
		t    gpu.Type
		want int64
	}{
		{gpu.Type{Shape: gpu.Shape{4096, 4096}, DType: gpu.NF4}, 4 + 4*1024 + 262144 + 8388608},
		{gpu.Type{Shape: gpu.Shape{3, 3}, DType: gpu.NF4}, 4 + 4 + 1 + 5},
		{gpu.Type{Shape: gpu.Shape{4096, 4096}, DType: gpu.RowInt8}, 4*4096 + 16777216},
	} {
		if got := c.t.Bytes(); got != c.want {
			t.Errorf("%v takes %d bytes, want %d", c.t, got, c.want)
		}
	}
	if n := (gpu.Type{Shape: gpu.Shape{math.MaxInt / 2, 4}, DType: gpu.NF4}).Bytes(); n < math.MaxInt/2 {
		t.Errorf("more elements than can be counted take %d bytes", n)
	}
}

func TestFinite(t *testing.T) {
	x := gpu.Type{Shape: gpu.Shape{2, 2}, DType: gpu.NF4}
	if err := x.Finite([]float32{1, 2, 3, 4}); err != nil {
		t.Error(err)
	}
	err := x.Finite([]float32{1, 2, float32(math.NaN()), 4})
	if err == nil || !strings.Contains(err.Error(), "[1, 0] is NaN") {
		t.Error(err)
	}
}
