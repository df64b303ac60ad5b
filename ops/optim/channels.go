package optim

import (
	"stepflow/gpu"
	"stepflow/ops"
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

// step is what sgdw does to p: a step of alpha times the direction, and decay where p decays.
func step(p ops.Param, alpha, decay float64, noDecay []string) gpu.Attrs {
	a := gpu.Attrs{Alpha: alpha}
	if decays(p, noDecay) {
		a.WeightDecay = decay
	}
	return a
}

// scalars are the learning rate, and where rounding is stochastic the seed of its draws, the last.
func scalars(p ops.Param, rate float64, t int64, stochastic bool) [gpu.HyperLen]float32 {
	h := [gpu.HyperLen]float32{float32(rate)}
	if stochastic {
		h[3] = seed(p, t)
	}
	return h
}
