package optim

import (
	"slices"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// Refreshing is an optimizer of which a state is made anew from the gradient now and then, before an update.
type Refreshing interface {
	Optimizer
	// Every is how many updates of p apart that is, from the first on; 0 for never.
	Every(p ops.Param) int
	// Refresh adds it to the current segment. Nothing may change where finite [1], which is 1 or NaN, is not.
	Refresh(g *graph.Graph, s Slot, finite graph.Value)
}

// interval is how many updates of p apart an optimizer makes a state of p anew; 0 for never.
func interval(o Optimizer, p ops.Param) int {
	if r, ok := o.(Refreshing); ok {
		return r.Every(p)
	}
	return 0
}

// Intervals lists the numbers of updates after which states of parameters are made anew, in order.
func Intervals(o Optimizer, params []ops.Param) (list []int) {
	for _, p := range params {
		if n := interval(o, p); n > 0 {
			list = append(list, n)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Due reports whether states that are made anew every so many updates are due before the next. Those of all parameters are
// made anew at once, by the count of the parameter that was updated least: updates are its numbers so far.
func Due(o Optimizer, params []ops.Param, every int, updates func(p ops.Param) int64) bool {
	least := int64(-1)
	for _, p := range params {
		if n := updates(p); interval(o, p) == every && (least < 0 || n < least) {
			least = n
		}
	}
	return least >= 0 && least%int64(every) == 0
}

// BuildRefresh adds to the current segment what makes states anew every so many updates. Nothing changes where a gradient of
// any slot is not finite.
func BuildRefresh(g *graph.Graph, o Optimizer, slots []Slot, every int) {
	grads := make([]graph.Value, len(slots))
	for i, s := range slots {
		grads[i] = s.Grad
	}
	g.At(-1, "clip_grad_norm")
	finite := g.Op("clip", gpu.Attrs{}, g.Op1("sum_squares", gpu.Attrs{}, grads...))[1]
	for _, s := range slots {
		if interval(o, s.Param) == every {
			g.At(s.Param.Layer, s.Param.Name)
			o.(Refreshing).Refresh(g, s, finite)
		}
	}
}
