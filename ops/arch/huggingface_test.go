package arch

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
)

// small is a config.json, to change in one place.
func small() map[string]any {
	return map[string]any{"model_type": "llama", "vocab_size": 12, "hidden_size": 8, "intermediate_size": 16,
		"num_hidden_layers": 2, "num_attention_heads": 2}
}

func marshal(t testing.TB, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// numbers are values that a key of config.json may and may not have, and words of the error; "" for none.
var numbers = []struct {
	name  string
	value any
	says  string
}{
	{"num_hidden_layers", json.RawMessage("1000000000000000"), ""}, // the weights beside it tell
	{"num_hidden_layers", json.RawMessage("1e15"), "num_hidden_layers is 1e15, not a whole number"},
	{"num_hidden_layers", json.RawMessage("0"), ""},
	{"num_hidden_layers", json.RawMessage("-1"), "num_hidden_layers is -1"},
	{"num_hidden_layers", json.RawMessage("2.5"), "num_hidden_layers is 2.5, not a whole number"},
	{"num_hidden_layers", "2", `num_hidden_layers is "2", not a whole number`},
	{"num_hidden_layers", true, "num_hidden_layers is true, not a whole number"},
	{"num_hidden_layers", []int{2}, "num_hidden_layers is [2], not a whole number"},
	{"num_hidden_layers", json.RawMessage("99999999999999999999"), "not a whole number in range"},
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
	{"rms_norm_eps", json.RawMessage("1e999"), "rms_norm_eps is 1e999, not a number in range"},
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
	{"model_type", "gpt2", `model_type "gpt2"`},
	{"model_type", 7, "model_type is 7, not a string"},
}

func TestParseConfig(t *testing.T) {
	for _, c := range numbers {
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
		`{"hidden_size": 8}`:                     "neither model_type nor architectures",
		`{"vocab_size": 1, "vocab_size": 2}`:     `"vocab_size" stands there twice`,
		`[]`:                                     "not a JSON object",
		``:                                       "not JSON",
		`{"vocab_size": NaN}`:                    "not JSON",
		"{\"vocab_size\": \"\xff\"}":             "not UTF-8",
		`{"architectures": ["Phi3ForCausalLM"]}`: `architecture "Phi3ForCausalLM"`,
		strings.Repeat("[", 1e6):                 "not JSON",
		`{"x":` + strings.Repeat(`{"x":`, 1e5) + `1}`: "not JSON",
	} {
		if _, _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60s: %v, want %q", text, err, says)
		}
	}
}

// with is small's config.json with members changed; nil takes one away.
func with(t testing.TB, changes map[string]any) []byte {
	m := small()
	for k, v := range changes {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	return marshal(t, m)
}

type obj = map[string]any

// refusals are settings under which a model is not computed here, and words of the error.
var refusals = []struct {
	changes obj
	says    string
}{
	{obj{"model_type": nil}, "neither model_type nor architectures"},
	{obj{"model_type": nil, "architectures": []string{}}, "neither model_type nor architectures"},
	{obj{"model_type": nil, "architectures": []string{"Phi3ForCausalLM"}}, "q, k and v are one tensor"},
	{obj{"model_type": nil, "architectures": []string{"XForCausalLM"}},
		`architecture "XForCausalLM"; only llama, mistral, olmo2, qwen2, qwen3 and smollm3 are`},
	{obj{"model_type": nil, "architectures": []string{"LlamaForCausalLM", "Qwen2ForCausalLM"}},
		`architectures names 2 classes, ["LlamaForCausalLM","Qwen2ForCausalLM"]`},
	{obj{"model_type": nil, "architectures": []string{"Qwen2ForCausalLM", "LlamaForCausalLM"}},
		"architectures names 2 classes"},
	{obj{"model_type": nil, "architectures": []string{"LlamaForCausalLM", "MistralForCausalLM"}}, "give model_type"},
	{obj{"model_type": nil, "architectures": []string{"LlamaModel"}}, `architecture "LlamaModel"`},
	{obj{"model_type": "phi3"}, `model_type "phi3": q, k and v are one tensor`},
	{obj{"model_type": "llama4"}, `model_type "llama4"; only llama`},
	{obj{"model_type": "Llama"}, `model_type "Llama"`},
	{obj{"architectures": []string{"LlamaForSequenceClassification"}},
		`architecture "LlamaForSequenceClassification": its head is not that of a language model`},
	{obj{"architectures": []string{"LlamaModel"}}, `architecture "LlamaModel"`},
	{obj{"architectures": []string{"Qwen2ForCausalLM"}}, `model_type "llama" and of the architecture "Qwen2ForCausalLM"`},
	{obj{"model_type": "mistral", "architectures": []string{"LlamaForCausalLM"}}, "only MistralForCausalLM"},
	{obj{"model_type": "mistral", "attention_bias": true}, "attention_bias is true, and model_type mistral has none"},
	{obj{"architectures": "LlamaForCausalLM"}, "architectures is"},

	{obj{"rope_scaling": obj{"rope_type": "longrope", "short_factor": []int{1}, "long_factor": []int{2}}},
		`rope_type "longrope" is not supported: its frequencies change with the length`},
	{obj{"rope_scaling": obj{"type": "su", "short_factor": []int{1}}}, `rope_type "su" is not supported`},
	{obj{"rope_parameters": obj{"type": "mrope", "mrope_section": []int{1, 1}}}, `rope_type "mrope" is not supported`},
	{obj{"rope_scaling": obj{"type": "linear"}}, `incomplete: rope_type "linear" needs factor`},
	{obj{"rope_scaling": obj{"type": "linear", "factor": nil}}, `needs factor`},
	{obj{"rope_scaling": obj{"type": "linear", "factor": 0.5}}, "linear takes factor >= 1"},
	{obj{"rope_scaling": obj{"type": "linear", "factor": "2"}}, `factor is "2", not a number`},
	{obj{"rope_scaling": obj{"rope_type": "linear", "type": "dynamic", "factor": 2}},
		`rope_type "linear" and type "dynamic"`},
	{obj{"rope_scaling": obj{"factor": 2}}, `factor, which rope_type "default" does not take`},
	{obj{"rope_scaling": obj{"rope_type": "default", "factor": 2}}, `factor, which rope_type "default" does not take`},
	{obj{"rope_scaling": obj{"rope_type": "linear", "factor": 2, "new_key": 1}},
		`new_key, which rope_type "linear" does not take`},
	{obj{"rope_scaling": obj{"rope_type": "llama3", "factor": 8}}, "needs low_freq_factor"},
	{obj{"rope_scaling": obj{"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1,
		"original_max_position_embeddings": 8}}, "low_freq_factor < high_freq_factor"},
	{obj{"rope_scaling": obj{"rope_type": "yarn", "factor": 8}}, "needs original_max_position_embeddings"},
	{obj{"rope_scaling": obj{"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 8,
		"truncate": false}}, "truncate is false"},
	{obj{"rope_scaling": obj{"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 8,
		"attention_factor": -1}}, "attention_factor > 0"},
	{obj{"rope_scaling": obj{"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 8},
		"original_max_position_embeddings": 16}, "original_max_position_embeddings is 8 in rope_scaling and 16 beside it"},
	{obj{"rope_parameters": obj{"full_attention": obj{"rope_type": "default"},
		"sliding_attention": obj{"rope_type": "default"}}}, "gives each type of layer its own settings"},
	{obj{"rope_theta": 10000, "rope_parameters": obj{"rope_theta": 500000}},
		"rope_theta is 10000 in config.json itself and 500000 in rope_parameters"},
	{obj{"rope_scaling": obj{"rope_type": "default", "rope_theta": 5}, "rope_parameters": obj{"rope_theta": 6}},
		"rope_theta is 6 in rope_parameters and 5 in rope_scaling"},
	{obj{"rope_scaling": obj{"type": "linear", "factor": 2}, "rope_parameters": obj{"rope_type": "default"}},
		"rope_parameters and rope_scaling say different things"},
	{obj{"rope_scaling": obj{"type": "linear", "factor": 2}, "rope_parameters": obj{"rope_type": "linear", "factor": 4}},
		"say different things"},
	{obj{"rope_parameters": obj{"rope_type": "default", "partial_rotary_factor": 0.5}},
		"partial_rotary_factor is 0.5 in rope_parameters"},
	{obj{"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"},
	{obj{"rope_parameters": []int{1}}, "rope_parameters is [1], not an object"},

	{obj{"hidden_act": "gelu"}, `hidden_act "gelu" is not supported`},
	{obj{"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50"},
	{obj{"final_logit_softcapping": 30}, "final_logit_softcapping is 30"},
	{obj{"query_pre_attn_scalar": 256}, "query_pre_attn_scalar is 256"},
	{obj{"logit_scale": 0.0625}, "logit_scale is 0.0625"},
	{obj{"logits_scaling": 8}, "logits_scaling is 8"},
	{obj{"embedding_multiplier": 12}, "embedding_multiplier is 12"},
	{obj{"residual_multiplier": 0.22}, "residual_multiplier is 0.22"},
	{obj{"attention_multiplier": 0.0078125}, "attention_multiplier is 0.0078125, which changes what the model " +
		"computes: only 0.5 is supported"},
	{obj{"model_type": "granite"}, "attention_multiplier is 1"},
	{obj{"quantization_config": obj{"quant_method": "gptq", "bits": 4}},
		"quantization_config says that the weights are quantised"},
	{obj{"compression_config": obj{"format": "x"}}, "quantised"},
	{obj{"is_causal": false}, "is_causal is false"},
	{obj{"add_cross_attention": true}, "add_cross_attention is true"},
	{obj{"qk_norm": true}, "qk_norm is true"},
	{obj{"num_local_experts": 8}, "num_local_experts is 8"},
	{obj{"no_rope_layers": []int{1, 0}}, "no_rope_layers is [1,0]"},
	{obj{"clip_qkv": 8}, "clip_qkv is 8"},
	{obj{"parallel_attn": true}, "parallel_attn is true"},
	{obj{"layer_types": []string{"full_attention", "chunked_attention"}}, `layer_types has "chunked_attention"`},
	{obj{"layer_types": "full_attention"}, "layer_types is"},
	{obj{"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": 0}, "sliding_window is 0"},
	{obj{"model_type": "mistral", "num_key_value_heads": 2, "sliding_window": "many"}, "sliding_window is"},
	{obj{"rope_scaling": obj{"type": "yarn", "factor": 4, "original_max_position_embeddings": 64,
		"attention_factor": 0}}, "attention_factor is 0 in rope_scaling"},
	{obj{"tie_word_embeddings": 1}, "tie_word_embeddings is 1"},
}

// Changes of a configuration, as a config.json asks for them.
var (
	linear = scaled(RopeScaling{RopeType: "linear", Factor: 2})
	theta  = func(c *Config) { c.RopeTheta = 500000 }
	none   = func(*Config) {}
)

func scaled(s RopeScaling) func(*Config) { return func(c *Config) { c.RopeScaling = &s } }

func windowed(n int) func(*Config) {
	return func(c *Config) { c.MaxPositionEmbeddings, c.SlidingWindow = n, n }
}

// mistral is a config.json of Mistral with a window.
func mistral(window any, more obj) obj {
	changes := obj{"model_type": "mistral", "num_key_value_heads": 2, "max_position_embeddings": 2048,
		"sliding_window": window}
	maps.Copy(changes, more)
	return changes
}

// spellings are settings under which the numbers are Llama's: what changes in the configuration, and the keys of the
// notes.
var spellings = []struct {
	changes obj
	want    func(*Config)
	notes   string
}{
	{obj{"model_type": nil, "architectures": []string{"LlamaForCausalLM"}}, none, ""},
	{obj{"architectures": []string{"LlamaForCausalLM"}}, none, ""},
	{obj{"architectures": []string{"Qwen2ForCausalLM", "LlamaForCausalLM"}}, none, ""}, // model_type decides
	{obj{"rope_scaling": obj{"type": "linear", "factor": 2}}, linear, ""},
	{obj{"rope_scaling": obj{"rope_type": "linear", "factor": 2.0, "type": "linear"}}, linear, ""},
	{obj{"rope_parameters": obj{"type": "linear", "factor": 2, "rope_theta": 10000}}, linear, ""},
	{obj{"rope_parameters": obj{"rope_type": "linear", "factor": 2, "partial_rotary_factor": 1.0},
		"rope_scaling": obj{"type": "linear", "factor": 2}}, linear, ""},
	{obj{"rope_scaling": obj{"type": "dynamic", "factor": 4}}, scaled(RopeScaling{RopeType: "dynamic", Factor: 4}), ""},
	{obj{"rope_scaling": obj{}}, none, ""},
	{obj{"rope_scaling": obj{"type": "default"}, "rope_parameters": obj{}}, none, ""},
	{obj{"rope_theta": 500000.0}, theta, ""},
	{obj{"rope_theta": 500000, "rope_parameters": obj{"rope_theta": 5e5, "rope_type": "default"}}, theta, ""},
	{obj{"rope_scaling": obj{"rope_theta": 5e5, "rope_type": "default"}}, theta, ""},
	{obj{"rope_scaling": obj{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4},
		"original_max_position_embeddings": 64},
		scaled(RopeScaling{RopeType: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4,
			OriginalMaxPositionEmbeddings: 64}), ""},
	{obj{"rope_scaling": obj{"type": "yarn", "factor": 4, "original_max_position_embeddings": 64, "finetuned": true}},
		scaled(RopeScaling{RopeType: "yarn", Factor: 4, OriginalMaxPositionEmbeddings: 64,
			AttentionFactor: 0.1*math.Log(4) + 1, BetaFast: 32, BetaSlow: 1}), ""},
	{obj{"rope_scaling": obj{"type": "yarn", "factor": 4, "original_max_position_embeddings": 64, "mscale": 0.7,
		"mscale_all_dim": 0.7, "beta_fast": 16, "truncate": true}},
		scaled(RopeScaling{RopeType: "yarn", Factor: 4, OriginalMaxPositionEmbeddings: 64, AttentionFactor: 1, BetaFast: 16,
			BetaSlow: 1}), ""},
	{obj{"hidden_act": "swish"}, none, ""},
	{obj{"pretraining_tp": 2, "use_cache": true, "torch_dtype": "bfloat16", "transformers_version": "4.40.0",
		"bos_token_id": 1, "temperature": 0.6}, none, ""},
	{obj{"sliding_window": nil, "attn_logit_softcapping": nil, "layer_types": []string{"full_attention"}}, none, ""},
	{obj{"sliding_window": 2048}, none, ""},
	{obj{"sliding_window": 256, "use_sliding_window": false}, none, ""},
	{obj{"sliding_window": 256}, none, "sliding_window"}, // Llama has none
	{obj{"sliding_window": 0}, none, "sliding_window"},
	{obj{"sliding_window": "many"}, none, "sliding_window"},
	{obj{"sliding_window": 256, "layer_types": []string{"sliding_attention", "full_attention"}}, none,
		"sliding_window layer_types"},
	{obj{"model_type": "granite", "attention_multiplier": 0.5, "sliding_window": 256}, none, "sliding_window"},
	{mistral(256, obj{}), windowed(256), "max_position_embeddings"},
	{mistral(256, obj{"use_sliding_window": false}), windowed(256), "max_position_embeddings"},
	{mistral(256, obj{"layer_types": []string{"sliding_attention", "full_attention"}}), windowed(256),
		"max_position_embeddings"},
	{mistral(256, obj{"layer_types": []string{"full_attention", "full_attention"}}), none, ""},
	{mistral(2048, obj{}), none, ""},
	{mistral(nil, obj{}), none, ""},
	{mistral(nil, obj{"max_position_embeddings": nil}), windowed(4096), "max_position_embeddings"},
	{obj{"attention_multiplier": 0.5, "logits_scaling": 1.0, "embedding_multiplier": 1, "residual_multiplier": 1}, none,
		""},
	{obj{"model_type": "granite", "attention_multiplier": 0.5}, none, ""},
	{obj{"quantization_config": obj{}, "pruned_heads": obj{}, "is_causal": true}, none, ""},
	{obj{"attention_dropout": 0.1}, none, "attention_dropout"},
	{obj{"attention_dropout": 0.0, "new_false": false, "new_zero": 0, "new_empty": ""}, none, ""},
	{obj{"new_key": obj{"a": 1}, "tie_embeddings": true}, none, "new_key tie_embeddings"},
	{obj{"auto_map": obj{"AutoModelForCausalLM": "modeling.X"}}, none, "auto_map"},
}

func TestWhatWouldChangeTheNumbersIsRefused(t *testing.T) {
	for _, c := range refusals {
		_, _, err := ParseConfig(with(t, c.changes))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q", c.changes, err, c.says)
		}
	}
}

func TestWhatSaysTheSameIsRead(t *testing.T) {
	plain, _, err := ParseConfig(marshal(t, small()))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range spellings {
		c, notes, err := ParseConfig(with(t, x.changes))
		want := plain.Config
		x.want(&want)
		var keys []string
		for _, n := range notes {
			keys = append(keys, n.Key)
		}
		if err != nil || !reflect.DeepEqual(c.Config, want) || strings.Join(keys, " ") != x.notes {
			t.Errorf("%v: %+v (%+v), notes %q, %v; want %+v, %q", x.changes, c.Config, c.RopeScaling, keys, err, want, x.notes)
		}
	}
}

// TestMistralsDefaults leaves out what a mistral config.json may: the values are Mistral's, not Llama's.
func TestMistralsDefaults(t *testing.T) {
	c, _, err := ParseConfig(with(t, obj{"model_type": "mistral", "hidden_size": 64, "num_attention_heads": 16}))
	if err != nil || c.NumKeyValueHeads != 8 || c.MaxPositionEmbeddings != 4096 || c.SlidingWindow != 4096 {
		t.Errorf("%+v, %v", c, err)
	}
	m := small()
	m["model_type"], m["num_key_value_heads"], m["sliding_window"] = "mistral", nil, nil // null is not left out
	if c, notes, err := ParseConfig(marshal(t, m)); err != nil || c.NumKeyValueHeads != 2 || c.MaxPositionEmbeddings != 131072 || len(notes) > 0 {
		t.Errorf("%+v, %v, %v", c, notes, err)
	}
}

// TestDefaultsOfOthers leaves out what a config.json may: the values are those of its architecture.
func TestDefaultsOfOthers(t *testing.T) {
	for _, x := range []struct {
		model string
		want  func(c Config) bool
	}{
		{"qwen2", func(c Config) bool {
			return c.NumKeyValueHeads == 32 && c.MaxPositionEmbeddings == 32768 && c.HeadDim == 2
		}},
		{"qwen3", func(c Config) bool { return c.NumKeyValueHeads == 32 && c.HeadDim == 128 && !c.TieWordEmbeddings }},
		{"smollm3", func(c Config) bool { return c.NumKeyValueHeads == 4 && c.RopeTheta == 2e6 && c.TieWordEmbeddings }},
		{"smollm3", func(c Config) bool { return !c.Rotates(3) && c.Rotates(4) }},
		{"olmo2", func(c Config) bool { return c.NumKeyValueHeads == 64 && c.RMSNormEps == 1e-5 }},
	} {
		m, notes, err := ParseConfig(with(t, obj{"model_type": x.model, "hidden_size": 128, "num_attention_heads": 64}))
		if err != nil || len(notes) > 0 || !x.want(m.Config) {
			t.Errorf("%s: %+v, %v, %v", x.model, m.Config, notes, err)
		}
	}
}

// TestOthersAreRefused lists settings of other architectures that are not computed.
func TestOthersAreRefused(t *testing.T) {
	for _, x := range []struct {
		model   string
		changes obj
		says    string // "" where it is read
	}{
		{"qwen2", obj{"attention_bias": true}, "attention_bias is true, and model_type qwen2 has none"},
		{"qwen2", obj{"qkv_bias": true}, ""},
		{"qwen2", obj{"attention_bias": false}, ""},
		{"qwen2", obj{"qk_norm": true}, "qk_norm is true"},
		{"qwen2", obj{"use_mrope": true}, "use_mrope is true"},
		{"qwen3", obj{"mlp_bias": true}, "mlp_bias is true, and model_type qwen3 has none"},
		{"qwen3", obj{"qk_norm": true}, ""},
		{"qwen3", obj{"num_experts": 8}, "num_experts is 8"},
		{"olmo2", obj{"clip_qkv": 8}, "clip_qkv is 8"},
		{"olmo2", obj{"no_rope_layers": []int{1, 0}}, "no_rope_layers is [1,0]"},
		{"smollm3", obj{"no_rope_layers": []int{1}}, "no_rope_layers has 1 numbers for 2 layers"},
		{"smollm3", obj{"no_rope_layers": []int{0, 1, 1}}, ""}, // transformers reads the first two
		{"smollm3", obj{"no_rope_layers": "1 0"}, `no_rope_layers is "1 0", not a list of whole numbers`},
		{"smollm3", obj{"no_rope_layer_interval": 0}, "no_rope_layer_interval is 0"},
		{"mistral", obj{"architectures": []string{"Qwen2ForCausalLM"}}, "only MistralForCausalLM"},
	} {
		changes := obj{"model_type": x.model, "num_key_value_heads": 2}
		maps.Copy(changes, x.changes)
		_, _, err := ParseConfig(with(t, changes))
		if (err == nil) != (x.says == "") || err != nil && !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s, %v: %v, want %q", x.model, x.changes, err, x.says)
		}
	}
}

// TestWindows lists what makes a window count, as transformers reads it.
func TestWindows(t *testing.T) {
	full, sliding := []string{fullAttention, fullAttention}, []string{fullAttention, slidingAttention}
	for _, x := range []struct {
		model   string
		changes obj
		longest int
		notes   int
		says    string
	}{
		{"qwen2", obj{"sliding_window": 256}, 2048, 0, ""},
		{"qwen2", obj{"sliding_window": 256, "use_sliding_window": true}, 2048, 0, ""}, // from layer 28 on
		{"qwen2", obj{"sliding_window": 256, "use_sliding_window": true, "max_window_layers": 1}, 256, 1, ""},
		{"qwen3", obj{"sliding_window": 256, "use_sliding_window": true, "layer_types": full, "max_window_layers": 0}, 2048,
			0, ""},
		{"qwen3", obj{"sliding_window": 256, "use_sliding_window": true, "layer_types": sliding}, 256, 1, ""},
		{"qwen3", obj{"sliding_window": 256, "layer_types": sliding}, 0, 0, "use_sliding_window is not true"},
		{"smollm3", obj{"sliding_window": 256}, 2048, 0, ""},
		{"smollm3", obj{"sliding_window": 256, "use_sliding_window": true}, 2048, 0, ""}, // in layers without positions
		{"smollm3", obj{"sliding_window": 256, "use_sliding_window": true, "no_rope_layer_interval": 2}, 256, 1, ""},
		{"smollm3", obj{"sliding_window": 256, "use_sliding_window": true, "no_rope_layers": []int{0, 1}}, 256, 1, ""},
		{"smollm3", obj{"sliding_window": 256, "layer_types": sliding}, 256, 1, ""},
		{"olmo2", obj{"sliding_window": 256}, 2048, 1, ""},
	} {
		changes := obj{"model_type": x.model, "num_key_value_heads": 2, "max_position_embeddings": 2048}
		maps.Copy(changes, x.changes)
		m, notes, err := ParseConfig(with(t, changes))
		if x.says != "" {
			if err == nil || !strings.Contains(err.Error(), x.says) {
				t.Errorf("%s, %v: %v", x.model, x.changes, err)
			}
			continue
		}
		if err != nil || m.MaxPositionEmbeddings != x.longest || len(notes) != x.notes {
			t.Errorf("%s, %v: %d, %v, %v", x.model, x.changes, m.MaxPositionEmbeddings, notes, err)
		}
	}
}

// TestTablesOfKeys holds each key of config.json to one table, where it has one meaning.
func TestTablesOfKeys(t *testing.T) {
	fields := map[string]bool{}
	for _, f := range llama.Fields {
		fields[f.Name] = true
	}
	for name := range neutral {
		if harmless[name] || elsewhere[name] || fields[name] {
			t.Errorf("%s stands in two tables", name)
		}
	}
	for name := range harmless {
		if elsewhere[name] || fields[name] {
			t.Errorf("%s stands in two tables", name)
		}
	}
	for name := range others {
		if table[name] != nil {
			t.Errorf("%s is supported and is not", name)
		}
	}
}

// TestAllKeysOfTransformersAreKnown reads configurations with every key that transformers 4.44 has: none is new to
// the tables.
func TestAllKeysOfTransformersAreKnown(t *testing.T) {
	for _, name := range []string{"llama", "mistral"} {
		b, err := os.ReadFile("testdata/transformers-4.44-" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(b, &all); err != nil {
			t.Fatal(err)
		}
		if _, notes, err := ParseConfig(b); err != nil || name == "llama" && len(notes) > 0 || name == "mistral" && len(notes) != 1 { // its window
			t.Errorf("%s: %v, %v", name, notes, err)
		}
		for key, v := range all {
			_, fixed := neutral[key]
			if !fixed && !harmless[key] && !elsewhere[key] && !llama.Has(key) {
				t.Errorf("%s: %s = %s is in no table", name, key, v)
			}
		}
	}
}
func FuzzParseConfig(f *testing.F) {
	for _, a := range All() {
		m := small()
		m["model_type"] = a.Type
		f.Add(marshal(f, m))
	}
	f.Add([]byte(`{"rope_parameters": {"type": "llama3", "rope_theta": 1e308}, "head_dim": null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, _, err := ParseConfig(b)
		if err != nil {
			return
		}
		if c.NumHiddenLayers < 1 || c.VocabSize < 1 || c.HeadDim%2 != 0 {
			t.Errorf("%+v is taken", c)
		}
		for p := range c.Wants() { // the first layer's, and no more
			if p.Shape.Elems() < 1 {
				t.Errorf("%s has the shape %v", p.Name, p.Shape)
			}
			if p.Layer > 0 {
				break
			}
		}
	})
}
