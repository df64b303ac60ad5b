package llama

import (
	"math"
	"strings"
	"testing"

	"stepflow/ops"
)

func TestCounts(t *testing.T) {
	for _, c := range []struct {
		h, m   int
		layers int64 // in all 24 layers
	}{{1024, 2736, 302.4e6}, {1536, 4096, 679.6e6}, {2048, 5461, 1208e6}} {
		cfg := Config{VocabSize: 32000, HiddenSize: c.h, IntermediateSize: c.m, NumHiddenLayers: 24, NumAttentionHeads: 16}
		cfg.Fill()
		h, m := int64(c.h), int64(c.m)
		if got, want := LayerParams(cfg), 4*h*h+3*h*m+2*h; got != want {
			t.Errorf("a layer of %d/%d has %d parameters, 4h²+3hm+2h is %d", c.h, c.m, got, want)
		}
		if got := 24 * LayerParams(cfg); math.Abs(float64(got)/float64(c.layers)-1) > 1e-3 {
			t.Errorf("24 layers of %d/%d have %d parameters", c.h, c.m, got)
		}
	}
}

func TestCheckNamesEverything(t *testing.T) {
	c := Config{VocabSize: 10, HiddenSize: 30, IntermediateSize: 8, NumHiddenLayers: 1, NumAttentionHeads: 4, NumKeyValueHeads: 3, HiddenAct: "gelu"}
	c.Fill()
	var text []string
	for _, p := range c.Check() {
		text = append(text, p.Attribute)
	}
	if got := strings.Join(text, " "); got != "hidden_size num_key_value_heads head_dim hidden_act" {
		t.Error(got)
	}
	if ps := (Config{}).Check(); len(ps) != 7 {
		t.Error(ps)
	}
	if _, _, err := ParseConfig([]byte(`{`)); err == nil {
		t.Error("broken JSON is read")
	}
}

func TestInitDependsOnSeedAndIDAlone(t *testing.T) {
	c := Config{InitializerRange: 0.02}
	p := ops.Param{ID: "g0.1/mlp.up_proj.weight", Name: "model.layers.1.mlp.up_proj.weight", Shape: []int{100, 100}, Kind: ops.KindLinear}
	q := p
	q.Name, q.Layer = "model.layers.7.mlp.up_proj.weight", 7
	a, b, other := Init(c, p, 1), Init(c, q, 1), Init(c, p, 2)
	var ss float64
	for i := range a {
		if a[i] != b[i] {
			t.Fatal("the place in the model changes the first weights")
		}
		ss += float64(a[i]) * float64(a[i])
	}
	if a[0] == other[0] {
		t.Error("the seed does not matter")
	}
	if sd := math.Sqrt(ss / 1e4); math.Abs(sd-0.02) > 0.001 {
		t.Errorf("standard deviation %g", sd)
	}
}
