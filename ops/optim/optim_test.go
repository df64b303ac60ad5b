package optim

import (
	"math"
	"testing"

	"stepflow/ops"
)

func TestSchedules(t *testing.T) {
	const horizon = 1000.0
	for _, c := range []struct {
		s      Schedule
		tokens float64
		want   float64
	}{
		{Schedule{Kind: "constant"}, 500, 1},
		{Schedule{Kind: "constant", WarmupRatio: 0.1}, 50, 0.5},
		{Schedule{Kind: "linear", WarmupRatio: 0.1, MinLRRatio: 0.1}, 100, 1},
		{Schedule{Kind: "linear", WarmupRatio: 0.1, MinLRRatio: 0.1}, 550, 0.55},
		{Schedule{Kind: "linear", WarmupRatio: 0.1, MinLRRatio: 0.1}, 1000, 0.1},
		{Schedule{Kind: "cosine", MinLRRatio: 0.2}, 500, 0.6},
		{Schedule{Kind: "cosine", MinLRRatio: 0.2}, 250, 0.2 + 0.8*(1+math.Cos(math.Pi/4))/2},
		{Schedule{Kind: "cosine"}, 5000, 0},
		{Schedule{Kind: "wsd", WarmupRatio: 0.1, DecayRatio: 0.2, DecayType: "linear"}, 799, 1},
		{Schedule{Kind: "wsd", WarmupRatio: 0.1, DecayRatio: 0.2, DecayType: "linear"}, 900, 0.5},
		{Schedule{Kind: "wsd", DecayRatio: 0.2, DecayType: "1-sqrt"}, 850, 0.5},
		{Schedule{Kind: "wsd", DecayRatio: 0.2, DecayType: "cosine", MinLRRatio: 0.1}, 1000, 0.1},
	} {
		if got := c.s.Factor(c.tokens, horizon); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%+v at %g: %g, want %g", c.s, c.tokens, got, c.want)
		}
	}
}

func TestDecay(t *testing.T) {
	o := AdamW{}
	for k, want := range map[ops.Kind]bool{ops.KindLinear: true, ops.KindHead: true, ops.KindLoraA: true, ops.KindNorm: false, ops.KindBias: false, ops.KindEmbedding: false} {
		if decays(ops.Param{Kind: k}, o.NoDecay) != want {
			t.Errorf("%v decays: %t", k, !want)
		}
	}
	o.NoDecay = []string{"*.q_proj.weight"}
	if decays(ops.Param{Kind: ops.KindLinear, Name: "model.layers.0.self_attn.q_proj.weight"}, o.NoDecay) || !decays(ops.Param{Kind: ops.KindNorm, Name: "model.norm.weight"}, o.NoDecay) {
		t.Error("no_decay replaces the default")
	}
}

func TestScalars(t *testing.T) {
	h := AdamW{Beta1: 0.9, Beta2: 0.99}.Scalars(ops.Param{ID: "w"}, 0.5, 2)
	if h[0] != 0.5 || math.Abs(float64(h[1])-0.19) > 1e-7 || math.Abs(float64(h[2])-0.0199) > 1e-8 {
		t.Error(h)
	}
}
