// Package optim holds optimizers as update graphs and learning-rate schedules as functions of the
// number of tokens seen.
package optim

import (
	"math"
	"path"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// AdamW is the configuration of decoupled weight decay (Loshchilov & Hutter 2019).
type AdamW struct {
	LearningRate float64
	Beta1, Beta2 float64
	Eps          float64
	WeightDecay  float64
	MaxGradNorm  float64 // 0: no clipping
	// BF16StochasticRound rounds updated bf16 weights up or down at random, right in the mean, instead of
	// keeping an fp32 master of each: 12 bytes a trainable parameter instead of 16. Weights in fp32 are not concerned.
	BF16StochasticRound bool
	NoDecay             []string // patterns of parameter names without decay; nil: norms, biases and embeddings
}

// Decays reports whether weight decay applies to p. By default it does to projections, the head and
// adapters, not to gains, biases and embeddings.
func (o AdamW) Decays(p ops.Param) bool {
	if o.NoDecay == nil {
		return p.Kind != ops.KindNorm && p.Kind != ops.KindBias && p.Kind != ops.KindEmbedding
	}
	for _, pattern := range o.NoDecay {
		if ok, err := path.Match(pattern, p.Name); err == nil && ok {
			return false
		}
	}
	return true
}

// Master reports whether a weight of this type has an fp32 master beside it.
func (o AdamW) Master(d gpu.DType) bool { return d == gpu.BF16 && !o.BF16StochasticRound }

// StateBytes is what the optimizer keeps of each parameter whose weight has this type, in bytes: two moments in fp32, and
// the master where there is one.
func (o AdamW) StateBytes(d gpu.DType) int64 {
	n := 2 * gpu.F32.Size()
	if o.Master(d) {
		n += gpu.F32.Size()
	}
	return n
}

// TrainBytes is what each parameter takes while it trains, in bytes: weight, gradient and the optimizer's state.
func (o AdamW) TrainBytes(d gpu.DType) int64 { return 2*d.Size() + o.StateBytes(d) }

// Slot is a trainable parameter with its gradient and optimizer state in the graph.
type Slot struct {
	Param        ops.Param
	Weight, Grad graph.Value
	Master       graph.Value // fp32 copy; none when the weight is fp32
	M, V         graph.Value
	Hyper        graph.Value // as AdamW.Hyper gives it
}

// Build adds clipping by global norm and the update of every slot; it returns the gradient norm
// [1] and the clip coefficient [1].
func (o AdamW) Build(g *graph.Graph, slots []Slot) (norm, coef graph.Value) {
	sums := make([]graph.Value, len(slots))
	for i, s := range slots {
		g.At(s.Param.Layer, s.Param.Name)
		sums[i] = g.Op1("sum_squares", gpu.Attrs{}, s.Grad)
	}
	g.At(-1, "clip_grad_norm")
	out := g.Op("clip", gpu.Attrs{MaxNorm: o.MaxGradNorm}, sums...)
	for _, s := range slots {
		g.At(s.Param.Layer, s.Param.Name)
		a := gpu.Attrs{Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps}
		if o.Decays(s.Param) {
			a.WeightDecay = o.WeightDecay
		}
		if s.Master.Valid() {
			n := g.Op("adamw_master", a, s.Weight, s.Grad, s.Master, s.M, s.V, out[1], s.Hyper)
			g.Update(s.Weight, n[0])
			g.Update(s.Master, n[1])
			g.Update(s.M, n[2])
			g.Update(s.V, n[3])
			continue
		}
		kernel := "adamw"
		if o.BF16StochasticRound && s.Weight.Type().DType == gpu.BF16 {
			kernel = "adamw_stochastic"
		}
		n := g.Op(kernel, a, s.Weight, s.Grad, s.M, s.V, out[1], s.Hyper)
		g.Update(s.Weight, n[0])
		g.Update(s.M, n[1])
		g.Update(s.V, n[2])
	}
	return out[0], out[1]
}

// Hyper gives the scalars of the update number t (from 1) of the parameter named id: the learning rate,
// 1-β1^t, 1-β2^t, and where rounding is stochastic the seed of its draws.
func (o AdamW) Hyper(lr float64, id string, t int64) [gpu.HyperLen]float32 {
	h := [gpu.HyperLen]float32{float32(lr), float32(1 - math.Pow(o.Beta1, float64(t))), float32(1 - math.Pow(o.Beta2, float64(t)))}
	if o.BF16StochasticRound {
		h[3] = float32(ops.Rand(uint64(t), id).Uint32() >> 8)
	}
	return h
}
