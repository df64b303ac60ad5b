package optim

import (
	"stepflow/gpu"
	"stepflow/ops/graph"
)

// channels are the rows or the columns of matrices.
type channels struct {
	g    *graph.Graph
	rows bool
}

// of names a kernel for rows or its counterpart for columns.
func (c channels) of(rows, columns string) string {
	if c.rows {
		return rows
	}
	return columns
}

// length is how many elements a channel of a matrix has.
func (c channels) length(s gpu.Shape) int {
	if c.rows {
		return s.Cols()
	}
	return s.Rows()
}

// squares adds up the squares of each channel.
func (c channels) squares(x graph.Value) graph.Value {
	return c.g.Op1(c.of("row_squares", "column_squares"), gpu.Attrs{}, x)
}

// scale multiplies each channel by a factor.
func (c channels) scale(x, factors graph.Value) graph.Value {
	return c.g.Op1(c.of("scale_rows", "scale_columns"), gpu.Attrs{}, x, factors)
}
