package peft

import (
	"math"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
)

func composing(out, in int, spec Spec) (Spec, Adapter, error) {
	spec.Method, spec.TargetModules = "sltrain", []string{"all-linear"}
	p := ops.Param{ID: "a/q_proj.weight", Name: "model.layers.0.self_attn.q_proj.weight", Shape: gpu.Shape{out, in}, Kind: ops.KindLinear}
	as, err := spec.Match([]ops.Param{p}, func(ops.Param) bool { return true })
	if err != nil {
		return spec, Adapter{}, err
	}
	return spec, as[0], nil
}

// TestDraw: places are distinct, ascend, are the same for a seed, and every element is drawn as often as any other.
func TestDraw(t *testing.T) {
	_, a, err := composing(5, 8, Spec{R: 1, Alpha: 1, Sparsity: 0.3})
	if err != nil || a.Values.Shape[0] != 12 {
		t.Fatal(a, err)
	}
	const draws = 4000
	var count [40]int
	for seed := range uint64(draws) {
		list := Draw(a, seed)
		if err := CheckPlaces(a, list); err != nil {
			t.Fatal(err)
		}
		for _, n := range list {
			count[n]++
		}
	}
	for n, c := range count { // of a mean of 1200, six standard deviations
		if math.Abs(float64(c)-0.3*draws) > 6*math.Sqrt(draws*0.3*0.7) {
			t.Errorf("element %d was drawn %d times in %d", n, c, draws)
		}
	}
	if !slices.Equal(Draw(a, 7), Draw(a, 7)) || slices.Equal(Draw(a, 7), Draw(a, 8)) {
		t.Error("the places do not follow from the seed")
	}
	for _, list := range [][]int32{Draw(a, 1)[1:], append(Draw(a, 1)[:11:11], 40), append([]int32{3, 3}, Draw(a, 1)[2:]...),
		append([]int32{-1}, Draw(a, 1)[1:]...)} {
		if CheckPlaces(a, list) == nil {
			t.Errorf("%v are taken for places", list)
		}
	}
	for _, c := range []struct {
		at   int
		n    int32
		want string
	}{
		{0, -5, "sparse_index[0] is -5, and model.layers.0.self_attn.q_proj.weight [5,8] has elements 0 to 39"},
		{11, 40, "sparse_index[11] is 40, and"},
		{1, 0, "sparse_index[1] is 0, and [0] before it is"},
	} {
		list := Draw(a, 1)
		list[c.at] = c.n
		if err := CheckPlaces(a, list); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d at %d: %v", c.n, c.at, err)
		}
	}
}

// TestDecompose: product and values are near to a weight, which they are at the places; and nearly all of a weight that was such a
// product with such values, which the best product alone is not.
func TestDecompose(t *testing.T) {
	s, a, err := composing(24, 20, Spec{R: 3, Alpha: 6, Sparsity: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	places := Draw(a, 3)
	f := Begin(a, 3)
	for i := range f.Up {
		f.Up[i] = float32(math.Sin(float64(i * i)))
	}
	other := make([]float32, a.Target.Elems())
	for i := range other {
		other[i] = float32(math.Sin(float64(i * i)))
	}
	for name, c := range map[string]struct {
		w        []float32
		from, to float64 // of the norm is lost
	}{
		"such a sum": {s.Compose(a, f.Down, f.Up, f.Values, places), 0, 0.02},
		"another":    {other, 0.5, 0.95},
	} {
		w := slices.Clone(c.w)
		f, err := s.Decompose(t.Context(), a, w, places, 3, func(v []float32) []float32 { return v })
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(w, c.w) {
			t.Errorf("%s: the weight was changed", name)
		}
		var lost, all float64
		made := s.Compose(a, f.Down, f.Up, f.Values, places)
		for i, x := range made {
			lost, all = lost+math.Pow(float64(x-w[i]), 2), all+math.Pow(float64(w[i]), 2)
		}
		for _, n := range places {
			if math.Abs(float64(made[n]-w[n])) > 1e-5 {
				t.Errorf("%s: element %d has a value, and is %g, want %g", name, n, made[n], w[n])
			}
		}
		if math.Abs(lost-f.Lost) > 1e-5*all || math.Abs(all-f.All) > 1e-5*all {
			t.Errorf("%s: %g of %g was lost, and the sum differs by %g of %g", name, f.Lost, f.All, lost, all)
		}
		if share := math.Sqrt(lost / all); share < c.from || share > c.to {
			t.Errorf("%s: %g of the norm was lost", name, share)
		}
	}
}

func TestComposeErrors(t *testing.T) {
	for _, c := range []struct {
		out, in  int
		sparsity float64
		want     string
	}{
		{4, 4, 0.05, "a sparsity of 0.05 is less than one element of model.layers.0.self_attn.q_proj, which is 4 x 4: " +
			"choose at least 0.063"},
		{1, 1, 0.9, "choose at least 1"},
		{30, 10, 0.0033, "choose at least 0.0034"},
		{1 << 16, 1 << 16, 0.05, "4294967296 elements, and sltrain numbers them in 32 bits"},
	} {
		_, _, err := composing(c.out, c.in, Spec{R: 1, Alpha: 1, Sparsity: c.sparsity})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d x %d: %v", c.out, c.in, err)
		}
	}
}

// TestLeastSparsity: the sparsity that an error advises is enough, for weights of any size.
func TestLeastSparsity(t *testing.T) {
	for all := int64(2); all < 1<<31; all += 1 + all/7 {
		least := leastSparsity(all)
		if n := (Spec{Sparsity: least}).values(all); n < 1 || least > 1.2/float64(all) {
			t.Errorf("%d values at %g of %d elements", n, least, all)
		}
	}
}

// TestAdviceHoldsForAll: what an error advises for one projection is enough for all.
func TestAdviceHoldsForAll(t *testing.T) {
	linear := func(name string, out, in int) ops.Param {
		return ops.Param{ID: name, Name: name + ".weight", Shape: gpu.Shape{out, in}, Kind: ops.KindLinear}
	}
	list := []ops.Param{linear("q_proj", 30, 30), linear("k_proj", 10, 30)}
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{Spec{Method: "lora", R: 33}, "rank 33 is larger than k_proj, which is 10 x 30: choose r of at most 10"},
		{Spec{Method: sltrain, R: 33, Sparsity: 0.5}, "choose r of at most 10"},
		{Spec{Method: sltrain, R: 1, Sparsity: 1e-4}, "less than one element of k_proj, which is 10 x 30: choose at least 0.0034"},
	} {
		c.spec.TargetModules = []string{"all-linear"}
		if _, err := c.spec.Match(list, func(ops.Param) bool { return true }); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.spec.Method, err)
		}
	}
}
