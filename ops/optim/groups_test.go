package optim_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
	"stepflow/ops/optim"
)

var (
	adamw = optim.AdamW{LearningRate: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1, MaxGradNorm: 5}
	muon  = optim.Muon{LearningRate: 0.02, Momentum: 0.95, Nesterov: true, NSCoefficients: optim.NSCoefficients, NSSteps: 1,
		Eps: 1e-7, WeightDecay: 0.1, AdjustLR: "original", MaxGradNorm: 1}
	both = muon.With(adamw)

	projection = ops.Param{ID: "p", Name: "model.layers.0.mlp.up_proj.weight", Shape: gpu.Shape{6, 4}, Kind: ops.KindLinear}
	norm       = ops.Param{ID: "n", Name: "model.norm.weight", Shape: gpu.Shape{5}, Layer: -1, Kind: ops.KindNorm}
)

// The launches of an update, and their order, are part of what a program is known by.
func TestUpdateGraphs(t *testing.T) {
	for _, c := range []struct {
		name  string
		o     optim.Optimizer
		dtype gpu.DType
		want  string
	}{
		{"adamw in fp32", adamw, gpu.F32, `
update:
  %0 = sum_squares grad/p grad/n f32[2]
  %1 = clip %0 f32[1] f32[1]
  %2 = adamw p grad/p adam_m/p adam_v/p %1.1 hyper/p f32[6,4] f32[6,4] f32[6,4]
  %3 = adamw n grad/n adam_m/n adam_v/n %1.1 hyper/n f32[5] f32[5] f32[5]
  p <- %2.0
  adam_m/p <- %2.1
  adam_v/p <- %2.2
  n <- %3.0
  adam_m/n <- %3.1
  adam_v/n <- %3.2
  norm <- %1.0
`},
		{"adamw in bf16", adamw, gpu.BF16, `
update:
  %0 = sum_squares grad/p grad/n f32[2]
  %1 = clip %0 f32[1] f32[1]
  %2 = adamw_master p grad/p master/p adam_m/p adam_v/p %1.1 hyper/p bf16[6,4] f32[6,4] f32[6,4] f32[6,4]
  %3 = adamw_master n grad/n master/n adam_m/n adam_v/n %1.1 hyper/n bf16[5] f32[5] f32[5] f32[5]
  p <- %2.0
  master/p <- %2.1
  adam_m/p <- %2.2
  adam_v/p <- %2.3
  n <- %3.0
  master/n <- %3.1
  adam_m/n <- %3.2
  adam_v/n <- %3.3
  norm <- %1.0
`},
		{"muon and adamw in bf16", both, gpu.BF16, `
update:
  %0 = sum_squares grad/p grad/n f32[2]
  %1 = clip %0 f32[1] f32[1]
  %2 = ema muon_m/p grad/p %1.1 f32[6,4]
  %3 = ema %2 grad/p %1.1 f32[6,4]
  %4 = sum_squares %3 f32[1]
  %5 = normalize %3 %4 f32[6,4]
  %6 = cast %5 bf16[6,4]
  %7 = matmul %6 %6 bf16[4,4]
  %8 = scale %7 bf16[4,4]
  %9 = matmul %7 %7 %8 bf16[4,4]
  %10 = scale %6 bf16[6,4]
  %11 = matmul %6 %9 %10 bf16[6,4]
  %12 = cast %11 f32[6,4]
  %13 = sgdw master/p %12 %1.1 hyper/p f32[6,4]
  %14 = cast %13 bf16[6,4]
  %15 = adamw_master n grad/n master/n adam_m/n adam_v/n %1.1 hyper/n bf16[5] f32[5] f32[5] f32[5]
  muon_m/p <- %2
  p <- %14
  master/p <- %13
  n <- %15.0
  master/n <- %15.1
  adam_m/n <- %15.2
  adam_v/n <- %15.3
  norm <- %1.0
`},
	} {
		g := updates(c.o, []ops.Param{projection, norm}, c.dtype)
		if g.Err() != nil {
			t.Fatal(g.Err())
		}
		if got := g.String(); got != strings.TrimPrefix(c.want, "\n") {
			t.Errorf("%s:\n%s", c.name, got)
		}
	}
}

func TestGroupsTakeParameters(t *testing.T) {
	slow, fast := adamw, adamw
	slow.LearningRate, fast.LearningRate = 1e-5, 1e-1
	o := optim.Groups{Main: both, List: []optim.Group{
		{Kinds: []ops.Kind{ops.KindEmbedding, ops.KindNorm}, Optimizer: slow},
		{Patterns: []string{"*.up_proj.*"}, Optimizer: fast},
		{Optimizer: both},
	}}
	down, head := projection, ops.Param{ID: "h", Name: "lm_head.weight", Shape: gpu.Shape{9, 4}, Layer: -1, Kind: ops.KindHead}
	down.Name = "model.layers.0.mlp.down_proj.weight"
	for _, c := range []struct {
		p      ops.Param
		rate   float64
		states string
	}{
		{norm, 1e-5, "adam_m/n adam_v/n"},
		{projection, 1e-1, "adam_m/p adam_v/p"},
		{down, 0.02, "muon_m/p"},
		{head, 1e-3, "adam_m/h adam_v/h"},
	} {
		var states []string
		for _, s := range o.States(c.p, gpu.F32) {
			states = append(states, s.Buffer(c.p.ID))
		}
		if got := strings.Join(states, " "); got != c.states || o.Rate(c.p) != c.rate {
			t.Errorf("%s has %s at %g, not %s at %g", c.p.Name, got, o.Rate(c.p), c.states, c.rate)
		}
	}
	if o.Peak() != 0.02 || o.ClipNorm() != 1 {
		t.Errorf("the rate and the bound of the main optimizer are %g and %g", o.Peak(), o.ClipNorm())
	}
	if o.Idle([]ops.Param{norm, down}) || !o.Idle([]ops.Param{norm, projection}) {
		t.Errorf("the main optimizer trains %s and nothing else of three", down.Name)
	}
	// Muon takes projections, and not adapters.
	for k := ops.KindEmbedding; k <= ops.KindLoraB; k++ {
		first := both.States(ops.Param{Kind: k, Shape: gpu.Shape{2, 2}}, gpu.F32)[0].Name
		if (first == "muon_m") != (k == ops.KindLinear) {
			t.Errorf("Muon with AdamW keeps %s of a parameter of kind %v", first, k)
		}
	}
}

func TestStateBytes(t *testing.T) {
	rounded := muon
	rounded.BF16StochasticRound = true
	for _, c := range []struct {
		o           optim.Optimizer
		p           ops.Param
		dtype       gpu.DType
		kept, train int64 // an element
	}{
		{adamw, projection, gpu.F32, 8, 16},
		{adamw, projection, gpu.BF16, 12, 16},
		{both, projection, gpu.F32, 4, 12},
		{both, projection, gpu.BF16, 8, 12},
		{both, norm, gpu.BF16, 12, 16},
		{rounded, projection, gpu.BF16, 4, 8},
	} {
		kept, train, n := optim.StateBytes(c.o, c.p, c.dtype), optim.TrainBytes(c.o, c.p, c.dtype), c.p.Elems()
		if kept != c.kept*n || train != c.train*n {
			t.Errorf("%v of %v: %d and %d bytes an element, want %d and %d", c.p.Kind, c.dtype, kept/n, train/n, c.kept, c.train)
		}
	}
}

// A key holds every setting but the rates: two stages whose keys are equal share a program.
func TestKeys(t *testing.T) {
	seen := map[string]optim.Optimizer{}
	for _, change := range []func(o *optim.Muon, rest *optim.AdamW){
		func(o *optim.Muon, _ *optim.AdamW) {},
		func(o *optim.Muon, _ *optim.AdamW) { o.Nesterov = false },
		func(o *optim.Muon, _ *optim.AdamW) { o.NSSteps = 6 },
		func(o *optim.Muon, _ *optim.AdamW) { o.AdjustLR = "match_rms_adamw" },
		func(o *optim.Muon, _ *optim.AdamW) { o.NoDecay = []string{} },
		func(o *optim.Muon, _ *optim.AdamW) { o.MaxGradNorm = 2 },
		func(_ *optim.Muon, rest *optim.AdamW) { rest.Beta2 = 0.99 },
	} {
		o, rest := muon, adamw
		change(&o, &rest)
		a := o.With(rest)
		o.LearningRate, rest.LearningRate = 1, 2
		b := o.With(rest)
		if a.Key() != b.Key() {
			t.Errorf("the key depends on the learning rate: %s and %s", a.Key(), b.Key())
		}
		if was := seen[a.Key()]; was != nil {
			t.Errorf("%v and %v have one key", was, a)
		}
		seen[a.Key()] = a
	}
	by := func(kinds []ops.Kind, patterns ...string) optim.Groups {
		return optim.Groups{Main: muon, List: []optim.Group{{Kinds: kinds, Patterns: patterns, Optimizer: muon}, {Optimizer: adamw}}}
	}
	if both.Key() == by([]ops.Kind{ops.KindHead}).Key() || by(nil, "a").Key() == by(nil, "b").Key() {
		t.Error("keys do not hold what groups take")
	}
}

// A gradient that is not finite changes no weight and no state of any group; the next step does.
func TestNotFiniteChangesNothing(t *testing.T) {
	params := []ops.Param{projection, norm}
	for name, d := range devices(t) {
		for _, dtype := range []gpu.DType{gpu.F32, gpu.BF16} {
			m := load(t, d, both, params, dtype)
			var n numbers = 1
			for _, p := range params {
				m.start(p, n.matrix(p.Shape))
			}
			kept := func() (all [][]float32) {
				for _, p := range params {
					all = append(all, m.get(p.ID))
					for _, s := range both.States(p, dtype) {
						all = append(all, m.get(s.Buffer(p.ID)))
					}
				}
				return all
			}
			grads := [][]float32{n.matrix(projection.Shape), n.matrix(norm.Shape)}
			m.step(grads, 1)
			before := kept()
			grads[1][2] = float32(math.NaN())
			m.step(grads, 1)
			if !slices.EqualFunc(before, kept(), slices.Equal[[]float32]) {
				t.Errorf("%s, %v: a gradient that is NaN changes something", name, dtype)
			}
			grads[1][2] = 0.5
			m.step(grads, 1)
			for i, v := range kept() {
				if slices.Equal(v, before[i]) {
					t.Errorf("%s, %v: the step after does not change tensor %d", name, dtype, i)
				}
			}
		}
	}
}

// What is missing in a graph is its error, not a panic.
func TestMissingGradient(t *testing.T) {
	for _, o := range []optim.Optimizer{adamw, muon} {
		g := graph.New()
		w := g.Leaf("w", gpu.RoleWeight, gpu.Type{Shape: gpu.Shape{2, 2}, DType: gpu.F32})
		hyper := g.Leaf("hyper", gpu.RoleInput, gpu.Type{Shape: gpu.Shape{gpu.HyperLen}, DType: gpu.F32})
		g.Segment("update", gpu.Update)
		optim.Build(g, o, []optim.Slot{optim.NewSlot(g, o, projection, w, graph.Value{}, hyper)})
		if g.Err() == nil {
			t.Errorf("%T: a slot without gradient is built", o)
		}
	}
}
