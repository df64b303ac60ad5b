package growth_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/growth"
)

// layers are the weights of each layer by their names in it.
type layers []map[string][]float32

// grown returns the layer that opt_deus puts between two, and, where states is not nil, the state that it begins with.
func grown(t *testing.T, m arch.Model, two, states layers) (layer, state map[string][]float32, err error) {
	t.Helper()
	old := m.Declare([]string{"a", "b"})
	g, err := growth.Spec{Method: "opt_deus", Layers: 1, Position: "upper", Mix: 0.5, Moments: "mapped"}.Map(growth.Model{
		Layers: []string{"a", "b"}, Params: old, Prefix: "n", Parts: m.Parts(),
		Declare: func(c growth.Config, ids []string) []ops.Param { return m.With(c).Declare(ids) }})
	if err != nil {
		return nil, nil, err
	}
	read := func(from layers) func(ops.Param) ([]float32, error) {
		return func(p ops.Param) ([]float32, error) {
			if v, ok := from[p.Layer][strings.TrimPrefix(p.Name, arch.LayerPrefix(p.Layer))]; ok {
				return v, nil
			}
			return make([]float32, p.Shape.Elems()), nil
		}
	}
	layer, state = map[string][]float32{}, map[string][]float32{}
	for _, p := range g.Params {
		if p.Layer != 1 {
			continue
		}
		name := strings.TrimPrefix(p.Name, arch.LayerPrefix(1))
		if layer[name], err = g.Value(t.Context(), p, read(two)); err == nil && states != nil {
			state[name], err = g.State(p, read(states))
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return layer, state, nil
}

// gqa is a model with three query heads for each of two key-value heads.
func gqa() arch.Model {
	m := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 3, HiddenSize: 8, IntermediateSize: 11,
		NumHiddenLayers: 2, NumAttentionHeads: 6, NumKeyValueHeads: 2, HeadDim: 4, AttentionBias: true}}
	m.Fill()
	return m
}

// TestOptDeusIsOptimalTransport compares the layer with one that was made by other solvers of optimal transport
// (tools/parity/opt_deus_fixture.py).
func TestOptDeusIsOptimalTransport(t *testing.T) {
	b, err := os.ReadFile("testdata/opt_deus.json")
	if err != nil {
		t.Fatal(err)
	}
	var x layers
	if err := json.Unmarshal(b, &x); err != nil {
		t.Fatal(err)
	}
	got, _, err := grown(t, gqa(), x[:2], nil)
	if err != nil {
		t.Fatal(err)
	}
	moved := false
	for name, want := range x[2] {
		for i, w := range want {
			if d := math.Abs(float64(got[name][i] - w)); !(d < 1e-6) {
				t.Errorf("%s: element %d is %g, not %g", name, i, got[name][i], w)
				break
			}
			moved = moved || math.Abs(float64(w-(x[0][name][i]+x[1][name][i])/2)) > 0.1
		}
	}
	if !moved {
		t.Error("the plain mean is the same")
	}
}

// TestOptDeusFindsTheOrder makes a layer of the one below by shuffling its parts: the layer between them is the upper one,
// and so is its state.
func TestOptDeusFindsTheOrder(t *testing.T) {
	for _, name := range []string{"llama", "olmo2", "qwen3"} {
		m := gqa()
		m.Arch, m.AttentionBias = arch.Lookup(name), name != "olmo2"
		r := rand.New(rand.NewPCG(1, 2))
		two, states := layers{{}, {}}, layers{{}, {}}
		var orders [][]int
		for _, parts := range m.Parts() {
			var order []int
			for range parts.Groups {
				order = append(order, r.Perm(parts.Count)...)
			}
			orders = append(orders, order)
		}
		for _, p := range m.Declare([]string{"a"}) {
			if p.Layer < 0 {
				continue
			}
			name := strings.TrimPrefix(p.Name, arch.LayerPrefix(0))
			for _, of := range []layers{two, states} {
				v := make([]float32, p.Shape.Elems())
				for i := range v {
					v[i] = float32(r.NormFloat64())
				}
				of[0][name] = v
				for i, parts := range m.Parts() {
					if parts.Has(name) {
						v = parts.Permuted(name, p.Shape, v, orders[i])
					}
				}
				of[1][name] = v
			}
		}
		layer, state, err := grown(t, m, two, states)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range two[1] {
			if !slices.Equal(layer[name], want) || !slices.Equal(state[name], states[1][name]) {
				t.Errorf("%s: %s is another", m.Arch.Type, name)
			}
		}
	}
}

func TestOptDeusRefuses(t *testing.T) {
	bad := layers{{"mlp.up_proj.weight": make([]float32, 88)}, {"mlp.up_proj.weight": make([]float32, 88)}}
	bad[1]["mlp.up_proj.weight"][5] = float32(math.NaN())
	const want = "the weights of layer 0 or 1 are not finite, or too large to be compared"
	if _, _, err := grown(t, gqa(), bad, nil); err == nil || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
	m := gqa()
	m.IntermediateSize = 1<<14 + 1
	if _, _, err := grown(t, m, layers{{}, {}}, nil); err == nil ||
		!strings.Contains(err.Error(), "at most 16384: mlp.gate_proj.weight has 16385") {
		t.Error(err)
	}
}

// TestOptDeusEndsWithItsContext, and says before what it is about to do and what memory that takes.
func TestOptDeusEndsWithItsContext(t *testing.T) {
	m := gqa()
	g, err := growth.Spec{Method: "opt_deus", Layers: 1, Position: "upper", Mix: 0.5}.Map(growth.Model{
		Layers: []string{"a", "b"}, Params: m.Declare([]string{"a", "b"}), Prefix: "n", Parts: m.Parts(),
		Declare: func(c growth.Config, ids []string) []ops.Param { return m.With(c).Declare(ids) }})
	if err != nil {
		t.Fatal(err)
	}
	zeros := func(p ops.Param) ([]float32, error) { return make([]float32, p.Shape.Elems()), nil }
	for _, p := range g.Params {
		layer, solves := g.Solves(p)
		if solves != (p.Layer == 1) || layer != 0 {
			t.Errorf("%s: layer %d is brought into order, %t", p.Name, layer, solves)
		}
		if !solves {
			continue
		}
		// The most is taken by 6 heads in 2 groups, or by 11 neurons with 8 weights each: 11² costs and four times the weights.
		if n := g.ValueBytes(p); n < 4*(11*11+4*8*11) || n > 2*4*(11*11+4*8*11) {
			t.Errorf("%s takes %d bytes", p.Name, n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Value(ctx, p, zeros); !errors.Is(err, context.Canceled) {
			t.Errorf("%s is made though nobody wants it any more: %v", p.Name, err)
		}
	}
}
