package cpu

import "math"

// exp32 is e^x to about 1e-7 relative: x = n ln 2 + r, |r| <= ln 2 / 2, e^r by its Taylor
// polynomial of degree 7, the exponent added in the bits. Below -87 it is 0, above 88 it is +Inf.
func exp32(x float32) float32 {
	if !(x > -87) { // also NaN
		if x != x {
			return x
		}
		return 0
	}
	if x > 88 {
		return float32(math.Inf(1))
	}
	const log2e, ln2hi, ln2lo = 1.4426950408889634, 0.693359375, -2.12194440e-4
	t := x*log2e + 12582912 // 1.5·2^23: rounds to the nearest integer in the low bits
	n := int32(math.Float32bits(t)) - 0x4b400000
	t -= 12582912
	r := x - t*ln2hi
	r -= t * ln2lo
	y := float32(1.0 / 5040)
	y = y*r + 1.0/720
	y = y*r + 1.0/120
	y = y*r + 1.0/24
	y = y*r + 1.0/6
	y = y*r + 0.5
	y = y*r + 1
	y = y*r + 1
	return math.Float32frombits(math.Float32bits(y) + uint32(n)<<23)
}
