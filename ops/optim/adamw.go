package optim

import (
	"fmt"
	"math"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// AdamW is Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2).
type AdamW struct {
	LearningRate float64
	Beta1, Beta2 float64
	Eps          float64
	WeightDecay  float64
	MaxGradNorm  float64 // 0: no clipping
	// BF16StochasticRound rounds updated bf16 weights up or down at random, right in the mean, instead of keeping an
	// fp32 master of each: 12 bytes a trainable parameter instead of 16. Weights in fp32 are not concerned.
	BF16StochasticRound bool
	StateDType          string   // a word of StateDTypes: what the moments are kept in; "" stands for fp32
	NoDecay             []string // patterns of parameter names without decay; nil: norms, biases and embeddings
}

var _ Optimizer = AdamW{}

// The moments of the gradient: means of it and of its square.
const (
	adamM = "adam_m"
	adamV = "adam_v"
)

var _, _ = keep(false, adamM), keep(true, adamV)

// Peak is LearningRate.
func (o AdamW) Peak() float64 { return o.LearningRate }

// Rate is LearningRate, whatever the parameter.
func (o AdamW) Rate(ops.Param) float64 { return o.LearningRate }

// ClipNorm is MaxGradNorm.
func (o AdamW) ClipNorm() float64 { return o.MaxGradNorm }

// States are the two moments and the master of a bf16 weight that is not rounded at random.
func (o AdamW) States(p ops.Param, d gpu.DType) []State {
	return append([]State{moment(adamM, p, o.StateDType, gpu.Dynamic8), moment(adamV, p, o.StateDType, gpu.UDynamic8)},
		masters(p, d, o.BF16StochasticRound)...)
}

// Update is one launch, which reads and writes the weight, its master and the moments.
func (o AdamW) Update(g *graph.Graph, s Slot, coef graph.Value) {
	a := gpu.Attrs{Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps}
	if decays(s.Param, o.NoDecay) {
		a.WeightDecay = o.WeightDecay
	}
	kernel, updated := "adamw", []graph.Value{s.Weight}
	narrow := s.narrow(adamM)
	if narrow {
		kernel = "adamw_narrow" // which rounds a weight in bf16 without a master stochastically
	}
	if copied := s.Master(); copied.Valid() {
		kernel, updated = kernel+"_master", append(updated, copied)
	} else if !narrow && s.Weight.Valid() && s.Weight.Type().DType == gpu.BF16 {
		kernel = "adamw_stochastic"
	}
	updated = append(updated, s.States[adamM], s.States[adamV])
	in := append([]graph.Value{s.Weight, s.Grad}, updated[1:]...)
	out := g.Op(kernel, a, append(in, coef, s.Hyper)...)
	for i, v := range updated {
		g.Update(v, out[i])
	}
}

// Scalars are the learning rate, 1-β1^t, 1-β2^t, and where rounding is stochastic the seed of its draws.
func (o AdamW) Scalars(p ops.Param, rate float64, t int64) [gpu.HyperLen]float32 {
	rest := func(beta float64) float32 { return float32(1 - math.Pow(beta, float64(t))) }
	h := scalars(p, rate, t, draws(o.BF16StochasticRound, o.StateDType))
	h[1], h[2] = rest(o.Beta1), rest(o.Beta2)
	return h
}

// Key prints all but the learning rate.
func (o AdamW) Key() string {
	o.LearningRate = 0
	return fmt.Sprintf("%#v", o)
}
