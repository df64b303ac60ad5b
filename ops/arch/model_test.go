package arch

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
)

// tiny is a small model of an architecture.
func tiny(a *Architecture) Model {
	m := Model{a, Config{VocabSize: 12, HiddenSize: 8, IntermediateSize: 16, NumHiddenLayers: 4, NumAttentionHeads: 2,
		HeadDim: 6}}
	m.Fill()
	return m
}

// change gives a field another value than tiny has.
func change(f Field, c *Config) {
	switch x := f.At(c).(type) {
	case *int:
		if *x *= 2; f.Name == numKeyValueHeads.Name {
			*x = 1
		}
	case *float64:
		*x *= 2
	case *bool:
		*x = !*x
	case *[]int:
		*x = []int{0, 1, 1, 0}
		if f.Name == layerNormDepths.Name {
			*x = []int{1, 2, 2, 3}
		}
	case **RopeScaling:
		*x = &RopeScaling{RopeType: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4,
			OriginalMaxPositionEmbeddings: 64}
	}
}

// TestEveryFieldCounts changes the fields of each architecture one by one: each is a field of Config, tells two
// models apart, and comes back from the config.json that is written.
func TestEveryFieldCounts(t *testing.T) {
	used := map[uintptr]bool{}
	var all Config
	for _, a := range All() {
		for _, f := range a.Fields {
			used[reflect.ValueOf(f.At(&all)).Pointer()] = true
			m, other := tiny(a), tiny(a)
			if f.Name == layerNormDepths.Name { // which are those of the factors
				m.LayerNormScaling, other.LayerNormScaling = true, true
			}
			change(f, &other.Config)
			if f.Name == hiddenAct.Name { // there is one
				continue
			}
			if f.Same(m.Config, other.Config) || !f.Same(other.Config, other.Config) {
				t.Errorf("%s of %s: other values are the same", f.Name, a.Type)
			}
			if attr, same := SameArchitecture(m, other); same != f.Free || !same && attr != f.Name {
				t.Errorf("%s of %s: the same architecture: %t, %q", f.Name, a.Type, same, attr)
			}
			if counts := m.Params() != other.Params(); counts != f.Counts {
				t.Errorf("%s of %s changes the number of parameters: %t", f.Name, a.Type, counts)
			}
			b, err := other.ConfigJSON(nil)
			if err != nil {
				t.Fatal(err)
			}
			got, notes, err := ParseConfig(b)
			if err != nil || len(notes) > 0 || !reflect.DeepEqual(got, other) {
				t.Errorf("%s of %s: written %+v, read %+v, %v, %v", f.Name, a.Type, other.Config, got.Config, notes, err)
			}
		}
	}
	for i := range reflect.TypeFor[Config]().NumField() {
		name := reflect.TypeFor[Config]().Field(i).Name
		if at := reflect.ValueOf(&all).Elem().Field(i).Addr().Pointer(); !used[at] && name != "SlidingWindow" {
			t.Errorf("%s is a field of no architecture", name)
		}
	}
}

// TestAttributes lists what the reference page says where architectures differ.
func TestAttributes(t *testing.T) {
	want := map[string]string{
		"vocab_size":              "Rows of the embedding table.",
		"num_key_value_heads":     "Key-value heads; default: as many as query heads.",
		"head_dim":                "Channels of a head; default: hidden_size / num_attention_heads (`qwen3`: 128).",
		"max_position_embeddings": "Longest sequence; default 2048 (`mistral`: 131072; `qwen2`, `qwen3`, `smollm3`: 32768).",
		"rms_norm_eps":            "Default 1e-6 (`olmo2`: 1e-5).",
		"rope_theta":              "Base of the rotary frequencies; default 10000 (`smollm3`: 2e6).",
		"tie_word_embeddings":     "The output projection is the embedding table; default false (`smollm3`: true).",
	}
	only := map[string]string{"attention_bias": "llama olmo2 qwen3 smollm3", "mlp_bias": "llama smollm3",
		"no_rope_layers": "smollm3", "no_rope_layer_interval": "smollm3",
		"layernorm_scaling": "llama mistral qwen2 qwen3 smollm3", "layernorm_depths": "llama mistral qwen2 qwen3 smollm3"}
	seen := 0
	for _, x := range Attributes() {
		if want[x.Name] != "" {
			if seen++; x.Doc != want[x.Name] {
				t.Errorf("%s: %s", x.Name, x.Doc)
			}
		}
		if strings.Join(x.Only, " ") != only[x.Name] {
			t.Errorf("%s belongs to %v", x.Name, x.Only)
		}
	}
	if seen != len(want) || len(Attributes()) != len(llama.Fields)+2 {
		t.Errorf("%d attributes", len(Attributes()))
	}
}

func TestTooManyParameters(t *testing.T) {
	m := Model{llama, Config{VocabSize: 1 << 24, HiddenSize: 1 << 20, IntermediateSize: 1 << 22, NumHiddenLayers: 10000,
		NumAttentionHeads: 1 << 16, NumKeyValueHeads: 1 << 16, HeadDim: 1 << 16}}
	m.Fill()
	if ps := m.Check(); len(ps) != 1 || !strings.Contains(ps[0].What, "parameters") {
		t.Error(ps)
	}
}

func TestCounts(t *testing.T) {
	for _, c := range []struct {
		h, m   int
		layers int64 // in all 24 layers
	}{{1024, 2736, 302.4e6}, {1536, 4096, 679.6e6}, {2048, 5461, 1208e6}} {
		model := Model{llama, Config{VocabSize: 32000, HiddenSize: c.h, IntermediateSize: c.m, NumHiddenLayers: 24,
			NumAttentionHeads: 16}}
		model.Fill()
		h, m := int64(c.h), int64(c.m)
		if got, want := model.LayerParams(), 4*h*h+3*h*m+2*h; got != want {
			t.Errorf("a layer of %d/%d has %d parameters, 4h²+3hm+2h is %d", c.h, c.m, got, want)
		}
		if got := 24 * model.LayerParams(); math.Abs(float64(got)/float64(c.layers)-1) > 1e-3 {
			t.Errorf("24 layers of %d/%d have %d parameters", c.h, c.m, got)
		}
	}
}

// TestPublishedSizes counts the parameters of models as they are published.
func TestPublishedSizes(t *testing.T) {
	for _, x := range []struct {
		model string
		c     Config
		want  float64
	}{
		{"qwen2", Config{VocabSize: 151936, HiddenSize: 896, IntermediateSize: 4864, NumHiddenLayers: 24,
			NumAttentionHeads: 14,
			NumKeyValueHeads:  2, TieWordEmbeddings: true}, 494032768}, // Qwen2.5-0.5B
		{"qwen3", Config{VocabSize: 151936, HiddenSize: 1024, IntermediateSize: 3072, NumHiddenLayers: 28,
			NumAttentionHeads: 16,
			NumKeyValueHeads:  8, TieWordEmbeddings: true}, 596049920}, // Qwen3-0.6B
		{"smollm3", Config{VocabSize: 128256, HiddenSize: 2048, IntermediateSize: 11008, NumHiddenLayers: 36,
			NumAttentionHeads: 16,
			NumKeyValueHeads:  4}, 3075098624}, // SmolLM3-3B
		// OLMo-2-1124-7B
		{"olmo2", Config{VocabSize: 100352, HiddenSize: 4096, IntermediateSize: 11008, NumHiddenLayers: 32,
			NumAttentionHeads: 32}, 7298617344},
		{"mistral", Config{VocabSize: 32000, HiddenSize: 4096, IntermediateSize: 14336, NumHiddenLayers: 32,
			NumAttentionHeads: 32,
			NumKeyValueHeads:  8}, 7241732096}, // Mistral-7B-v0.1
	} {
		m := Model{Lookup(x.model), x.c}
		m.Fill()
		if got := m.Params(); got != x.want || len(m.Check()) > 0 {
			t.Errorf("%s has %.0f parameters, not %.0f; %v", x.model, got, x.want, m.Check())
		}
	}
}

func TestCheckNamesEverything(t *testing.T) {
	m := Model{llama, Config{VocabSize: 10, HiddenSize: 30, IntermediateSize: 8, NumHiddenLayers: 1,
		NumAttentionHeads: 4, NumKeyValueHeads: 3, HiddenAct: "gelu"}}
	m.Fill()
	var text []string
	for _, p := range m.Check() {
		text = append(text, p.Attribute)
	}
	if got := strings.Join(text, " "); got != "hidden_size num_key_value_heads head_dim hidden_act" {
		t.Error(got)
	}
	if ps := (Model{Arch: llama}).Check(); len(ps) != 6 { // num_hidden_layers may be 0
		t.Error(ps)
	}
	m = tiny(Lookup("smollm3"))
	m.NoRopeLayers = []int{1, 0, 1}
	if ps := m.Check(); len(ps) != 1 || ps[0].What != "no_rope_layers has 3 numbers for 4 layers" {
		t.Error(ps)
	}
}

// TestLayersKeepTheirKind makes a SmolLM3 deeper and shallower, in which the last of four layers rotates nothing, and
// one with a list.
func TestLayersKeepTheirKind(t *testing.T) {
	m := tiny(Lookup("smollm3"))
	list := m
	list.NoRopeLayers = []int{0, 0, 1, 1}
	for _, x := range []struct {
		what string
		got  Model
		want []int
	}{
		{"as it is", m.WithLayers(4), []int{1, 1, 1, 0}},
		{"half of the layers", m.WithLayers(2), []int{1, 1}},
		{"twice the layers", m.WithLayers(8), []int{1, 1, 1, 0, 1, 1, 1, 0}},
		{"a copy of the first", m.Grown([]int{0, 0, 1, 2, 3}, all), []int{1, 1, 1, 1, 0}},
		{"stacked", m.Grown([]int{0, 1, 2, 3, 0, 1, 2, 3}, all), []int{1, 1, 1, 0, 1, 1, 1, 0}},
		{"a list", list.WithLayers(4), []int{0, 0, 1, 1}},
		{"half of the list", list.WithLayers(2), []int{0, 0}},
		{"more than the list", list.WithLayers(6), []int{0, 0, 0, 1, 1, 1}},
	} {
		var kinds []int
		for i := range x.got.NumHiddenLayers {
			kind := 0
			if x.got.Rotates(i) {
				kind = 1
			}
			kinds = append(kinds, kind)
		}
		if !slices.Equal(kinds, x.want) || len(x.got.Check()) > 0 {
			t.Errorf("%s: %v, %v", x.what, kinds, x.got.Check())
		}
	}
	if l := tiny(llama).WithLayers(7); l.NumHiddenLayers != 7 || len(l.NoRopeLayers) > 0 {
		t.Errorf("%+v", l.Config)
	}
}

// all keeps every layer.
func all(int) bool { return true }

// TestLayersKeepTheirFactor grows a model with LayerNorm scaling: a layer that is kept has the factor that it had, a new one
// that of its place.
func TestLayersKeepTheirFactor(t *testing.T) {
	m := tiny(llama)
	m.LayerNormScaling = true
	old := func(list ...int) func(int) bool { return func(i int) bool { return slices.Contains(list, i) } }
	for _, x := range []struct {
		what string
		got  Model
		want []int
	}{
		{"as it is", m, []int{1, 2, 3, 4}},
		{"fewer layers", m.WithLayers(2), []int{1, 2}},
		{"stacked", m.Grown([]int{0, 1, 2, 3, 0, 1}, old(0, 1, 2, 3)), []int{1, 2, 3, 4, 5, 6}},
		{"between two", m.Grown([]int{0, 0, 1, 2, 2, 3}, old(0, 2, 3, 5)), []int{1, 2, 2, 3, 5, 4}},
		{"grown twice", m.Grown([]int{0, 0, 1, 2, 3}, old(0, 2, 3, 4)).Grown([]int{0, 1, 1, 2, 3, 4}, old(0, 1, 3, 4, 5)),
			[]int{1, 2, 3, 2, 3, 4}},
		{"with its own number", m.Grown([]int{0, 0, 1}, old(0, 2)).With(map[string]int{"num_hidden_layers": 3}), []int{1, 2, 2}},
	} {
		var depths []int
		for i := range x.got.NumHiddenLayers {
			depths = append(depths, x.got.depth(i))
		}
		if !slices.Equal(depths, x.want) || len(x.got.Check()) > 0 {
			t.Errorf("%s: %v, %v", x.what, depths, x.got.Check())
		}
		b, err := x.got.ConfigJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if read, notes, err := ParseConfig(b); err != nil || len(notes) > 0 || !reflect.DeepEqual(read.Config, x.got.Config) {
			t.Errorf("%s: %s was read as %+v, %v, %v", x.what, b, read.Config, notes, err)
		}
	}
	for want, x := range map[string]Config{
		"layernorm_depths has 3 numbers for 4 layers":               {LayerNormScaling: true, LayerNormDepths: []int{1, 2, 3}},
		"layernorm_depths has a 0":                                  {LayerNormScaling: true, LayerNormDepths: []int{1, 2, 0, 4}},
		"layernorm_depths is given, and layernorm_scaling is false": {LayerNormDepths: []int{1, 2, 2, 4}},
	} {
		m := m
		m.LayerNormScaling, m.LayerNormDepths = x.LayerNormScaling, x.LayerNormDepths
		if ps := m.Check(); len(ps) != 1 || ps[0].What != want {
			t.Errorf("%v, not %s", ps, want)
		}
	}
}

// TestFold folds the factors of LayerNorm scaling into the gains of the norms before the branches, and nothing else.
func TestFold(t *testing.T) {
	m := tiny(llama)
	m.LayerNormScaling, m.LayerNormDepths = true, []int{1, 2, 2, 7}
	for _, p := range m.Declare([]string{"a", "b", "c", "d"}) {
		want := 1.0
		if p.Layer > 0 && (strings.HasSuffix(p.Name, "input_layernorm.weight") || strings.HasSuffix(p.Name, "post_attention_layernorm.weight")) {
			want = 1 / math.Sqrt(float64([]int{1, 2, 2, 7}[p.Layer]))
		}
		v := []float32{3}
		if m.Fold(p, v, gpu.F32); v[0] != float32(want)*3 || m.Folds(p) != (want != 1) {
			t.Errorf("%s became %g", p.Name, v[0])
		}
	}
	if f := m.Folded(); f.LayerNormScaling || len(f.Check()) > 0 {
		t.Errorf("%+v", f.Config)
	}
}

// TestAs reads models as Llama: what Llama does not compute is none.
func TestAs(t *testing.T) {
	for _, a := range All() {
		m, is := tiny(a).As(llama)
		if want := a.Type == "llama" || a.Type == "mistral"; is != want || is && (m.Arch != llama || m.HiddenSize != 8) {
			t.Errorf("%s is a llama: %t", a.Type, is)
		}
	}
	if _, is := tiny(llama).As(Lookup("mistral")); is {
		t.Error("Llama is a Mistral, which has no biases")
	}
}

func TestWith(t *testing.T) {
	m := tiny(Lookup("smollm3"))
	got := m.With(map[string]int{"hidden_size": 32, "num_hidden_layers": 2})
	if got.HiddenSize != 32 || m.HiddenSize != 8 || got.NumHiddenLayers != 2 || m.NumHiddenLayers != 4 {
		t.Errorf("%+v", got.Config)
	}
	grown := m.Grown([]int{0, 0, 1, 2, 3}, all)
	if same := grown.With(map[string]int{"num_hidden_layers": 5}); !slices.Equal(same.NoRopeLayers, grown.NoRopeLayers) {
		t.Errorf("%v became %v", grown.NoRopeLayers, same.NoRopeLayers)
	}
}

// TestNoRopeLayersSayTheSame compares lists with what the interval gives, as a block beside a folder may write them.
func TestNoRopeLayersSayTheSame(t *testing.T) {
	m := tiny(Lookup("smollm3"))
	for _, x := range []struct {
		list []int
		same bool
	}{{nil, true}, {[]int{1, 1, 1, 0}, true}, {[]int{2, 1, 1, 0, 7}, true}, {[]int{1, 1, 0, 1}, false},
		{[]int{1}, false}} {
		if got := noRopeLayers.Same(Config{NoRopeLayers: x.list}, m.Config); got != x.same {
			t.Errorf("%v is the same: %t", x.list, got)
		}
	}
}

func TestKeyLeavesOutWhatTheHostSets(t *testing.T) {
	a, b, deeper := tiny(llama), tiny(llama), tiny(llama).WithLayers(5)
	b.RopeScaling = &RopeScaling{RopeType: "linear", Factor: 2}
	if a.Key() != b.Key() || a.Key() == deeper.Key() || a.Key() == tiny(Lookup("mistral")).Key() {
		t.Error(a.Key())
	}
	if strings.Contains(a.Key(), "0x") {
		t.Errorf("%s has an address", a.Key())
	}
}

func TestInitDependsOnSeedAndIDAlone(t *testing.T) {
	m := Model{llama, Config{InitializerRange: 0.02}}
	p := ops.Param{ID: "g0.1/mlp.up_proj.weight", Name: "model.layers.1.mlp.up_proj.weight", Shape: []int{100, 100},
		Kind: ops.KindLinear}
	q := p
	q.Name, q.Layer = "model.layers.7.mlp.up_proj.weight", 7
	a, b, other := m.Init(p, 1), m.Init(q, 1), m.Init(p, 2)
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

// TestStray names what has no place in a model.
func TestStray(t *testing.T) {
	for _, x := range []struct{ model, name, want string }{
		{"llama", "model.layers.1.self_attn.q_proj.bias", "biases of attention, though attention_bias is false there"},
		{"llama", "model.layers.1.mlp.up_proj.bias", "biases of the feed-forward layers, though mlp_bias is false there"},
		{"llama", "model.layers.1.self_attn.q_norm.weight", "norms on q and k, which Llama does not have"},
		{"llama", "model.layers.1.post_feedforward_layernorm.weight", "norms, which Llama does not have"},
		{"llama", "model.layers.4.mlp.up_proj.weight", "layers beyond its num_hidden_layers, which is 4"},
		{"llama", "score.weight", "a head other than that of a language model"},
		{"llama", "model.vision.weight", "tensors that have no place in it"},
		{"qwen2", "model.layers.1.self_attn.o_proj.bias", "biases of attention that Qwen2 does not have"},
		{"olmo2", "model.layers.1.input_layernorm.weight", "norms, which OLMo 2 does not have"},
	} {
		if got, err := tiny(Lookup(x.model)).Stray(nil, x.name); err != nil || got != x.want {
			t.Errorf("%s of %s: %q, %v", x.name, x.model, got, err)
		}
	}
}
