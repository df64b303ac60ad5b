package cpu

import "stepflow/gpu"

// quantised is where the elements of a matrix come from that are decoded on the way into panels.
type quantised struct {
	codes     func(to []float32, at int) // gives elements, numbered row by row; nil of other matrices
	shape     gpu.Shape
	round     bool // to bf16, for a left operand of that type
	top, left int  // row and column of the element that the view begins with
}

// decode gives elements of a row of the view, and zeros outside the matrix.
func (q *quantised) decode(to []float32, r int) {
	r, c, n := r+q.top, q.left, 0
	rows, cols := q.shape[0], q.shape[1]
	if r < rows && c < cols {
		n = min(len(to), cols-c)
		q.codes(to[:n], r*cols+c)
	}
	clear(to[n:])
}

// packStored lays quantised elements out as pack does others. They are decoded a piece at a time, of rows where they lie:
// those become columns of a panel, or are cut into panels.
func (y layout) packStored(own *worker, dst []float32, m matrix, k, n, w int) {
	cols := packed * w // of a piece that is cut
	if m.trans {
		cols = w
	}
	steps := y.steps(k)
	for j0 := 0; j0 < n; j0 += cols {
		across := min(cols, n-j0)
		deep := len(own.codes) / cols &^ 1
		for l0 := 0; l0 < k; l0 += deep {
			piece := min(deep, k-l0)
			plain := y.decoded(own, m.sub(l0, j0), piece, across)
			for j := j0; j < j0+across; j += w {
				y.panel(own, dst[j*steps+y.steps(l0)*w:][:y.steps(piece)*w], plain.sub(0, j-j0), piece, min(w, j0+across-j), w)
			}
		}
	}
}

// decoded is k by n elements of the start of a quantised matrix.
func (y layout) decoded(own *worker, m matrix, k, n int) matrix {
	rows, cols := k, n
	if m.trans {
		rows, cols = n, k
	}
	plain := dense(buffer{f: own.codes[:rows*cols]}, cols, m.trans)
	for r := range rows {
		m.decode(plain.f[r*cols:][:cols], r)
	}
	if m.round {
		half := own.rounded[:rows*cols]
		y.v.narrow(half, plain.f)
		plain.buffer = buffer{h: half}
	}
	return plain
}

// storedMatrix is an operand that a product decodes for a left one of type t.
func (l *loaded) storedMatrix(o gpu.Operand, trans bool, t gpu.DType) matrix {
	if !o.Type.DType.Stored() {
		return l.matrix(o, trans)
	}
	q := quantised{codes: o.Type.Decoder(l.bytes(o)), shape: gpu.Shape{o.Type.Shape.Rows(), o.Type.Shape.Cols()}, round: t == gpu.BF16}
	return matrix{ld: o.Type.Shape.Cols(), trans: trans, quantised: q}
}
