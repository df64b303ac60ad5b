package cpu

import "stepflow/gpu"

// unpacking is a variant's vector code for elements of frozen matrices, as they are and rounded to bf16; what is nil is
// done in Go.
type unpacking struct {
	lanes int // elements of a row of gpu.RowInt8 are read in multiples of it
	// nf4 and nf4Half give the elements of whole blocks whose scales are values[code] group + mean.
	nf4      func(blocks int, to *float32, from, scales *byte, levels, values *float32, group, mean float32)
	nf4Half  func(blocks int, to *uint16, from, scales *byte, levels, values *float32, group, mean float32)
	int8     func(n int, to *float32, from *byte, scale, step float32)
	int8Half func(n int, to *uint16, from *byte, scale, step float32)
}

// decoder gives elements of a stored matrix, which are numbered row by row, from number at on.
type decoder struct {
	decode func(to []float32, at int) // nil of other matrices
	half   func(to []uint16, at int)  // rounded to bf16, where at and the length of to are multiples of step; may be nil
	step   int
}

func (v *variant) decoder(t gpu.Type, b []byte) decoder {
	plain := t.Decoder(b)
	switch {
	case t.DType == gpu.NF4 && v.nf4 != nil:
		return v.nf4Decoder(t, b, plain)
	case t.DType == gpu.RowInt8 && v.int8 != nil:
		return v.int8Decoder(t, b, plain)
	}
	return decoder{decode: plain}
}

func (v *variant) nf4Decoder(t gpu.Type, b []byte, plain func([]float32, int)) decoder {
	levels, values := gpu.NF4Tables()
	parts := gpu.NF4PartsOf(b, t.Shape.Elems())
	// most is how many of n elements from at on are in whole blocks that a call decodes.
	most := func(at, n int) (blocks int, scales *byte, group, mean float32) {
		codes, group, mean := parts.Scales(at / gpu.NF4Block)
		return min(n/gpu.NF4Block, len(codes)), &codes[0], group, mean
	}
	d := decoder{decode: func(to []float32, at int) {
		if head := min(len(to), -at&(gpu.NF4Block-1)); head > 0 {
			plain(to[:head], at)
			to, at = to[head:], at+head
		}
		for len(to) >= gpu.NF4Block {
			blocks, scales, group, mean := most(at, len(to))
			v.nf4(blocks, &to[0], &parts.Codes[at/2], scales, &levels[0], &values[0], group, mean)
			to, at = to[blocks*gpu.NF4Block:], at+blocks*gpu.NF4Block
		}
		if len(to) > 0 {
			plain(to, at)
		}
	}}
	if v.nf4Half != nil {
		d.step = gpu.NF4Block
		d.half = func(to []uint16, at int) {
			for len(to) > 0 {
				blocks, scales, group, mean := most(at, len(to))
				v.nf4Half(blocks, &to[0], &parts.Codes[at/2], scales, &levels[0], &values[0], group, mean)
				to, at = to[blocks*gpu.NF4Block:], at+blocks*gpu.NF4Block
			}
		}
	}
	return d
}

func (v *variant) int8Decoder(t gpu.Type, b []byte, plain func([]float32, int)) decoder {
	rows, cols := t.Shape.Rows(), t.Shape.Cols()
	scales, codes := view[float32](b[:4*rows]), b[4*rows:]
	d := decoder{decode: func(to []float32, at int) {
		for len(to) > 0 {
			n := min(len(to), (at/cols+1)*cols-at)
			whole := n / v.lanes * v.lanes
			if whole > 0 {
				v.int8(whole, &to[0], &codes[at], scales[at/cols], gpu.Int8Step)
			}
			if whole < n {
				plain(to[whole:n], at+whole)
			}
			to, at = to[n:], at+n
		}
	}}
	if v.int8Half != nil && cols%v.lanes == 0 {
		d.step = v.lanes
		d.half = func(to []uint16, at int) {
			for len(to) > 0 {
				n := min(len(to), (at/cols+1)*cols-at)
				v.int8Half(n, &to[0], &codes[at], scales[at/cols], gpu.Int8Step)
				to, at = to[n:], at+n
			}
		}
	}
	return d
}
