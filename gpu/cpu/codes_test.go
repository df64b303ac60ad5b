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
			c := codesOf[d]
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
					scales := []float32{v.absMax(x)}
					v.encode(c, got, x, scales)
					scale := scales[0]
					if s := c.Encode(want, x); scale != s {
						t.Errorf("%s: the scale of %d numbers of %v is %g, not %g", v.name, n, d, scale, s)
					}
					for j := range got {
						if got[j] != want[j] {
							t.Fatalf("%s: %g of a block of %g in %v has code %d, not %d", v.name, x[j], scale, d, got[j], want[j])
						}
					}
					back := make([]float32, n)
					v.decode(c, back, got, scales)
					for j, y := range back {
						if w := c.Values[got[j]] * scale; y != w {
							t.Fatalf("%s: code %d of %v is read as %g, not %g", v.name, got[j], d, y, w)
						}
					}
				}
			}
			zeros := make([]byte, 40)
			none := []float32{0}
			v.encode(c, zeros, make([]float32, 40), none)
			if s := none[0]; s != 0 || zeros[0] != c.Zero || zeros[39] != c.Zero {
				t.Errorf("%s: zeros in %v have the scale %g and codes %d", v.name, d, s, zeros[0])
			}
		}
	}
}

// TestCodesAtBorders: numbers next to where one code ends and another begins, and to powers of two, have the code of gpu.Codes.
func TestCodesAtBorders(t *testing.T) {
	for _, d := range []gpu.DType{gpu.Dynamic8, gpu.UDynamic8, gpu.Linear8} {
		c := codesOf[d]
		var x []float32
		near := func(y float32) {
			for ulp := range 7 {
				if len(x)%gpu.CodeBlock == 0 {
					x = append(x, 1) // the largest of its block
				}
				if z := math.Float32frombits(math.Float32bits(y) + uint32(ulp) - 3); z >= -1 && z <= 1 {
					x = append(x, z)
				}
			}
		}
		for i, y := range c.Values[1:] {
			if between := (c.Values[i] + y) / 2; between != 0 {
				near(between)
			}
		}
		for _, bound := range c.Bounds {
			near(bound)
		}
		for e := 1; e < 40; e++ {
			near(float32(math.Ldexp(1, -e)))
		}
		for i := range variants {
			v := &variants[i]
			codes := make([]byte, len(x))
			for lo := 0; lo < len(x); lo += blockElems { // the blocks of a call
				hi := min(len(x), lo+blockElems)
				ones := []float32{1, 1, 1, 1}
				v.encode(c, codes[lo:hi], x[lo:hi], ones[:blocksOf(hi-lo, gpu.CodeBlock)])
			}
			for j, y := range x {
				if want := c.Of(y); codes[j] != want {
					t.Fatalf("%s: %g (%#x) in %v has code %d, not %d", v.name, y, math.Float32bits(y), d, codes[j], want)
				}
			}
		}
	}
}

// TestDraws: every variant rounds as gpu.ToBF16Stochastic does, numbers of all exponents and of both signs, whatever the
// seed and the first element.
func TestDraws(t *testing.T) {
	x := make([]float32, 4099)
	for i := range x {
		x[i] = math.Float32frombits(uint32(i) * 0x9e3779b1)
	}
	x[7], x[8], x[9] = float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))
	for i := range variants {
		v := &variants[i]
		for _, first := range []int64{0, 5, 1<<30 - 600, 11895787 - 2000, 11895787 - 4096, gpu.DrawsOfM + 7, gpu.DrawsOfV} {
			for _, seed := range []uint32{0, 1, 1<<24 - 1} {
				got := make([]uint16, len(x))
				v.draw(got, x, seed, first)
				for j, y := range x {
					if want := gpu.ToBF16Stochastic(y, seed, first+int64(j)); got[j] != want {
						t.Fatalf("%s: element %d, %#x, is rounded to %#x, not %#x", v.name, first+int64(j), math.Float32bits(y), got[j], want)
					}
				}
			}
		}
	}
}

// TestRandom: every variant makes the elements of gpu.RandomElement, in all parts of a row.
func TestRandom(t *testing.T) {
	for i := range variants {
		v := &variants[i]
		for _, row := range []int{0, 3, 11, 1 << 18} {
			for _, col := range []int{0, 5, 361451 - 500, 1<<20 - 1000} { // in row 11, the states have a carry into bit 30
				got := make([]float32, 999)
				v.random(got, 1<<24-7, row, col, 0.3)
				for j, x := range got {
					if want := 0.3 * gpu.RandomElement(1<<24-7, row, col+j); x != want {
						t.Fatalf("%s: element [%d, %d] is %g, not %g", v.name, row, col+j, x, want)
					}
				}
			}
		}
	}
}
