package optim

import (
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// What runtime calls until it knows Optimizer.

// Master reports whether a weight of this type has an fp32 master beside it.
func (o AdamW) Master(d gpu.DType) bool { return d == gpu.BF16 && !o.BF16StochasticRound }

// StateBytes is what the optimizer keeps of each parameter whose weight has this type, in bytes: two moments in fp32,
// and the master where there is one.
func (o AdamW) StateBytes(d gpu.DType) int64 {
	n := 2 * gpu.F32.Size()
	if o.Master(d) {
		n += gpu.F32.Size()
	}
	return n
}

// TrainBytes is what each parameter takes while it trains, in bytes: weight, gradient and the optimizer's state.
func (o AdamW) TrainBytes(d gpu.DType) int64 { return 2*d.Size() + o.StateBytes(d) }

// Build is Build of slots that name their states by fields.
func (o AdamW) Build(g *graph.Graph, slots []Slot) (norm, coef graph.Value) {
	for i, s := range slots {
		slots[i].States = map[string]graph.Value{adamM: s.M, adamV: s.V, master: s.Master}
	}
	return Build(g, o, slots)
}

// Hyper is Scalars of the parameter with this id.
func (o AdamW) Hyper(rate float64, id string, t int64) [gpu.HyperLen]float32 {
	return o.Scalars(ops.Param{ID: id}, rate, t)
}
