package peft

import (
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"stepflow/ops"
	"stepflow/ops/arch"
)

func params() []ops.Param {
	c := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 10, HiddenSize: 8, IntermediateSize: 12, NumHiddenLayers: 2, NumAttentionHeads: 2}}
	c.Fill()
	return c.Declare([]string{"a", "b"})
}

func all(ops.Param) bool { return true }

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		targets []string
		n       int
	}{{[]string{"q_proj"}, 2}, {[]string{"all-linear"}, 14}, {[]string{"model.layers.*.mlp.*"}, 6}, {[]string{"self_attn.q_proj", "lm_head"}, 3}, {[]string{"model.layers.1.self_attn.k_proj"}, 1}} {
		as, err := Spec{R: 2, TargetModules: c.targets}.Match(params(), all)
		if err != nil || len(as) != c.n {
			t.Errorf("%v matches %d projections, want %d; %v", c.targets, len(as), c.n, err)
		}
	}
	_, err := Spec{R: 2, TargetModules: []string{"q_proj", "query"}}.Match(params(), all)
	if err == nil || !strings.Contains(err.Error(), `"query"`) || !strings.Contains(err.Error(), "q_proj, up_proj, v_proj") {
		t.Errorf("a target without a match: %v", err)
	}
	_, err = Spec{R: 9, TargetModules: []string{"q_proj"}}.Match(params(), all)
	if err == nil || !strings.Contains(err.Error(), "at most 8") {
		t.Errorf("a rank above the matrix: %v", err)
	}
	if _, err := (Spec{R: 2, TargetModules: []string{"embed_tokens"}}).Match(params(), all); err == nil {
		t.Error("an embedding is taken for a projection")
	}
}

// TestCount holds E = 8hr + 3r(h+m) for all seven projections of a layer with full-width heads.
func TestCount(t *testing.T) {
	as, err := Spec{R: 3, TargetModules: []string{"all-linear"}}.Match(params(), func(p ops.Param) bool { return p.Layer == 0 })
	if err != nil {
		t.Fatal(err)
	}
	const h, m, r = 8, 12, 3
	if n := ops.Count(Params(as), nil); n != 8*h*r+3*r*(h+m) {
		t.Errorf("%d parameters in adapters of a layer, want %d", n, 8*h*r+3*r*(h+m))
	}
}

func TestScaleAndInit(t *testing.T) {
	s := Spec{R: 16, Alpha: 32}
	if s.Scale() != 2 {
		t.Error(s.Scale())
	}
	s.UseRSLora = true
	if s.Scale() != 8 {
		t.Error(s.Scale())
	}
	p := ops.Param{ID: "x", Kind: ops.KindLoraA, Shape: []int{4, 64}}
	a, b := Init(p, 1, 0), Init(p, 1, 1)
	var most float64
	for _, x := range a {
		most = math.Max(most, math.Abs(float64(x)))
	}
	if most > 0.125 || most < 0.1 {
		t.Errorf("A reaches %g, the bound is 1/sqrt(64)", most)
	}
	if a[0] == b[0] {
		t.Error("a restart gives the same A")
	}
	p.Kind = ops.KindLoraB
	for _, x := range Init(p, 1, 0) {
		if x != 0 {
			t.Fatal("B does not start at zero")
		}
	}
}

func TestKept(t *testing.T) {
	p := ops.Param{ID: "x.lora_A.weight", Kind: ops.KindLoraA, Shape: []int{20, 50}}
	m := make([]float32, 1000)
	for i := range m {
		m[i] = float32(i) * float32(1-2*(i%2))
	}
	count := func(kept []bool) (n int) {
		for _, k := range kept {
			if k {
				n++
			}
		}
		return n
	}
	if n := count(Spec{}.Kept(p, m, 1, 1)); n != 0 {
		t.Errorf("%d elements are kept without pruning", n)
	}
	kept := Spec{MagnitudePruning: 0.9}.Kept(p, m, 1, 1)
	if n := count(kept); n != 100 || !kept[999] || kept[899] || !kept[900] {
		t.Errorf("%d elements are kept by magnitude, want the 100 largest", n)
	}
	s := Spec{RandomPruning: 0.75}
	kept, again := s.Kept(p, m, 1, 1), s.Kept(p, m, 1, 2)
	if n := count(kept); n < 200 || n > 300 {
		t.Errorf("%d of 1000 elements are kept at random, want about 250", n)
	}
	if slices.Equal(kept, again) || !slices.Equal(kept, s.Kept(p, m, 1, 1)) {
		t.Error("what is drawn does not follow from the number of the restart")
	}
}

func TestCheckInit(t *testing.T) {
	for s, ok := range map[string]bool{"true": true, "pissa": true, "pissa_niter_0": true, "pissa_niter_16": true, "pissa_niter_": false,
		"pissa_niter_-1": false, "pissa_niter_04": false, "pissa_niter_65": false, "gaussian": false, "": false} {
		if err := CheckInit(s); (err == nil) != ok {
			t.Errorf("init_lora_weights %q: %v", s, err)
		}
	}
}

// TestSingular holds singular vectors to their definition, for matrices of both shapes, of lower rank than the adapter, and zero.
func TestSingular(t *testing.T) {
	for _, c := range []struct{ out, in, rank int }{{30, 12, 12}, {12, 30, 12}, {20, 20, 2}, {20, 20, 0}} {
		for _, init := range []string{"pissa", "pissa_niter_8"} {
			s := Spec{R: 4, Alpha: 8, Init: init}
			p := ops.Param{ID: "w", Name: "w.weight", Shape: []int{c.out, c.in}, Kind: ops.KindLinear}
			down, up := Shapes(p.Shape, s.R)
			a := Adapter{Target: p, A: ops.Param{ID: "a", Shape: down, Kind: ops.KindLoraA}, B: ops.Param{ID: "b", Shape: up, Kind: ops.KindLoraB}}
			w := make([]float32, c.out*c.in)
			r := ops.Rand(1, "w")
			for k := range c.rank { // a product of orthogonal-ish columns of falling weight
				x, y := make([]float32, c.out), make([]float32, c.in)
				for i := range x {
					x[i] = float32(r.NormFloat64() / float64(1+k))
				}
				for i := range y {
					y[i] = float32(r.NormFloat64())
				}
				AddProduct(w, x, y, 1, 1, c.in)
			}
			da, ub, err := s.Singular(t.Context(), a, w, 3)
			if err != nil {
				t.Fatal(err)
			}
			rest := append([]float32(nil), w...)
			AddProduct(rest, ub, da, -s.Scale(), s.R, c.in)
			norm := func(v []float32) (n float64) {
				for _, x := range v {
					n += float64(x) * float64(x)
				}
				return math.Sqrt(n)
			}
			if c.rank <= s.R && norm(rest) > 1e-5*math.Max(norm(w), 1) {
				t.Errorf("%v by %s: %g is left of a matrix of rank %d", p.Shape, init, norm(rest), c.rank)
			}
			for k := range min(s.R, c.rank) { // what is left is orthogonal to what was taken
				var most float64
				for o := range c.out {
					dot := 0.0
					for i := range c.in {
						dot += float64(rest[o*c.in+i]) * float64(da[k*c.in+i])
					}
					most = math.Max(most, math.Abs(dot))
				}
				if most > 1e-3*norm(w) {
					t.Errorf("%v by %s: the rest and singular vector %d have the product %g", p.Shape, init, k, most)
				}
			}
			if c.rank == 0 && (norm(ub) != 0 || norm(da) == 0) {
				t.Errorf("the adapter of a matrix of zeros cannot learn: |A| = %g, |B| = %g", norm(da), norm(ub))
			}
		}
	}
}

// TestSingularTakesWhatItSays: all that Singular allocates is alive until it has ended, but for what a search begins with.
func TestSingularTakesWhatItSays(t *testing.T) {
	for _, c := range []struct {
		out, in int
		init    string
		least   float64
	}{{300, 200, "pissa", 0.94}, {200, 900, "pissa", 0.94}, {300, 300, "pissa_niter_0", 0.84}, {200, 500, "pissa_niter_0", 0.84}} {
		s := Spec{R: 8, Alpha: 8, Init: c.init}
		p := ops.Param{ID: "w", Name: "w.weight", Shape: []int{c.out, c.in}, Kind: ops.KindLinear}
		down, up := Shapes(p.Shape, s.R)
		a := Adapter{Target: p, A: ops.Param{ID: "a", Shape: down}, B: ops.Param{ID: "b", Shape: up}}
		w, r := make([]float32, c.out*c.in), ops.Rand(1, "w")
		for i := range w {
			w[i] = float32(r.NormFloat64())
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, _, err := s.Singular(t.Context(), a, w, 3); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		took, says := float64(after.TotalAlloc-before.TotalAlloc), float64(s.SingularBytes(c.out, c.in))
		if share := says / took; share < c.least || share > 1.1 {
			t.Errorf("%v by %s: says %.0f bytes, allocates %.0f", p.Shape, c.init, says, took)
		}
	}
}

func TestSingularEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := Spec{R: 4, Alpha: 8, Init: "pissa"}
	p := ops.Param{ID: "w", Name: "w.weight", Shape: []int{400, 400}, Kind: ops.KindLinear}
	down, up := Shapes(p.Shape, s.R)
	a := Adapter{Target: p, A: ops.Param{ID: "a", Shape: down}, B: ops.Param{ID: "b", Shape: up}}
	if _, _, err := s.Singular(ctx, a, make([]float32, 400*400), 3); !errors.Is(err, context.Canceled) {
		t.Errorf("a search that is over before it begins: %v", err)
	}
}
