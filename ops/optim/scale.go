package optim

import (
	"fmt"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// Scale moves what makes each output of a matrix along its gradient, divided by the root of its mean square, and keeps
// a momentum of the head alone (Glentis et al. 2025, arXiv 2506.16659, algorithm 1: SCALE):
//
//	m = μ m + (1-μ) g for the head, else m = g
//	w = w - lr wd w - lr m / max(rms(m), eps)
//
// The mean is over the inputs of an output: over a row of a projection or the head, [out, in], and over a column of the
// embeddings, [vocab, hidden], whose outputs are the columns.
type Scale struct {
	LearningRate        float64
	Momentum            float64 // μ
	Eps                 float64 // the least root of a mean square
	WeightDecay         float64
	MaxGradNorm         float64 // 0: no clipping
	BF16StochasticRound bool
	StateDType          string // a word of StateDTypes: what the moments are kept in; "" stands for fp32
	NoDecay             []string
}

var _ Optimizer = Scale{}

const scaleM = "scale_m" // the mean of the head's gradient

var _ = keep(false, scaleM)

// With returns Scale for matrices, and rest for gains, biases and adapters.
func (o Scale) With(rest Optimizer) Groups {
	matrices := []ops.Kind{ops.KindLinear, ops.KindEmbedding, ops.KindHead}
	return Groups{Main: o, List: []Group{{Kinds: matrices, Optimizer: o}, {Optimizer: rest}}}
}

// Peak is LearningRate.
func (o Scale) Peak() float64 { return o.LearningRate }

// Rate is LearningRate, whatever the parameter.
func (o Scale) Rate(ops.Param) float64 { return o.LearningRate }

// ClipNorm is MaxGradNorm.
func (o Scale) ClipNorm() float64 { return o.MaxGradNorm }

// last reports whether p gives the logits.
func last(p ops.Param) bool { return p.Kind == ops.KindHead || p.Tied }

// States are the momentum of the head, and the master of a bf16 weight that is not rounded at random.
func (o Scale) States(p ops.Param, d gpu.DType) (list []State) {
	if last(p) {
		list = append(list, moment(scaleM, p, o.StateDType, gpu.Dynamic8))
	}
	return append(list, masters(p, d, o.BF16StochasticRound)...)
}

// Update reads the gradient twice: for the sums of squares, and for the step.
func (o Scale) Update(g *graph.Graph, s Slot, coef graph.Value) {
	if !s.Weight.Valid() || !s.Grad.Valid() {
		return // the graph has an error
	}
	u := s.Grad
	if m := s.States[scaleM]; m.Valid() {
		u = s.mean(g, scaleM, s.Grad, coef, o.Momentum, false)
	}
	c := channels{g, s.Param.Kind != ops.KindEmbedding || last(s.Param)}
	squares := gpu.Attrs{Cols: c.length(s.Param.Shape), Eps: o.Eps}
	u = c.scale(u, g.Op1("inverse_rms", squares, c.squares(u)))
	s.put(g, g.Op1("sgdw", step(s.Param, 1, o.WeightDecay, o.NoDecay), s.wide(g), u, coef, s.Hyper))
}

// Scalars are the learning rate, and where rounding is stochastic the seed of its draws.
func (o Scale) Scalars(p ops.Param, rate float64, t int64) [gpu.HyperLen]float32 {
	return scalars(p, rate, t, draws(o.BF16StochasticRound, o.StateDType))
}

// Key prints all but the learning rate.
func (o Scale) Key() string {
	o.LearningRate = 0
	return fmt.Sprintf("%#v", o)
}
