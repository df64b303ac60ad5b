package growth

import (
	"context"
	"fmt"
	"slices"

	"stepflow/ops"
)

// mostParts bounds how many parts are compared with each other: all products of 16,384 take 1 GiB.
const mostParts = 1 << 14

// alignment is the order of the parts of one layer, its neurons and heads, in which they are closest to those of another: the
// optimal transport between them, for squared distances. Both layers have as many parts of equal mass, so it is a
// permutation, and the mean after it is the barycentre of the two (Singh and Jaggi 2020, arXiv 1910.05653).
//
// It is made of the weights when the first of them is asked for, and holds orders alone.
type alignment struct {
	parts        []ops.Parts
	layer        int                  // the lower one
	lower, upper map[string]ops.Param // their parameters, by the names in the layer
	names        map[string]string    // these names, by the ids of the lower layer's parameters
	orders       [][]int              // of parts[i], as Permuted takes it; nil before solve
}

// align returns the alignment of a layer of the model with another.
func (m Model) align(lower, upper int) *alignment {
	a := &alignment{parts: m.Parts, layer: lower, lower: map[string]ops.Param{}, upper: map[string]ops.Param{},
		names: map[string]string{}}
	for _, p := range m.Params {
		switch p.Layer {
		case lower:
			name := p.ID[len(m.Layers[lower])+1:]
			a.lower[name], a.names[p.ID] = p, name
		case upper:
			a.upper[p.ID[len(m.Layers[upper])+1:]] = p
		}
	}
	return a
}

// tooMany is the error of a model with more parts than can be compared with each other.
func (m Model) tooMany() error {
	for _, p := range m.Parts {
		if p.Count > mostParts {
			return fmt.Errorf("opt_deus compares each part of a layer with every other, and at most %d: %s has %d", mostParts,
				slices.Concat(p.Rows, p.Cols)[0], p.Count)
		}
	}
	return nil
}

// reader reads a parameter of the smaller model.
type reader func(ops.Param) ([]float32, error)

// solve finds the orders, one kind of parts after the other: heads are in place when their channels are compared.
func (a *alignment) solve(ctx context.Context, read reader) error {
	if a.orders != nil {
		return nil
	}
	var orders [][]int
	for _, parts := range a.parts {
		order, err := a.order(ctx, parts, orders, read)
		if err != nil {
			return err
		}
		orders = append(orders, order)
	}
	a.orders = orders
	return nil
}

// bytes returns the bytes that solve takes at most: the costs of all groups of one kind of parts, and beside them the lists of assign
// or the values of a parameter in both layers, with the lower layer's values before they were in order or a group of each layer's.
func (a *alignment) bytes() (most int64) {
	const float, lists = 4, 8 * 8
	for _, parts := range a.parts {
		n, groups := int64(parts.Count), int64(parts.Groups)
		costs := float * groups * n * n
		for _, name := range slices.Concat(parts.Rows, parts.Cols) {
			if p, ok := a.lower[name]; ok {
				value := float * p.Elems()
				most = max(most, costs+2*value+max(value, 2*value/groups))
			}
		}
		most = max(most, costs+lists*n)
	}
	return most
}

// order finds the order of one kind of parts, where those before it have theirs. The squared distance of two parts is what
// their norms add up to, whatever the order, less twice their product.
func (a *alignment) order(ctx context.Context, parts ops.Parts, before [][]int, read reader) (order []int, err error) {
	n := parts.Count
	costs := make([][]float32, parts.Groups) // of a group: [part of the upper layer, part of the lower one]
	for g := range costs {
		costs[g] = make([]float32, n*n)
	}
	for _, name := range slices.Concat(parts.Rows, parts.Cols) {
		p, ok := a.lower[name]
		if !ok {
			continue
		}
		lower, err := read(p)
		if err != nil {
			return nil, err
		}
		lower = a.permuted(name, p, lower, before)
		upper, err := read(a.upper[name])
		if err != nil {
			return nil, err
		}
		for g := range costs {
			err := subtractProducts(ctx, costs[g], parts.Group(name, p.Shape, upper, g), parts.Group(name, p.Shape, lower, g), n)
			if err != nil {
				return nil, err
			}
		}
	}
	for _, cost := range costs {
		if slices.ContainsFunc(cost, func(x float32) bool { return x-x != 0 }) {
			return nil, fmt.Errorf("the weights of layer %d or %d are not finite, or too large to be compared", a.layer, a.layer+1)
		}
		of, err := assign(ctx, cost, n)
		if err != nil {
			return nil, err
		}
		order = append(order, of...)
	}
	return order, nil
}

// apply brings values of a parameter of the lower layer, or of a state of it, into the new order.
func (a *alignment) apply(p ops.Param, x []float32) []float32 {
	return a.permuted(a.names[p.ID], p, x, a.orders)
}

func (a *alignment) permuted(name string, p ops.Param, x []float32, orders [][]int) []float32 {
	for i, order := range orders {
		if a.parts[i].Has(name) {
			x = a.parts[i].Permuted(name, p.Shape, x, order)
		}
	}
	return x
}
