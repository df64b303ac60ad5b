// Package growth makes larger models out of trained ones. An operator turns the configuration of a growth (Spec) and a
// model (Model) into a Map: for each parameter of the larger model, a weighted sum of parts of parameters of the
// smaller one, and the rule for its optimizer state. Start with Map; depth.go makes one of new layers.
//
// partition.go is about how many layers to add when: the integer program of progressive training.
package growth

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"stepflow/ops"
)

// Spec is the configuration of a growth operator.
type Spec struct {
	Method             string  // a row of operators, such as "interpolation" or "stack"
	Layers             int     // how many to add
	Position           string  // a row of positions: which gaps or layers
	Mix                float64 // interpolation, opt_deus: new = (1-mix) below + mix above
	FunctionPreserving bool    // what ends a residual branch of a new layer is zero, so that the layer is the identity
	Moments            string  // a row of momentRules; "" stands for "kept"
	Seed               uint64  // of position "random"
}

// operators are the ways to grow a model. A new one is a file and a row here; depth makes one of the layers that are
// added, and one that makes layers wider returns its own Map.
var operators = map[string]func(Spec, Model) (Map, error){
	"interpolation": depth(interpolation),
	"stack":         depth(stack),
	"copy":          depth(double),
	"midas":         depth(midas),
	"random":        depth(random),
	"opt_deus":      depth(optDeUS),
}

// Config holds the fields of a model's configuration that growth changes, by their names in config.json, such as
// num_hidden_layers, hidden_size or intermediate_size.
type Config map[string]int

// Model is the model that grows, and what an architecture says of the one that comes of it.
type Model struct {
	Layers []string    // stable ids of its layers, bottom first
	Params []ops.Param // all its parameters
	Prefix string      // starts the ids of new layers: PREFIX.0, PREFIX.1, …
	// Declare returns the parameters of the same architecture with these fields changed and these layers.
	Declare func(changed Config, layers []string) []ops.Param
	// ResidualOutput reports whether a layer adds to the residual stream through the parameter; nil for none.
	ResidualOutput func(ops.Param) bool
	Parts          []ops.Parts // what may change places in a layer
	// Init returns the first value of a parameter of a layer that is made of none.
	Init func(ops.Param) []float32
}

// Alike lists for each layer the layer of the smaller model that it is like.
func Alike(layers []Layer) []int {
	list := make([]int, len(layers))
	for i, l := range layers {
		list[i] = l.Like
	}
	return list
}

// Map returns how the operator makes the larger model. It fails where the model has no room for that many layers.
func (s Spec) Map(m Model) (Map, error) {
	grow := operators[s.Method]
	if grow == nil {
		known := slices.Sorted(maps.Keys(operators))
		return Map{}, fmt.Errorf("no growth operator %q; there are %s", s.Method, strings.Join(known, ", "))
	}
	return grow(s, m)
}
