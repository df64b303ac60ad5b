package cpu

import "stepflow/gpu"

// unpacking is a variant's vector code that decodes frozen matrices, to f32 and rounded to bf16. Where a function is nil, Go
// does its work.
type unpacking struct {
	int8Lanes int // int8 and int8Half decode a multiple of so many elements
	// nf4 and nf4Half decode whole blocks, each with the scale values[code] group + mean, code from scales.
	nf4      func(blocks int, to *float32, from, scales *byte, levels, values *float32, group, mean float32)
	nf4Half  func(blocks int, to *uint16, from, scales *byte, levels, values *float32, group, mean float32)
	int8     func(n int, to *float32, from *byte, scale, step float32)
	int8Half func(n int, to *uint16, from *byte, scale, step float32)
}

// decoder decodes elements of a stored matrix, which are numbered row by row, from number at on.
type decoder struct {
	decode func(to []float32, at int) // nil in the view of a matrix that is not stored in codes
	half   func(to []uint16, at int)  // rounds to bf16; at and the length of to are multiples of step. It may be nil.
	step   int
}

// decoder returns the decoder of a matrix of a type in b.
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
	// next returns how many whole blocks a call can decode of n elements from at on, where a block begins: those whose scales
	// are in one group.
	next := func(at, n int) (blocks int, scales *byte, group, mean float32) {
		codes, group, mean := parts.Scales(at / gpu.NF4Block)
		return min(n/gpu.NF4Block, len(codes)), &codes[0], group, mean
	}
	d := decoder{decode: func(to []float32, at int) {
		if head := min(len(to), -at&(gpu.NF4Block-1)); head > 0 {
			plain(to[:head], at)
			to, at = to[head:], at+head
		}
		for len(to) >= gpu.NF4Block {
			blocks, scales, group, mean := next(at, len(to))
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
				blocks, scales, group, mean := next(at, len(to))
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
			whole := n / v.int8Lanes * v.int8Lanes
			if whole > 0 {
				v.int8(whole, &to[0], &codes[at], scales[at/cols], gpu.Int8Step)
			}
			if whole < n {
				plain(to[whole:n], at+whole)
			}
			to, at = to[n:], at+n
		}
	}}
	if v.int8Half != nil && cols%v.int8Lanes == 0 {
		d.step = v.int8Lanes
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
