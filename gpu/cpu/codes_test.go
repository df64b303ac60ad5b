package cpu

import (
	"math"
	"testing"

	"stepflow/gpu"
)

// TestCodes: every variant finds the codes of gpu.Codes and reads what they stand for, in blocks with and without a tail.
func TestCodes(t *testing.T) {
	for i := range variants {
		v := &variants[i]
		for _, d := range []gpu.DType{gpu.Dynamic8, gpu.UDynamic8, gpu.Linear8} {
			c := d.Codes()
			for n := 1; n <= gpu.CodeBlock; n += 51 {
				for size := float32(1e-30); size < 1e30; size *= 1e10 {
					x, got, want := make([]float32, n), make([]byte, n), make([]byte, n)
					for j := range x {
						x[j] = size * float32(math.Exp(-float64(j*37%240)/15))
						if j%3 == 1 && c.Zero > 0 {
							x[j] = -x[j]
						}
						if j%20 == 19 {
							x[j] = 0
						}
					}
					scale := v.encode(c, got, x)
					if s := c.Encode(want, x); scale != s {
						t.Errorf("%s: the scale of %d numbers of %v is %g, not %g", v.name, n, d, scale, s)
					}
					for j := range got {
						if got[j] != want[j] {
							t.Fatalf("%s: %g of a block of %g in %v has code %d, not %d", v.name, x[j], scale, d, got[j], want[j])
						}
					}
					back := make([]float32, n)
					v.decode(c, back, got, scale)
					for j, y := range back {
						if w := c.Values[got[j]] * scale; y != w {
							t.Fatalf("%s: code %d of %v is read as %g, not %g", v.name, got[j], d, y, w)
						}
					}
				}
			}
			zeros := make([]byte, 40)
			if s := v.encode(c, zeros, make([]float32, 40)); s != 0 || zeros[0] != c.Zero || zeros[39] != c.Zero {
				t.Errorf("%s: zeros in %v have the scale %g and codes %d", v.name, d, s, zeros[0])
			}
		}
	}
}
