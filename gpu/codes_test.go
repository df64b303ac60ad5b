package gpu

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

func TestXX(t *testing.T) {
	for i, d := range []DType{UDynamic8, Dynamic8} {
		b, err := os.ReadFile([]string{"/tmp/map0.json", "/tmp/map1.json"}[i])
		if err != nil {
			t.Fatal(err)
		}
		var want []uint32
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		for j, x := range d.Codes().Values {
			if math.Float32bits(x) != want[j] {
				t.Errorf("%v %d: %v want %v", d, j, x, math.Float32frombits(want[j]))
			}
		}
	}
}

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
