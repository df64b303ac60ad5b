// Package growth makes deeper models out of trained ones. An operator is a recipe: for each layer
// of the larger model, a weighted sum of layers of the smaller one.
package growth

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"

	"stepflow/ops"
)

// Spec is a growth operator's configuration.
type Spec struct {
	Method             string  // "interpolation", "stack" or "copy"
	Layers             int     // how many to add
	Position           string  // "upper", "intermediate", "lower", "even" or "random": which gaps
	Mix                float64 // interpolation: new = (1-mix) below + mix above
	FunctionPreserving bool    // the new layers' output projections are zero, so each is the identity
	Seed               uint64  // for position "random"
}

// Positions lists the words Position takes.
var Positions = []string{"upper", "intermediate", "lower", "even", "random"}

// Source is one term of a new layer: a layer of the old model and its weight in the sum.
type Source struct {
	Layer  int
	Weight float64
}

// Layer is one layer of the grown model, bottom first.
type Layer struct {
	ID   string
	Old  int      // its index in the old model; -1 if it is new
	From []Source // of a new layer
}

// Grow gives the layers of the larger model. ids are the old layers' stable ids; name prefixes the
// new ones'.
func (s Spec) Grow(ids []string, name string) ([]Layer, error) {
	n := len(ids)
	if s.Layers < 1 {
		return nil, fmt.Errorf("grows by %d layers: add at least 1", s.Layers)
	}
	after := map[int][]Source{} // index of the old layer below → terms
	switch s.Method {
	case "interpolation":
		gaps, err := s.choose(n - 1)
		if err != nil {
			return nil, fmt.Errorf("interpolation puts each new layer between two neighbours, and %d layers have %d gaps: %w", n, n-1, err)
		}
		for _, i := range gaps {
			after[i] = []Source{{i, 1 - s.Mix}, {i + 1, s.Mix}}
		}
	case "copy":
		slots, err := s.choose(n)
		if err != nil {
			return nil, fmt.Errorf("copy doubles each layer at most once, and there are %d: %w", n, err)
		}
		for _, i := range slots {
			after[i] = []Source{{i, 1}}
		}
	case "stack":
		var out []Layer
		for i, id := range ids {
			out = append(out, Layer{ID: id, Old: i})
		}
		for j := 0; j < s.Layers; j++ {
			out = append(out, Layer{ID: fmt.Sprintf("%s.%d", name, j), Old: -1, From: []Source{{j % n, 1}}})
		}
		return out, nil
	default:
		return nil, fmt.Errorf("no growth operator %q", s.Method)
	}
	var out []Layer
	made := 0
	for i, id := range ids {
		out = append(out, Layer{ID: id, Old: i})
		if from := after[i]; from != nil {
			out = append(out, Layer{ID: fmt.Sprintf("%s.%d", name, made), Old: -1, From: from})
			made++
		}
	}
	return out, nil
}

// choose picks s.Layers of the slots 0..n-1 by position.
func (s Spec) choose(n int) ([]int, error) {
	k := s.Layers
	if k > n {
		return nil, fmt.Errorf("%d new layers do not fit; grow by at most %d", k, max(n, 0))
	}
	slots := make([]int, k)
	switch s.Position {
	case "upper":
		for i := range slots {
			slots[i] = n - k + i
		}
	case "lower":
		for i := range slots {
			slots[i] = i
		}
	case "intermediate":
		for i := range slots {
			slots[i] = (n-k)/2 + i
		}
	case "even":
		for i := range slots {
			slots[i] = (2*i + 1) * n / (2 * k)
		}
	case "random":
		slots = rand.New(rand.NewPCG(s.Seed, 0x67726f77)).Perm(n)[:k]
		sort.Ints(slots)
	default:
		return nil, fmt.Errorf("no position %q; there are %s", s.Position, strings.Join(Positions, ", "))
	}
	return slots, nil
}

// outputProjections are the two matrices through which a layer adds to the residual stream. With
// both at zero the layer is the identity, and both still receive gradient (Wu et al. 2024, LLaMA Pro).
var outputProjections = []string{"self_attn.o_proj.", "mlp.down_proj."}

// Value computes a parameter of a new layer: read gives the same parameter of an old layer.
func (s Spec) Value(p ops.Param, from []Source, read func(layer int) ([]float32, error)) ([]float32, error) {
	v := make([]float32, p.Shape.Elems())
	if s.FunctionPreserving {
		for _, o := range outputProjections {
			if strings.Contains(p.ID, "/"+o) {
				return v, nil
			}
		}
	}
	for _, f := range from {
		if f.Weight == 0 {
			continue
		}
		x, err := read(f.Layer)
		if err != nil {
			return nil, err
		}
		w := float32(f.Weight)
		for i := range v {
			v[i] += w * x[i]
		}
	}
	return v, nil
}
