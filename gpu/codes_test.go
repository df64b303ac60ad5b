package gpu

import (
	"math"
	"slices"
	"testing"
)

// TestNearestCode: the code of a number stands for what is nearest to it, but for rounding where two are as near.
func TestNearestCode(t *testing.T) {
	for d, c := range codes {
		check := func(x float32) {
			t.Helper()
			code := c.Of(x)
			near := math.Inf(1)
			for _, v := range c.Values {
				near = min(near, math.Abs(float64(v)-float64(x)))
			}
			if got := math.Abs(float64(c.Values[code]) - float64(x)); got > near*(1+1e-4) {
				t.Errorf("%v: the code of %g is %d, which is %g from it, and the nearest is %g", d, x, code, got, near)
			}
		}
		for i, v := range c.Values {
			if got := c.Of(v); got != uint8(i) && !(d == Linear8 && i == 0 && got == 1) {
				t.Errorf("%v: %g, which code %d stands for, becomes %d", d, v, i, got)
			}
			if i > 0 {
				middle := (float64(c.Values[i-1]) + float64(v)) / 2
				for _, near := range []float64{1 - 1e-5, 1, 1 + 1e-5} {
					check(float32(middle * near))
				}
			}
		}
		for i := range 2000 {
			x := float32(math.Exp(-float64(i) / 100))
			check(x)
			if c.Zero > 0 {
				check(-x)
			}
		}
	}
}

// TestCodesKeepAndLose: what is read of codes is what was written, to half of what lies between two of them, and blocks of
// zeros and of numbers too small for a scale are the code of zero.
func TestCodesKeepAndLose(t *testing.T) {
	const n = 600
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(math.Sin(float64(i)) * math.Pow(10, -float64(i%4)))
	}
	clear(v[512:]) // the last block
	v[513] = 0x1p-127
	for _, d := range []DType{Dynamic8, Linear8} {
		x := Type{Shape{n}, d}
		if want := int64(n + 3*4); x.Bytes() != want {
			t.Errorf("%v takes %d bytes, not %d", x, x.Bytes(), want)
		}
		b := x.Encode(v)
		for i, y := range x.Decode(b) {
			if diff := math.Abs(float64(y - v[i])); diff > 0.0075 {
				t.Errorf("%v: %g became %g", d, v[i], y)
			}
		}
		for i, code := range b[512:n] {
			if code != d.Codes().Zero {
				t.Errorf("%v: element %d of a block of zeros has code %d", d, 512+i, code)
			}
		}
		if err := x.CheckScales(b); err != nil {
			t.Error(err)
		}
		for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), -1} {
			putFloat32(b[ScalesAt(n):], 1, bad)
			if err := x.CheckScales(b); err == nil {
				t.Errorf("a scale of %g is taken", bad)
			}
		}
	}
}

func TestWithin(t *testing.T) {
	var got []int
	Shape{3, 5}.In(Shape{4, 8}).Runs(3, 12, func(at, in, n int) { got = append(got, at, in, n) })
	if want := []int{3, 3, 2, 5, 8, 5, 10, 16, 2}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
