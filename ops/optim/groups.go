package optim

import (
	"fmt"
	"slices"
	"strings"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// Groups hands each parameter to the optimizer of the first group that takes it.
type Groups struct {
	Main Optimizer // whose learning rate is reported, and whose bound holds for the norm of all gradients together
	List []Group   // not empty; the last takes what no other does
}

// Group is an optimizer for the parameters of some kinds and those whose names match a pattern.
type Group struct {
	Kinds     []ops.Kind
	Patterns  []string // such as model.layers.*.mlp.*; see path.Match
	Optimizer Optimizer
}

var (
	_ Fitted     = Groups{}
	_ Refreshing = Groups{}
)

// onProjections returns a combination of optimizers in which o has the projections, and rest everything else: embeddings
// and head, whose rows are tokens; gains and biases, which are vectors; and adapters, which are of low rank.
func onProjections(o, rest Optimizer) Groups {
	return Groups{Main: o, List: []Group{{Kinds: []ops.Kind{ops.KindLinear}, Optimizer: o}, {Optimizer: rest}}}
}

func (g Group) takes(p ops.Param) bool {
	return slices.Contains(g.Kinds, p.Kind) || matches(p, g.Patterns)
}

// of returns the optimizer of p.
func (gs Groups) of(p ops.Param) Optimizer {
	last := len(gs.List) - 1
	for _, g := range gs.List[:last] {
		if g.takes(p) {
			return g.Optimizer
		}
	}
	return gs.List[last].Optimizer
}

// Idle reports whether Main trains none of the parameters.
func (gs Groups) Idle(params []ops.Param) bool {
	main := gs.Main.Key()
	return !slices.ContainsFunc(params, func(p ops.Param) bool { return gs.of(p).Key() == main })
}

// Fits asks the optimizer of p.
func (gs Groups) Fits(p ops.Param) error { return Fits(gs.of(p), []ops.Param{p}) }

// Every asks the optimizer of p.
func (gs Groups) Every(p ops.Param) int { return interval(gs.of(p), p) }

// Refresh leaves it to the optimizer of the slot's parameter.
func (gs Groups) Refresh(g *graph.Graph, s Slot, finite graph.Value) {
	gs.of(s.Param).(Refreshing).Refresh(g, s, finite)
}

// Peak is that of Main.
func (gs Groups) Peak() float64 { return gs.Main.Peak() }

// Rate is that of the group of p.
func (gs Groups) Rate(p ops.Param) float64 { return gs.of(p).Rate(p) }

// ClipNorm is that of Main.
func (gs Groups) ClipNorm() float64 { return gs.Main.ClipNorm() }

// States are those of the group of p.
func (gs Groups) States(p ops.Param, d gpu.DType) []State { return gs.of(p).States(p, d) }

// Update is that of the slot's group.
func (gs Groups) Update(g *graph.Graph, s Slot, coef graph.Value) { gs.of(s.Param).Update(g, s, coef) }

// Scalars are those of the group of p.
func (gs Groups) Scalars(p ops.Param, rate float64, t int64) [gpu.HyperLen]float32 {
	return gs.of(p).Scalars(p, rate, t)
}

// Key lists the groups, and the bound on the norm.
func (gs Groups) Key() string {
	keys := []string{fmt.Sprint(gs.ClipNorm())}
	for _, g := range gs.List {
		keys = append(keys, fmt.Sprintf("%v %q %s", g.Kinds, g.Patterns, g.Optimizer.Key()))
	}
	return strings.Join(keys, "; ")
}
