package llama

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// small is a config.json, to change in one place.
func small() map[string]any {
	return map[string]any{"model_type": "llama", "vocab_size": 12, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
}

func marshal(t testing.TB, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseConfig(t *testing.T) {
	type raw = json.RawMessage
	for _, c := range []struct {
		name  string
		value any
		says  string // in the error; "" for none
	}{
		{"num_hidden_layers", raw("1000000000000000"), ""}, // the weights beside it tell
		{"num_hidden_layers", raw("1e15"), "num_hidden_layers is 1e15, not a whole number"},
		{"num_hidden_layers", raw("0"), "num_hidden_layers is 0"},
		{"num_hidden_layers", raw("-1"), "num_hidden_layers is -1"},
		{"num_hidden_layers", raw("2.5"), "num_hidden_layers is 2.5, not a whole number"},
		{"num_hidden_layers", "2", `num_hidden_layers is "2", not a whole number`},
		{"num_hidden_layers", true, "num_hidden_layers is true, not a whole number"},
		{"num_hidden_layers", []int{2}, "num_hidden_layers is [2], not a whole number"},
		{"num_hidden_layers", raw("99999999999999999999"), "not a whole number in range"},
		{"num_hidden_layers", nil, "num_hidden_layers is missing"},
		{"vocab_size", 1 << 40, "vocab_size is 1099511627776; the most is"},
		{"hidden_size", 1 << 62, "hidden_size is 4611686018427387904; the most is"},
		{"intermediate_size", 1 << 61, "the most is"},
		{"max_position_embeddings", 1 << 62, "the most is"},
		{"max_position_embeddings", 0, "max_position_embeddings is 0"},
		{"num_attention_heads", 0, "num_attention_heads is 0"},
		{"num_key_value_heads", 0, "num_key_value_heads is 0"},
		{"num_key_value_heads", nil, ""},
		{"num_key_value_heads", 3, "not divisible"},
		{"head_dim", 0, "head_dim is 0"},
		{"head_dim", nil, ""},
		{"head_dim", 5, "head_dim is 5"},
		{"head_dim", -2, "head_dim is -2"},
		{"head_dim", 1 << 40, "head_dim is 1099511627776"},
		{"rms_norm_eps", 0, "rms_norm_eps is 0"},
		{"rms_norm_eps", -1e-5, "rms_norm_eps is -1e-05"},
		{"rms_norm_eps", raw("1e999"), "rms_norm_eps is 1e999, not a number in range"},
		{"rms_norm_eps", "tiny", `rms_norm_eps is "tiny", not a number`},
		{"rope_theta", 0, "rope_theta is 0"},
		{"initializer_range", -1, "initializer_range is -1"},
		{"initializer_range", 0, ""},
		{"hidden_act", "gelu\x1b[2J", `hidden_act "gelu\x1b[2J" is not supported`},
		{"hidden_act", "", `hidden_act "" is not supported`},
		{"tie_word_embeddings", "yes", `tie_word_embeddings is "yes", neither true nor false`},
		{"rope_scaling", map[string]any{"rope_type": "default"}, ""},
		{"rope_scaling", 7, "rope_scaling is 7, not an object"},
		{"rope_parameters", map[string]any{"rope_theta": 0}, "rope_theta is 0"},
		{"rope_parameters", map[string]any{"rope_theta": 500000.0, "rope_type": "default"}, ""},
		{"model_type", "qwen2", `model_type "qwen2"`},
		{"model_type", 7, "model_type is 7, not a string"},
	} {
		m := small()
		if m[c.name] = c.value; c.value == nil {
			delete(m, c.name)
			m["x"] = nil
		}
		_, _, err := ParseConfig(marshal(t, m))
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s = %v: %v, want %q", c.name, c.value, err, c.says)
		}
	}
	for text, says := range map[string]string{
		`{"hidden_size": 8}`:                 "neither model_type nor architectures",
		`{"vocab_size": 1, "vocab_size": 2}`: `"vocab_size" stands there twice`,
		`[]`:                                 "not a JSON object",
		``:                                   "not JSON",
		`{"vocab_size": NaN}`:                "not JSON",
		"{\"vocab_size\": \"\xff\"}":         "not UTF-8",
		`{"architectures": ["Qwen2ForCausalLM"]}`:     `architecture "Qwen2ForCausalLM"`,
		strings.Repeat("[", 1e6):                      "not JSON",
		`{"x":` + strings.Repeat(`{"x":`, 1e5) + `1}`: "not JSON",
	} {
		if _, _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60s: %v, want %q", text, err, says)
		}
	}
}

// TestFieldsAreWhole changes every field of Config but the last, SlidingWindow: the table has each, under its name in config.json,
// and reads it from there.
func TestFieldsAreWhole(t *testing.T) {
	if n := reflect.TypeFor[Config]().NumField() - 1; n != len(Fields) {
		t.Fatalf("Config has %d fields of the architecture, the table %d", n, len(Fields))
	}
	for i, f := range Fields {
		var c, other Config
		want := reflect.ValueOf(&c).Elem().Field(i).Addr().Pointer()
		if got := reflect.ValueOf(f.At(&c)).Pointer(); got != want {
			t.Errorf("%s is not field %d of Config", f.Name, i)
		}
		switch x := f.At(&other).(type) {
		case *int:
			*x = 8
		case *float64:
			*x = 0.25
		case *string:
			*x = "other"
		case *bool:
			*x = true
		case **RopeScaling:
			*x = &RopeScaling{RopeType: "llama3", Factor: 2}
		}
		if f.Same(c, other) || !f.Same(other, other) {
			t.Errorf("%s: other values are the same", f.Name)
		}
		if attr, same := SameArchitecture(c, other); same != f.Free || !same && attr != f.Name {
			t.Errorf("%s: the same architecture: %t, %q", f.Name, same, attr)
		}
	}
	m := small()
	for name, v := range map[string]any{"num_key_value_heads": 1, "head_dim": 6, "max_position_embeddings": 99, "rms_norm_eps": 0.25, "rope_theta": 77.0, "initializer_range": 0.5,
		"tie_word_embeddings": true, "attention_bias": true, "mlp_bias": true, "hidden_act": "silu",
		"rope_scaling": map[string]any{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}} {
		m[name] = v
	}
	c, _, err := ParseConfig(marshal(t, m))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Fields {
		if got := marshal(t, f.Value(c)); string(got) != string(marshal(t, m[f.Name])) && f.Name != "rope_scaling" {
			t.Errorf("%s is %s, config.json has %v", f.Name, got, m[f.Name])
		}
	}
	if c.RopeScaling == nil || *c.RopeScaling != (RopeScaling{RopeType: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 64}) {
		t.Errorf("rope_scaling is %+v", c.RopeScaling)
	}
	if names := slices.Sorted(maps.Keys(m)); len(names) != len(Fields)+1 {
		t.Errorf("the test reads %v", names)
	}
}

func TestTooManyParameters(t *testing.T) {
	c := Config{VocabSize: 1 << 24, HiddenSize: 1 << 20, IntermediateSize: 1 << 22, NumHiddenLayers: 10000, NumAttentionHeads: 1 << 16, NumKeyValueHeads: 1 << 16, HeadDim: 1 << 16}
	c.Fill()
	if ps := c.Check(); len(ps) != 1 || !strings.Contains(ps[0].What, "parameters") {
		t.Error(ps)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add(marshal(f, small()))
	f.Add([]byte(`{"rope_parameters": {"type": "llama3", "rope_theta": 1e308}, "head_dim": null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, _, err := ParseConfig(b)
		if err != nil {
			return
		}
		if c.NumHiddenLayers < 1 || c.VocabSize < 1 || c.HeadDim%2 != 0 {
			t.Errorf("%+v is taken", c)
		}
		for p := range Wants(c) { // the first layer's, and no more
			if p.Shape.Elems() < 1 {
				t.Errorf("%s has the shape %v", p.Name, p.Shape)
			}
			if p.Layer > 0 {
				break
			}
		}
	})
}
