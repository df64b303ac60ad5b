package optim

import (
	"fmt"
	"math"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// subspace is what optimizers have in common that run Adam on a projection of the gradient. The shorter side of a
// matrix [m, n] is projected, as galore-torch and apollo-torch do by default: with p of r rows, the low gradient is
// g pᵀ [m, r] where m ≥ n, and else p g [r, n].
type subspace struct {
	rank  int
	right bool // m ≥ n
}

func subspaceOf(p ops.Param, rank int) subspace {
	return subspace{rank, p.Shape.Rows() >= p.Shape.Cols()}
}

// fits returns why p cannot be projected to rank rows or columns; nil if it can.
func fits(p ops.Param, rank int) error {
	if short := min(p.Shape.Rows(), p.Shape.Cols()); rank > short {
		return fmt.Errorf("a rank of %d is more than the smaller side of %s, %v: set rank to at most %d", rank, p.Name, p.Shape, short)
	}
	return nil
}

// axes of the matrix: the one that is projected, and the other.
func (x subspace) axes() (short, long int) {
	if x.right {
		return 1, 0
	}
	return 0, 1
}

// low is a moment of the low gradient, kept as a word of StateDTypes says.
func (x subspace) low(name string, p ops.Param, word string, codes gpu.DType) State {
	_, long := x.axes()
	s := State{Name: name, Type: gpu.Type{Shape: gpu.Shape{x.rank, p.Shape[long]}}, Axes: []int{-1, long}}
	if x.right {
		s.Type.Shape, s.Axes = gpu.Shape{p.Shape[long], x.rank}, []int{long, -1}
	}
	return s.kept(p, word, codes)
}

// moments are both moments of the low gradient.
func (x subspace) moments(m, v string, p ops.Param, word string) []State {
	return []State{x.low(m, p, word, gpu.Dynamic8), x.low(v, p, word, gpu.UDynamic8)}
}

// projection is a state of the projection's shape.
func (x subspace) projection(name string, p ops.Param, d gpu.DType) State {
	short, _ := x.axes()
	return State{Name: name, Type: gpu.Type{Shape: gpu.Shape{x.rank, p.Shape[short]}, DType: d}, Axes: []int{-1, short}}
}

// norm is a state of one number.
func norm(name string) State {
	return State{Name: name, Type: gpu.Type{Shape: gpu.Shape{1}, DType: gpu.F32}, Axes: []int{-1}}
}

// channels are the rows or columns of a matrix that are projected, each to as many numbers as the rank.
func (x subspace) channels(g *graph.Graph) channels { return channels{g, x.right} }

// to casts a value, unless it is of the type.
func to(g *graph.Graph, x graph.Value, d gpu.DType) graph.Value {
	if !x.Valid() || x.Type().DType == d {
		return x
	}
	return g.Op1("cast", gpu.Attrs{DType: d}, x)
}

// project gives the low gradient in fp32. It is multiplied in the type of the projection, as in back.
func (x subspace) project(g *graph.Graph, p, grad graph.Value) graph.Value {
	grad = to(g, grad, p.Type().DType)
	if x.right {
		return to(g, g.Matmul(grad, p, false, true), gpu.F32)
	}
	return to(g, g.Matmul(p, grad, false, false), gpu.F32)
}

// back gives alpha times what is low in the space of the matrix, added to c, in fp32.
func (x subspace) back(g *graph.Graph, alpha float64, p, low, c graph.Value) graph.Value {
	low = to(g, low, p.Type().DType)
	attrs := gpu.Attrs{Alpha: alpha, TransA: !x.right}
	a, b := p, low
	if x.right {
		a, b = low, p
	}
	if c.Valid() {
		return g.Op1("matmul", attrs, a, b, c)
	}
	return to(g, g.Op1("matmul", attrs, a, b), gpu.F32)
}

// adamOf are the settings of Adam on the low gradient.
type adamOf struct{ beta1, beta2, eps float64 }

// direction updates two moments of the low gradient, and gives Adam's direction with bias correction.
func (a adamOf) direction(g *graph.Graph, s Slot, m, v string, low, coef graph.Value) graph.Value {
	kernel := "adam"
	if s.narrow(m) {
		kernel = "adam_narrow"
	}
	out := g.Op(kernel, gpu.Attrs{Beta1: a.beta1, Beta2: a.beta2, Eps: a.eps}, low, s.States[m], s.States[v], coef, s.Hyper)
	g.Update(s.States[m], out[1])
	g.Update(s.States[v], out[2])
	return out[0]
}

// bias is the factor of both bias corrections in update t.
func (a adamOf) bias(t int64) float32 {
	return float32(math.Sqrt(1-math.Pow(a.beta2, float64(t))) / (1 - math.Pow(a.beta1, float64(t))))
}

// drawn is the seed of the projection that update t of p uses, if a new one is made every so many updates: a whole number
// below 2^24.
func drawn(p ops.Param, t int64, every int) float32 {
	return float32(ops.Rand(uint64((t-1)/int64(every)), p.ID+"/projection").Uint32() >> 8)
}
