package growth

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
)

// param is a parameter of a model in which ids are names.
func param(id string, shape ...int) ops.Param {
	return ops.Param{ID: id, Name: id, Shape: gpu.Shape(shape), Layer: -1}
}

// counting reads parameters that hold 0, 1, 2, …
func counting(p ops.Param) ([]float32, error) {
	v := make([]float32, p.Elems())
	for i := range v {
		v[i] = float32(i)
	}
	return v, nil
}

// TestWidth widens hidden_size from 8 to 12 by duplicating channels 0 to 4. What reads a duplicated channel twice is
// halved there, so that products stay what they were (Net2Net, Chen et al. 2016).
func TestWidth(t *testing.T) {
	old := []ops.Param{param("norm", 8), param("up", 6, 8), param("down", 8, 6)}
	grown := []ops.Param{param("norm", 12), param("up", 6, 12), param("down", 12, 6)}
	m, err := NewMap(old, grown, map[string]Rule{
		"norm": {Terms: []Term{{From: "norm", Cols: Range{0, 8}, Weight: 1},
			{From: "norm", Cols: Range{0, 4}, Col: 8, Weight: 1}}, State: StateZero},
		"up": {Terms: []Term{{From: "up", Cols: Range{0, 4}, Weight: 0.5}, {From: "up", Cols: Range{4, 8}, Col: 4, Weight: 1},
			{From: "up", Cols: Range{0, 4}, Col: 8, Weight: 0.5}}, State: StateMapped},
		"down": {Terms: []Term{{From: "down", Rows: Range{0, 8}, Weight: 1},
			{From: "down", Rows: Range{0, 4}, Row: 8, Weight: 1}}, State: StateMapped},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Config = Config{"hidden_size": 12}
	value := map[string][]float32{}
	for _, p := range grown {
		if value[p.ID], err = m.Value(t.Context(), p, counting); err != nil || int64(len(value[p.ID])) != p.Elems() {
			t.Fatalf("%s is %v, %v", p.ID, value[p.ID], err)
		}
	}
	if want := []float32{0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3}; !slices.Equal(value["norm"], want) {
		t.Errorf("the gain is %v, want %v", value["norm"], want)
	}
	for i := range 6 { // up times a widened vector is what it was
		x := func(c int) float32 { return []float32{3, 1, 4, 1, 5, 9, 2, 6}[c%8] }
		var before, after float32
		for c := range 8 {
			before += float32(8*i+c) * x(c)
		}
		for c := range 12 {
			after += value["up"][12*i+c] * x(c)
		}
		if before != after {
			t.Errorf("row %d of up gives %g of the wider vector, %g of the old one", i, after, before)
		}
	}
	for i := range 12 {
		for c := range 6 {
			if want := float32(6*(i%8) + c); value["down"][6*i+c] != want {
				t.Errorf("down[%d,%d] is %g, want %g", i, c, value["down"][6*i+c], want)
			}
		}
	}

	up := grown[1]
	if state, err := m.State(up, counting); err != nil || !slices.Equal(state, value["up"]) {
		t.Errorf("the mapped state is %v, %v; want %v", state, err, value["up"])
	}
	for id, want := range map[string]int64{"norm": 0, "up": 9, "down": 0} {
		p := param(id)
		if n := m.Updates(p, map[string]int64{"norm": 4, "up": 9}); n != want {
			t.Errorf("the state of %s stands for %d updates, want %d", id, n, want)
		}
	}
}

// TestUpdatesOfASum: a mapped state stands for the updates of the term that has fewest.
func TestUpdatesOfASum(t *testing.T) {
	p := param("c", 2)
	rule := Rule{Terms: []Term{{From: "a", Weight: 0.5}, {From: "b", Weight: 0.5}}, State: StateMapped}
	m, err := NewMap([]ops.Param{param("a", 2), param("b", 2)}, []ops.Param{p}, map[string]Rule{"c": rule})
	if err != nil {
		t.Fatal(err)
	}
	if n := m.Updates(p, map[string]int64{"a": 5, "b": 3}); n != 3 {
		t.Errorf("%d updates of 5 and 3", n)
	}
	if n := m.Updates(p, map[string]int64{"a": 5}); n != 0 {
		t.Errorf("%d updates, though b has no state", n)
	}
}

func TestMismatch(t *testing.T) {
	terms := func(list ...Term) Rule { return Rule{Terms: list, State: StateZero} }
	old := []ops.Param{param("old", 8, 8), param("wide", 8, 9)}
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{terms(Term{From: "old", Weight: 1}), "growing new [12,8]: all 8 rows of old [8,8] are put at 0 of 12"},
		{terms(Term{From: "wide", Rows: Range{0, 4}, Weight: 1}), "all 9 columns of wide [8,9] are put at 0 of 8"},
		{terms(Term{From: "old", Rows: Range{0, 8}, Col: 1, Weight: 1}), "all 8 columns of old [8,8] are put at 1 of 8"},
		{terms(Term{From: "old", Rows: Range{0, 9}, Weight: 1}), "old [8,8] has no rows 0 to 9"},
		{terms(Term{From: "old", Rows: Range{-1, 2}, Weight: 1}), "old [8,8] has no rows -1 to 2"},
		{terms(Term{From: "old", Rows: Range{2, 2}, Weight: 1}), "old [8,8] has no rows 2 to 2"},
		{terms(Term{From: "old", Rows: Range{0, 8}, Row: 5, Weight: 1}), "rows 0 to 8 of old [8,8] are put at 5 of 12"},
		{terms(Term{From: "old", Rows: Range{0, 8}, Row: -1, Weight: 1}), "rows 0 to 8 of old [8,8] are put at -1 of 12"},
		{terms(Term{From: "lost", Weight: 1}), "no parameter lost"},
		{Rule{}, "optimizer state"},
		{Rule{Terms: []Term{{From: "old", Rows: Range{0, 8}, Weight: 1}}, State: StateKept}, "cannot be kept"},
	} {
		_, err := NewMap(old, []ops.Param{param("new", 12, 8)}, map[string]Rule{"new": c.rule})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v; want %q", c.rule, err, c.want)
		}
	}
	if _, err := NewMap(nil, []ops.Param{param("new", 1)}, nil); err == nil || !strings.Contains(err.Error(), "no rule") {
		t.Errorf("a parameter without a rule: %v", err)
	}
}

// TestReading: an error of reading, and a tensor that is not as long as its shape, name what was being grown.
func TestReading(t *testing.T) {
	p, lost := param("a", 2), errors.New("lost")
	m, err := NewMap([]ops.Param{p}, []ops.Param{p}, map[string]Rule{"a": Keep("a")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Value(t.Context(), p, func(ops.Param) ([]float32, error) { return nil, lost })
	if !errors.Is(err, lost) || !strings.Contains(err.Error(), "growing a") {
		t.Errorf("the error is %v", err)
	}
	if _, err := m.Value(t.Context(), p, func(ops.Param) ([]float32, error) { return []float32{1}, nil }); err == nil {
		t.Error("a tensor of 1 value is taken for one of 2")
	}
}
