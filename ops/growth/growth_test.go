package growth

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
)

// declare lists the parameters of a model of few: hidden 4, intermediate 6.
func declare(_ Config, layers []string) []ops.Param {
	list := []ops.Param{{ID: "embed", Name: "embed", Shape: gpu.Shape{5, 4}, Layer: -1, Kind: ops.KindEmbedding}}
	for i, id := range layers {
		for _, x := range []struct {
			name  string
			shape gpu.Shape
		}{{"norm.weight", gpu.Shape{4}}, {"up.weight", gpu.Shape{6, 4}}, {"down.weight", gpu.Shape{4, 6}}} {
			name := fmt.Sprintf("layers.%d.%s", i, x.name)
			list = append(list, ops.Param{ID: id + "/" + x.name, Name: name, Shape: x.shape, Layer: i})
		}
	}
	return list
}

// small is a model with these layers.
func small(layers ...string) Model {
	return Model{Layers: layers, Params: declare(nil, layers), Prefix: "n", Declare: declare,
		ResidualOutput: func(p ops.Param) bool { return strings.HasSuffix(p.ID, "/down.weight") },
		Init:           fresh}
}

// fresh is the first value of a parameter of a fresh model.
func fresh(p ops.Param) []float32 {
	v := make([]float32, p.Elems())
	for i := range v {
		v[i] = float32(i) + 0.25
	}
	return v
}

// show prints layers: the id of an old one, the sum that a new one is.
func show(m Map) string {
	var list []string
	for _, l := range m.Layers {
		if l.Old >= 0 {
			list = append(list, l.ID)
			continue
		}
		var from []string
		for _, f := range l.From {
			from = append(from, fmt.Sprintf("%g*%d", f.Weight, f.Layer))
		}
		list = append(list, "("+strings.Join(from, "+")+")")
	}
	return strings.Join(list, " ")
}

func TestOperators(t *testing.T) {
	old := small("a", "b", "c", "d", "e")
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{Method: "interpolation", Layers: 2, Position: "upper", Mix: 0.5}, "a b c (0.5*2+0.5*3) d (0.5*3+0.5*4) e"},
		{Spec{Method: "interpolation", Layers: 2, Position: "lower", Mix: 0.25}, "a (0.75*0+0.25*1) b (0.75*1+0.25*2) c d e"},
		{Spec{Method: "interpolation", Layers: 2, Position: "intermediate", Mix: 0.5},
			"a b (0.5*1+0.5*2) c (0.5*2+0.5*3) d e"},
		{Spec{Method: "interpolation", Layers: 2, Position: "even", Mix: 0.5}, "a b (0.5*1+0.5*2) c d (0.5*3+0.5*4) e"},
		{Spec{Method: "interpolation", Layers: 4, Position: "even", Mix: 0.5},
			"a (0.5*0+0.5*1) b (0.5*1+0.5*2) c (0.5*2+0.5*3) d (0.5*3+0.5*4) e"},
		{Spec{Method: "copy", Layers: 2, Position: "upper"}, "a b c d (1*3) e (1*4)"},
		{Spec{Method: "opt_deus", Layers: 2, Position: "upper", Mix: 0.5}, "a b c (0.5*2+0.5*3) d (0.5*3+0.5*4) e"},
		{Spec{Method: "midas", Layers: 1}, "a b c (1*2) d e"},
		{Spec{Method: "midas", Layers: 2}, "a b c (1*1) (1*2) d e"},
		{Spec{Method: "midas", Layers: 5}, "a b c d e (1*0) (1*1) (1*2) (1*3) (1*4)"},
		{Spec{Method: "random", Layers: 2}, "a b c d e () ()"},
		{Spec{Method: "stack", Layers: 7}, "a b c d e (1*0) (1*1) (1*2) (1*3) (1*4) (1*0) (1*1)"},
	} {
		m, err := c.spec.Map(old)
		if err != nil || show(m) != c.want || m.Config["num_hidden_layers"] != 5+c.spec.Layers {
			t.Errorf("%+v: %s, %v, %v; want %s", c.spec, show(m), m.Config, err, c.want)
		}
	}
	for want, spec := range map[string]Spec{
		"grow by at most 4":    {Method: "interpolation", Layers: 5, Position: "upper"},
		"grow by at most 5":    {Method: "copy", Layers: 6, Position: "upper"},
		"add at least 1":       {Method: "interpolation", Position: "upper"},
		"upper, intermediate,": {Method: "interpolation", Layers: 1, Position: "top"},
		"copy, interpolation,": {Method: "widen", Layers: 1},
		"no block of 6":        {Method: "midas", Layers: 6},
		"kept, mapped, zeroed": {Method: "stack", Layers: 1, Moments: "gone"},
	} {
		if m, err := spec.Map(old); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v gives %s, %v; want the error %q", spec, show(m), err, want)
		}
	}
	if m, err := (Spec{Method: "stack", Layers: 1}).Map(small()); err == nil {
		t.Errorf("a model without layers grows to %s", show(m))
	}
}

// specs are all operators at all positions.
func specs() (list []Spec) {
	for method := range operators {
		for _, p := range positions {
			for _, preserving := range []bool{false, true} {
				list = append(list, Spec{Method: method, Layers: 3, Position: p.name, Mix: 0.3, FunctionPreserving: preserving,
					Seed: 4})
			}
		}
	}
	return list
}

// weights gives every parameter of a model values of many magnitudes, minus zero and a NaN among them.
func weights(m Model) map[string][]float32 {
	r := rand.New(rand.NewPCG(1, 2))
	values := map[string][]float32{}
	for _, p := range m.Params {
		v := make([]float32, p.Elems())
		for i := range v {
			v[i] = float32(r.NormFloat64() * math.Exp2(float64(r.IntN(20)-10)))
		}
		v[0], v[1] = float32(math.Copysign(0, -1)), math.Float32frombits(0x7fc12345)
		values[p.ID] = v
	}
	return values
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

// TestOldTensorsStay: whatever is added, what was there keeps its bits and its optimizer state.
func TestOldTensorsStay(t *testing.T) {
	old := small("a", "b", "c", "d", "e")
	values := weights(old)
	read := func(p ops.Param) ([]float32, error) { return values[p.ID], nil }
	updates := map[string]int64{"a/up.weight": 7}
	for _, spec := range specs() {
		m, err := spec.Map(old)
		if err != nil {
			t.Fatal(err)
		}
		kept := 0
		for _, p := range m.Params {
			want, ok := values[p.ID]
			if !ok {
				continue
			}
			kept++
			got, err := m.Value(t.Context(), p, read)
			state, err2 := m.State(p, read)
			n := m.Updates(p, updates)
			if err != nil || err2 != nil || !sameBits(got, want) || !sameBits(state, want) || n != updates[p.ID] {
				t.Fatalf("%+v: %s is %v, its state %v after %d updates", spec, p.ID, got, state, n)
			}
		}
		if kept != len(old.Params) {
			t.Errorf("%+v keeps %d of %d parameters", spec, kept, len(old.Params))
		}
	}
	if m, err := Continue(old); err != nil || show(m) != "a b c d e" || len(m.Params) != len(old.Params) {
		t.Errorf("a model that goes on has the layers %s, %v", show(m), err)
	}
}

// TestNewTensors: a new layer is the weighted sum of its sources, in float32 and in their order, and its weights sum to
// 1. Where it ends a residual branch it is zero, if the function is to be preserved.
func TestNewTensors(t *testing.T) {
	old := small("a", "b", "c", "d", "e")
	values := weights(old)
	read := func(p ops.Param) ([]float32, error) { return values[p.ID], nil }
	for _, spec := range specs() {
		m, err := spec.Map(old)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Params {
			if values[p.ID] != nil {
				continue
			}
			want, sum := make([]float32, p.Elems()), 0.0
			layer := m.Layers[p.Layer]
			if len(layer.From) == 0 {
				sum = 1
				if !spec.FunctionPreserving || !old.ResidualOutput(p) {
					want = fresh(p)
				}
			}
			for _, f := range layer.From {
				sum += f.Weight
				if spec.FunctionPreserving && old.ResidualOutput(p) {
					continue
				}
				for i, x := range values[old.Layers[f.Layer]+strings.TrimPrefix(p.ID, layer.ID)] {
					want[i] += float32(f.Weight) * x
				}
			}
			got, err := m.Value(t.Context(), p, read)
			state, err2 := m.State(p, read)
			if err != nil || err2 != nil || !sameBits(got, want) || state != nil || sum != 1 {
				t.Fatalf("%+v: %s is %v, want %v of weights %g; its state is %v", spec, p.ID, got, want, sum, state)
			}
		}
	}
}

// TestBlocksOfMIDAS: of an even number of blocks, the lower of the two in the middle is doubled.
func TestBlocksOfMIDAS(t *testing.T) {
	m, err := Spec{Method: "midas", Layers: 2}.Map(small("a", "b", "c", "d"))
	if want := "a b (1*0) (1*1) c d"; err != nil || show(m) != want {
		t.Errorf("%s, %v; want %s", show(m), err, want)
	}
}

// TestMoments: what becomes of optimizer states is said by a word.
func TestMoments(t *testing.T) {
	old := small("a", "b")
	values := weights(old)
	read := func(p ops.Param) ([]float32, error) { return values[p.ID], nil }
	updates := map[string]int64{"a/up.weight": 7, "b/up.weight": 9}
	for moments, want := range map[string][2]int64{"kept": {7, 0}, "zeroed": {0, 0}, "mapped": {7, 9}} {
		m, err := Spec{Method: "copy", Layers: 1, Position: "upper", Moments: moments}.Map(old)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Params {
			i := slices.Index([]string{"a/up.weight", "n.0/up.weight"}, p.ID)
			if i < 0 {
				continue
			}
			state, err := m.State(p, read)
			if n := m.Updates(p, updates); err != nil || n != want[i] || (state != nil) != (n > 0) {
				t.Errorf("%s: %s has %d updates and the state %v, %v; want %d", moments, p.ID, n, state, err, want[i])
			}
			if m.Unchanged(p) != (i == 0) {
				t.Errorf("%s: %s keeps its bits: %t", moments, p.ID, m.Unchanged(p))
			}
		}
	}
}

// TestWeightsOfZeroAreNotRead: what a source of weight zero holds, NaN even, does not count.
func TestWeightsOfZeroAreNotRead(t *testing.T) {
	m, err := Spec{Method: "interpolation", Layers: 1, Position: "lower", Mix: 1}.Map(small("a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range m.Params {
		if p.Layer != 1 {
			continue
		}
		_, err := m.Value(t.Context(), p, func(o ops.Param) ([]float32, error) {
			if strings.HasPrefix(o.ID, "a/") {
				t.Errorf("%s reads %s", p.ID, o.ID)
			}
			return make([]float32, o.Elems()), nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
