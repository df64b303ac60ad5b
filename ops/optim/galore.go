package optim

import (
	"fmt"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// GaLore runs Adam on the gradient of a matrix in the subspace of its largest singular values, which is found again every
// UpdateProjGap updates (Zhao et al. 2024, arXiv 2403.03507, algorithm 2). With the projection p, whose rows are singular
// vectors of the shorter side, r = g pᵀ or p g, and Adam's direction a for it,
//
//	w = w - lr wd w - lr scale a p, or pᵀ a
//
// Fira adds what the projection leaves out of the gradient, scaled as Adam scales what is projected (Chen et al. 2024,
// arXiv 2410.01623, algorithm 1):
//
//	e = g - scale r p, w = w - lr limit(e |a|/|r|), of each channel of the longer side
//
// where limit keeps the norm from growing by more than 1 % from step to step.
type GaLore struct {
	LearningRate        float64
	Rank                int
	UpdateProjGap       int
	Factor              float64 // scale
	Fira                bool
	Beta1, Beta2, Eps   float64
	WeightDecay         float64
	MaxGradNorm         float64 // 0: no clipping
	BF16StochasticRound bool
	StateDType          string // a word of StateDTypes: what the moments are kept in; "" stands for fp32
	NoDecay             []string
}

var (
	_ Fitted     = GaLore{}
	_ Refreshing = GaLore{}
)

const (
	galoreP  = "galore_p"
	galoreM  = "galore_m"
	galoreV  = "galore_v"
	firaNorm = "fira_norm" // of what was added in the update before
)

var _, _ = keep(false, galoreP, galoreM, firaNorm), keep(true, galoreV)

// With returns GaLore for projections, and rest for everything else.
func (o GaLore) With(rest Optimizer) Groups { return onProjections(o, rest) }

// Peak is LearningRate.
func (o GaLore) Peak() float64 { return o.LearningRate }

// Rate is LearningRate, whatever the parameter.
func (o GaLore) Rate(ops.Param) float64 { return o.LearningRate }

// ClipNorm is MaxGradNorm.
func (o GaLore) ClipNorm() float64 { return o.MaxGradNorm }

// Fits wants a rank that is no more than the smaller side.
func (o GaLore) Fits(p ops.Param) error { return fits(p, o.Rank) }

// Every is UpdateProjGap.
func (o GaLore) Every(ops.Param) int { return o.UpdateProjGap }

func (o GaLore) adam() adamOf { return adamOf{o.Beta1, o.Beta2, o.Eps} }

// States are the projection in the type of the weight, the moments of the low gradient, with Fira a norm, and the
// master of a bf16 weight that is not rounded at random.
func (o GaLore) States(p ops.Param, d gpu.DType) []State {
	x := subspaceOf(p, o.Rank)
	list := append([]State{x.projection(galoreP, p, d)}, x.moments(galoreM, galoreV, p, o.StateDType)...)
	if o.Fira {
		list = append(list, norm(firaNorm))
	}
	return append(list, masters(p, d, o.BF16StochasticRound)...)
}

// Update reads the projection, which Refresh makes.
func (o GaLore) Update(g *graph.Graph, s Slot, coef graph.Value) {
	if !s.Weight.Valid() || !s.Grad.Valid() {
		return // the graph has an error
	}
	x, p := subspaceOf(s.Param, o.Rank), s.States[galoreP]
	low := x.project(g, p, s.Grad)
	direction := o.adam().direction(g, s, galoreM, galoreV, low, coef)
	var rest graph.Value
	if o.Fira {
		c := x.channels(g)
		rest = x.back(g, -o.Factor, p, low, to(g, s.Grad, gpu.F32))
		out := g.Op("channel_factors", gpu.Attrs{Alpha: 1}, c.squares(direction), c.squares(low), c.squares(rest),
			s.States[firaNorm], coef, s.Hyper)
		g.Update(s.States[firaNorm], out[1])
		rest = c.scale(rest, out[0])
	}
	u := x.back(g, o.Factor, p, direction, rest)
	s.put(g, g.Op1("sgdw", step(s.Param, 1, o.WeightDecay, o.NoDecay), s.wide(g), u, coef, s.Hyper))
}

// Refresh finds the subspace; vectors point where those before did, since the moments go on.
func (o GaLore) Refresh(g *graph.Graph, s Slot, finite graph.Value) {
	if !s.Weight.Valid() || !s.Grad.Valid() {
		return // the graph has an error
	}
	x, p := subspaceOf(s.Param, o.Rank), s.States[galoreP]
	found := singularVectors(g, s.Grad, s.Param.Shape, x, g.View(s.Hyper, 2, gpu.Shape{1}))
	g.Update(p, g.Op1("align_rows", gpu.Attrs{}, found, p, finite))
}

// Scalars are the learning rate, Adam's bias corrections, and the seeds of the search and of stochastic rounding.
func (o GaLore) Scalars(p ops.Param, rate float64, t int64) [gpu.HyperLen]float32 {
	h := scalars(p, rate, t, draws(o.BF16StochasticRound, o.StateDType))
	h[1], h[2] = o.adam().bias(t), drawn(p, t, o.UpdateProjGap)
	return h
}

// Key prints all but the learning rate.
func (o GaLore) Key() string {
	o.LearningRate = 0
	return fmt.Sprintf("%#v", o)
}
