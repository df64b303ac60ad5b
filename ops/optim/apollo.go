package optim

import (
	"fmt"
	"math"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// Apollo scales the gradient of a matrix as Adam would, by what it does to a random projection of it (Zhu et al. 2024,
// arXiv 2412.05270, algorithm 1). With the low gradient r = g pᵀ or p g, and Adam's direction a for it,
//
//	s = |a| / |r|, of each channel of the longer side, or of all together (Mini)
//	w = w - lr wd w - lr sqrt(scale) limit(s g)
//
// where limit keeps the norm from growing by more than 1 % from step to step (Chen et al. 2024, arXiv 2410.01623). The
// projection is drawn from a seed that changes every UpdateProjGap updates, and is not kept.
type Apollo struct {
	LearningRate        float64
	Rank                int
	Mini                bool // one factor for a matrix
	UpdateProjGap       int
	Factor              float64 // scale
	Beta1, Beta2, Eps   float64
	WeightDecay         float64
	MaxGradNorm         float64 // 0: no clipping
	BF16StochasticRound bool
	StateDType          string // a word of StateDTypes: what the moments are kept in; "" stands for fp32
	NoDecay             []string
}

var _ Fitted = Apollo{}

const (
	apolloM    = "apollo_m"
	apolloV    = "apollo_v"
	apolloNorm = "apollo_norm" // of the update before
)

var _, _ = keep(false, apolloM, apolloNorm), keep(true, apolloV)

// With returns Apollo for projections, and rest for everything else.
func (o Apollo) With(rest Optimizer) Groups { return onProjections(o, rest) }

// Peak is LearningRate.
func (o Apollo) Peak() float64 { return o.LearningRate }

// Rate is LearningRate, whatever the parameter.
func (o Apollo) Rate(ops.Param) float64 { return o.LearningRate }

// ClipNorm is MaxGradNorm.
func (o Apollo) ClipNorm() float64 { return o.MaxGradNorm }

// Fits wants a rank that is no more than the smaller side.
func (o Apollo) Fits(p ops.Param) error { return fits(p, o.Rank) }

func (o Apollo) adam() adamOf { return adamOf{o.Beta1, o.Beta2, o.Eps} }

// States are the moments of the low gradient, the norm of the update before, and the master of a bf16 weight that is not
// rounded at random.
func (o Apollo) States(p ops.Param, d gpu.DType) []State {
	list := append(subspaceOf(p, o.Rank).moments(apolloM, apolloV, p, o.StateDType), norm(apolloNorm))
	return append(list, masters(p, d, o.BF16StochasticRound)...)
}

// Update draws the projection again in each step.
func (o Apollo) Update(g *graph.Graph, s Slot, coef graph.Value) {
	if !s.Weight.Valid() || !s.Grad.Valid() {
		return // the graph has an error
	}
	x := subspaceOf(s.Param, o.Rank)
	short, _ := x.axes()
	p := g.Op1("random_matrix", gpu.Attrs{Rows: o.Rank, Cols: s.Weight.Shape()[short], Lo: s.Param.Shape[short],
		Alpha: 1 / math.Sqrt(float64(o.Rank)), DType: s.Weight.Type().DType}, g.View(s.Hyper, 2, gpu.Shape{1}))
	low := x.project(g, p, s.Grad)
	direction := o.adam().direction(g, s, apolloM, apolloV, low, coef)
	c := x.channels(g)
	squares := c.squares
	if o.Mini {
		squares = func(x graph.Value) graph.Value { return g.Op1("sum_squares", gpu.Attrs{}, x) }
	}
	out := g.Op("channel_factors", gpu.Attrs{Alpha: math.Sqrt(o.Factor)}, squares(direction), squares(low), c.squares(s.Grad),
		s.States[apolloNorm], coef, s.Hyper)
	g.Update(s.States[apolloNorm], out[1])
	u := c.scale(s.Grad, out[0])
	s.put(g, g.Op1("sgdw", step(s.Param, 1, o.WeightDecay, o.NoDecay), s.wide(g), u, coef, s.Hyper))
}

// Scalars are the learning rate, Adam's bias corrections, and the seeds of the projection and of stochastic rounding.
func (o Apollo) Scalars(p ops.Param, rate float64, t int64) [gpu.HyperLen]float32 {
	h := scalars(p, rate, t, draws(o.BF16StochasticRound, o.StateDType))
	h[1], h[2] = o.adam().bias(t), drawn(p, t, o.UpdateProjGap)
	return h
}

// Key prints all but the learning rate.
func (o Apollo) Key() string {
	o.LearningRate = 0
	return fmt.Sprintf("%#v", o)
}
