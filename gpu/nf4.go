package gpu

import "sort"

// NF4 is the 4-bit NormalFloat of QLoRA with double quantisation (Dettmers et al. 2023, arXiv 2305.14314), as
// bitsandbytes stores it. Blocks of 64 elements go on from row to row, and the last may be shorter. A block has the scale
// max|w|, and an element the index of the level next to w / max|w| in four bits, the first of two in the upper ones. Of
// the scales their mean is subtracted, and what is left has 8 bits: blocks of 256 have the largest magnitude in fp32, and
// a scale the index of the value next to it in a map of 256.
//
//	[1] f32: mean of scales; [scales/256] f32; [elements/64] bytes: scales; [elements/2] bytes: elements

const (
	NF4Block   = 64 // elements that share a scale
	scaleBlock = 256
)

// nf4Levels are the quantiles of a normal distribution that minimise the error of normally distributed values, with an
// exact zero (QLoRA, appendix E).
var nf4Levels = [16]float32{-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
	-0.18477343022823334, -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
	0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1}

// NF4Tables are the levels of elements and the map of scales.
func NF4Tables() (levels [16]float32, scales [256]float32) { return nf4Levels, scaleMap }

// nf4Pairs are the levels of both elements of a byte.
var nf4Pairs = func() (p [256][2]float32) {
	for i := range p {
		p[i] = [2]float32{nf4Levels[i>>4], nf4Levels[i&15]}
	}
	return p
}()

// scaleMap is the dynamic map with a sign (Dettmers 2016, arXiv 1511.04561).
var scaleMap = codes[Dynamic8].Values

// between are the borders of a map: what lies above one is nearer to the next value.
func between(values []float32) []float32 {
	b := make([]float32, len(values)-1)
	for i := range b {
		b[i] = float32(values[i]+values[i+1]) / 2
	}
	return b
}

var nf4Borders, scaleBorders = [15]float32(between(nf4Levels[:])), [255]float32(between(scaleMap[:]))

// level is the index of the level nearest to x.
func level(x float32) (i int) {
	for half := 8; half > 0; half /= 2 {
		if nf4Borders[i+half-1] < x {
			i += half
		}
	}
	return i
}

// NF4Parts are the parts of a matrix in NF4.
type NF4Parts struct {
	mean, groups, scales []byte
	Codes                []byte // a byte holds two elements, the first in the upper four bits
}

// NF4PartsOf returns the parts of a matrix of n elements.
func NF4PartsOf(b []byte, n int) (p NF4Parts) {
	scales := int(blocks(n, NF4Block))
	groups := blocks(scales, scaleBlock)
	p.mean, b = b[:4], b[4:]
	p.groups, b = b[:4*groups], b[4*groups:]
	p.scales, p.Codes = b[:scales], b[scales:]
	return p
}

func nf4Bytes(s Shape) int64 {
	n := s.Elems()
	scales := blocks(n, NF4Block)
	return Sum(4, Product(4, blocks(int(scales), scaleBlock)), scales, blocks(n, 2))
}

// scale is the scale of a block.
func (p *NF4Parts) scale(block int) float32 {
	scales, group, mean := p.Scales(block)
	return float32(scaleMap[scales[0]]*group) + mean
}

// Scales returns the codes of the scales of blocks, from a block to the last that is in the same group. A scale is what its
// code stands for in the map of scales, times group, plus mean.
func (p *NF4Parts) Scales(block int) (codes []byte, group, mean float32) {
	g := block / scaleBlock
	return p.scales[block:min(len(p.scales), (g+1)*scaleBlock)], float32At(p.groups, g), float32At(p.mean, 0)
}

// leastDivisor keeps the inverse of a scale finite.
const leastDivisor = 1e-38

func quantizeNF4(to []byte, v []float32, _ Shape) {
	p := NF4PartsOf(to, len(v))
	scales := make([]float32, len(p.scales))
	const piece = 1 << 10 // blocks; their codes are whole bytes
	InPieces(len(scales), piece, func(lo, hi int) {
		for b := lo; b < hi; b++ {
			block := v[b*NF4Block : min((b+1)*NF4Block, len(v))]
			scales[b] = largest(block)
			inverse := 1 / max(scales[b], leastDivisor)
			for i, x := range block {
				at := b*NF4Block + i
				p.Codes[at/2] |= byte(level(x*inverse) << (4 * (1 - at%2)))
			}
		}
	})
	if len(v)%2 == 1 {
		p.Codes[len(v)/2] |= byte(level(0)) // as if another 0 were there
	}
	var sum float64
	for _, x := range scales {
		sum += float64(x)
	}
	mean := float32(sum / float64(max(len(scales), 1)))
	putFloat32(p.mean, 0, mean)
	for g := 0; g*scaleBlock < len(scales); g++ {
		group := scales[g*scaleBlock : min((g+1)*scaleBlock, len(scales))]
		for i := range group {
			group[i] -= mean
		}
		most := largest(group)
		putFloat32(p.groups, g, most)
		if most == 0 {
			continue
		}
		inverse := 1 / max(most, leastDivisor)
		for i, x := range group {
			x *= inverse
			p.scales[g*scaleBlock+i] = byte(sort.Search(len(scaleBorders), func(i int) bool { return scaleBorders[i] >= x }))
		}
	}
}

func nf4Decoder(from []byte, s Shape) func(to []float32, at int) {
	p := NF4PartsOf(from, s.Elems())
	return func(to []float32, at int) {
		for len(to) > 0 {
			block := at / NF4Block
			n := min(len(to), (block+1)*NF4Block-at)
			p.some(to[:n], p.scale(block), at)
			to, at = to[n:], at+n
		}
	}
}

// some gives elements of a block with this scale.
func (p *NF4Parts) some(to []float32, scale float32, at int) {
	if at%2 == 1 {
		to[0] = nf4Levels[p.Codes[at/2]&15] * scale
		to, at = to[1:], at+1
	}
	codes := p.Codes[at/2:]
	for ; len(to) >= 8; to, codes = to[8:], codes[4:] {
		a, b, c, d := &nf4Pairs[codes[0]], &nf4Pairs[codes[1]], &nf4Pairs[codes[2]], &nf4Pairs[codes[3]]
		y := (*[8]float32)(to)
		y[0], y[1], y[2], y[3] = a[0]*scale, a[1]*scale, b[0]*scale, b[1]*scale
		y[4], y[5], y[6], y[7] = c[0]*scale, c[1]*scale, d[0]*scale, d[1]*scale
	}
	for i := range to {
		to[i] = nf4Levels[codes[i/2]>>(4*(1-i%2))&15] * scale
	}
}
