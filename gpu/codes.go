package gpu

import (
	"fmt"
	"math"
	"slices"
)

// A tensor of Dynamic8, UDynamic8 or Linear8 is a byte an element and a scale for each CodeBlock elements that follow
// one another, row by row, the last fewer: an element is what its code stands for, times its block's scale, which is
// the largest magnitude in the block (Dettmers et al. 2022, 8-bit Optimizers via Block-wise Quantization, arXiv
// 2110.02861).
//
//	[elements] bytes: codes; up to a multiple of 4 zeros; [elements/256] f32: scales

// CodeBlock is the number of elements that share a scale, as in bitsandbytes and torchao.
const CodeBlock = 256

// LeastScale is the least scale. A block of no larger magnitude has the scale 0: the inverse of less is not finite.
const LeastScale = 0x1p-126

// Codes are what the 256 codes of an element type stand for, as fractions of the scale in ascending order, and how the
// nearest one is found.
//
// The magnitudes lie in classes within which they are equally far apart, so that a number x is found without a search:
// its class i is the number of Bounds that |x| is not below, and its magnitude's number min(Slope[i] |x| + Offset[i],
// Most[i]), cut off to a whole number. Every device computes just that in fp32, each operation rounded.
type Codes struct {
	Values              [256]float32
	Zero                uint8 // the code of 0; of a magnitude's number k, the code is Zero + k, or Zero - k but at least 0
	Bounds              [7]float32
	Slope, Offset, Most [8]float32
}

// codes holds the Codes of each element type that has them.
var codes = map[DType]*Codes{
	// The dynamic map with a sign and without: seven decades of 10⁻⁷ to 1, each with twice as many magnitudes as the one
	// below, and 0 and 1.
	Dynamic8: dynamic(1, 127), UDynamic8: dynamic(2, 0),
	// Multiples of 1/127: linear quantisation.
	Linear8: linear(),
}

func init() {
	for d, c := range codes {
		formats[d] = format{codeBytes, c.quantize, c.decoder}
	}
}

// Codes are those of an element type that stores blocks of codes; nil for any other.
func (d DType) Codes() *Codes { return codes[d] }

// ScalesAt is the byte at which the scales of n elements begin.
func ScalesAt(n int) int { return int(Align(int64(n), 4)) }

func codeBytes(s Shape) int64 {
	n := s.Elems()
	return Sum(Align(int64(n), 4), Product(4, blocks(n, CodeBlock)))
}

// dynamic is the map whose lowest decade has so many magnitudes, made as bitsandbytes' create_dynamic_map makes it with
// torch.linspace in fp32.
func dynamic(lowest int, zero uint8) *Codes {
	c := &Codes{Zero: zero}
	magnitudes := []float32{0}
	var last float64
	for i := range 7 {
		n, decade := lowest<<i, math.Pow10(i-6)
		step := float64(float32(1-float32(0.1)) / float32(n))
		bound := func(j int) float32 { // a product and a sum, rounded once
			if j < (n+1)/2 {
				return float32(float64(float32(0.1)) + step*float64(j))
			}
			return float32(1 - step*float64(n-j))
		}
		for j := range n {
			magnitudes = append(magnitudes, float32(decade)*float32(float32(bound(j)+bound(j+1))/2))
		}
		// Between magnitude j-1 and j of the decade is 0.1 + 0.9 j/n of it.
		first := len(magnitudes) - n
		c.Slope[i] = float32(float64(n) / 0.9 / decade)
		c.Offset[i] = float32(float64(first) - float64(n)/9)
		c.Most[i] = float32(len(magnitudes)) - 0.5
		lo := decade * (0.1 + 0.45/float64(n))
		if i > 0 {
			c.Bounds[i-1] = float32((last + lo) / 2)
		}
		last = decade * (1 - 0.45/float64(n))
	}
	// The lowest class has 0 too: half of the first magnitude, and the middle of it and the second, are its borders.
	half, next := float64(magnitudes[1])/2, 0.1e-6+0.9e-6/float64(lowest)
	c.Slope[0] = float32(1 / (next - half))
	c.Offset[0] = float32(1 - half/(next-half))
	c.Bounds[6] = float32((last + 1) / 2)
	c.Offset[7], c.Most[7] = float32(len(magnitudes)), float32(len(magnitudes))
	magnitudes = append(magnitudes, 1)
	values := slices.Clone(magnitudes)
	for _, x := range magnitudes[1 : 1+int(zero)] {
		values = append(values, -x)
	}
	slices.Sort(values)
	copy(c.Values[:], values)
	return c
}

func linear() *Codes {
	c := &Codes{Zero: 128, Slope: [8]float32{127}, Offset: [8]float32{0.5}, Most: [8]float32{127}}
	for i := range c.Bounds { // no magnitude is as large
		c.Bounds[i] = 2
	}
	for i := range c.Values { // code 0 stands for what 1 does, and is never written
		c.Values[i] = float32(max(i-128, -127)) / 127
	}
	return c
}

// Of is the code nearest to x, a number from -1 to 1.
func (c *Codes) Of(x float32) uint8 {
	a := math.Float32frombits(math.Float32bits(x) &^ (1 << 31))
	i := 0 // how many bounds a is not below; they ascend
	if a >= c.Bounds[3] {
		i = 4
	}
	if a >= c.Bounds[i+1] {
		i += 2
	}
	if a >= c.Bounds[i] {
		i++
	}
	k := min(int32(float32(c.Slope[i]*a)+c.Offset[i]), int32(c.Most[i]))
	if x < 0 {
		return uint8(max(int32(c.Zero)-k, 0))
	}
	return uint8(int32(c.Zero) + k)
}

// Encode writes the codes of a block of numbers and returns its scale.
func (c *Codes) Encode(to []byte, x []float32) (scale float32) {
	var most uint32 // bits of magnitudes, which are in their order
	for _, v := range x {
		most = max(most, math.Float32bits(v)&^(1<<31))
	}
	if scale = math.Float32frombits(most); scale < LeastScale {
		for i := range to {
			to[i] = c.Zero
		}
		return 0
	}
	inverse := 1 / scale
	for i, v := range x {
		to[i] = c.Of(v * inverse)
	}
	return scale
}

// Decode reads a block of numbers.
func (c *Codes) Decode(to []float32, from []byte, scale float32) {
	for i, code := range from {
		to[i] = c.Values[code] * scale
	}
}

// inBlocks calls f with elements [lo, hi) of each block.
func inBlocks(lo, hi int, f func(block, lo, hi int)) {
	for lo < hi {
		b := lo / CodeBlock
		end := min(hi, (b+1)*CodeBlock)
		f(b, lo, end)
		lo = end
	}
}

func (c *Codes) quantize(to []byte, v []float32, _ Shape) {
	scales := to[ScalesAt(len(v)):]
	inBlocks(0, len(v), func(b, lo, hi int) { putFloat32(scales, b, c.Encode(to[lo:hi], v[lo:hi])) })
}

func (c *Codes) decoder(from []byte, s Shape) func(to []float32, at int) {
	scales := from[ScalesAt(s.Elems()):]
	return func(to []float32, at int) {
		inBlocks(at, at+len(to), func(b, lo, hi int) { c.Decode(to[lo-at:hi-at], from[lo:hi], float32At(scales, b)) })
	}
}

// CheckScales returns an error that names the first scale of a tensor of this type that no block can have: one that is
// not finite, or negative.
func (t Type) CheckScales(b []byte) error {
	n := t.Shape.Elems()
	scales := b[ScalesAt(n):]
	for i := range len(scales) / 4 {
		if s := float32At(scales, i); !(s >= 0) || math.IsInf(float64(s), 0) {
			return fmt.Errorf("the scale of elements %d to %d is %g", i*CodeBlock, min(n, (i+1)*CodeBlock)-1, s)
		}
	}
	return nil
}
