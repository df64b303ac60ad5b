package gpu

import "math"

// RowInt8 is the weights of LLM.int8() (Dettmers et al. 2022, arXiv 2208.07339): a row has the scale max|w| in fp32, and
// an element is round(127 w / max|w|), to nearest even, in a byte.
//
//	[rows] f32, then [rows, cols] int8

func int8Bytes(s Shape) int64 { return Sum(Product(4, int64(s.Rows())), int64(s.Elems())) }

// Int8Step is what the code 1 stands for, as a fraction of its row's scale.
const Int8Step = float32(1.0 / 127)

func quantizeInt8(to []byte, v []float32, s Shape) {
	cols := s.Cols()
	codes := to[4*s.Rows():]
	InPieces(s.Rows(), max(1, 1<<16/max(cols, 1)), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			row := v[r*cols : (r+1)*cols]
			most := largest(row)
			putFloat32(to, r, most)
			if most == 0 {
				continue
			}
			scale := 127 / most
			for c, x := range row {
				code := math.RoundToEven(float64(float32(x * scale)))
				codes[r*cols+c] = byte(int8(min(max(code, -127), 127)))
			}
		}
	})
}

func int8Decoder(from []byte, s Shape) func(to []float32, at int) {
	cols := s.Cols()
	scales, all := from[:4*s.Rows()], from[4*s.Rows():]
	return func(to []float32, at int) {
		for len(to) > 0 {
			n := min(len(to), (at/cols+1)*cols-at)
			codes := all[at:][:n]
			scale := float32At(scales, at/cols)
			for i, x := range codes {
				to[i] = float32(float32(int8(x))*scale) * Int8Step
			}
			to, at = to[n:], at+n
		}
	}
}
