package llama

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

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

// TestWhatWouldChangeTheNumbersIsRefused lists settings under which a model is not computed here. Each is named.
func TestWhatWouldChangeTheNumbersIsRefused(t *testing.T) {
	for _, c := range []struct {
		changes obj
		says    string
	}{
		{obj{"model_type": nil}, "neither model_type nor architectures"},
		{obj{"model_type": nil, "architectures": []string{}}, "neither model_type nor architectures"},
		{obj{"model_type": nil, "architectures": []string{"Qwen2ForCausalLM"}}, "q, k and v have biases, and o has none"},
		{obj{"model_type": nil, "architectures": []string{"XForCausalLM"}}, `architecture "XForCausalLM"; only llama is`},
		{obj{"model_type": nil, "architectures": []string{"LlamaForCausalLM", "Qwen2ForCausalLM"}}, `architectures names 2 classes, ["LlamaForCausalLM","Qwen2ForCausalLM"]`},
		{obj{"model_type": nil, "architectures": []string{"Qwen2ForCausalLM", "LlamaForCausalLM"}}, "architectures names 2 classes"},
		{obj{"model_type": nil, "architectures": []string{"LlamaForCausalLM", "MistralForCausalLM"}}, "give model_type"},
		{obj{"model_type": nil, "architectures": []string{"LlamaModel"}}, `architecture "LlamaModel"`},
		{obj{"model_type": "qwen2"}, `model_type "qwen2": q, k and v have biases`},
		{obj{"model_type": "llama4"}, `model_type "llama4"; only llama`},
		{obj{"model_type": "Llama"}, `model_type "Llama"`},
		{obj{"architectures": []string{"LlamaForSequenceClassification"}}, `architecture "LlamaForSequenceClassification": its head is not that of a language model`},
		{obj{"architectures": []string{"LlamaModel"}}, `architecture "LlamaModel"`},
		{obj{"architectures": []string{"Qwen2ForCausalLM"}}, `model_type "llama" and of the architecture "Qwen2ForCausalLM"`},
		{obj{"model_type": "mistral", "architectures": []string{"LlamaForCausalLM"}}, "only MistralForCausalLM"},
		{obj{"model_type": "mistral", "attention_bias": true}, "attention_bias is true, and model_type mistral has none"},
		{obj{"architectures": "LlamaForCausalLM"}, "architectures is"},

		{obj{"rope_scaling": obj{"rope_type": "longrope", "short_factor": []int{1}, "long_factor": []int{2}}}, `rope_type "longrope" is not supported: its frequencies change with the length`},
		{obj{"rope_scaling": obj{"type": "su", "short_factor": []int{1}}}, `rope_type "su" is not supported`},
		{obj{"rope_parameters": obj{"type": "mrope", "mrope_section": []int{1, 1}}}, `rope_type "mrope" is not supported`},
		{obj{"rope_scaling": obj{"type": "linear"}}, `incomplete: rope_type "linear" needs factor`},
		{obj{"rope_scaling": obj{"type": "linear", "factor": nil}}, `needs factor`},
		{obj{"rope_scaling": obj{"type": "linear", "factor": 0.5}}, "linear takes factor >= 1"},
		{obj{"rope_scaling": obj{"type": "linear", "factor": "2"}}, `factor is "2", not a number`},
		{obj{"rope_scaling": obj{"rope_type": "linear", "type": "dynamic", "factor": 2}}, `rope_type "linear" and type "dynamic"`},
		{obj{"rope_scaling": obj{"factor": 2}}, `factor, which rope_type "default" does not take`},
		{obj{"rope_scaling": obj{"rope_type": "default", "factor": 2}}, `factor, which rope_type "default" does not take`},
		{obj{"rope_scaling": obj{"rope_type": "linear", "factor": 2, "new_key": 1}}, `new_key, which rope_type "linear" does not take`},
		{obj{"rope_scaling": obj{"rope_type": "llama3", "factor": 8}}, "needs low_freq_factor"},
		{obj{"rope_scaling": obj{"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1, "original_max_position_embeddings": 8}}, "low_freq_factor < high_freq_factor"},
		{obj{"rope_scaling": obj{"rope_type": "yarn", "factor": 8}}, "needs original_max_position_embeddings"},
		{obj{"rope_scaling": obj{"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 8, "truncate": false}}, "truncate is false"},
		{obj{"rope_scaling": obj{"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 8, "attention_factor": -1}}, "attention_factor > 0"},
		{obj{"rope_scaling": obj{"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 8}, "original_max_position_embeddings": 16}, "original_max_position_embeddings is 8 in rope_scaling and 16 beside it"},
		{obj{"rope_parameters": obj{"full_attention": obj{"rope_type": "default"}, "sliding_attention": obj{"rope_type": "default"}}}, "gives each type of layer its own settings"},
		{obj{"rope_theta": 10000, "rope_parameters": obj{"rope_theta": 500000}}, "rope_theta is 10000 in config.json itself and 500000 in rope_parameters"},
		{obj{"rope_scaling": obj{"rope_type": "default", "rope_theta": 5}, "rope_parameters": obj{"rope_theta": 6}}, "rope_theta is 6 in rope_parameters and 5 in rope_scaling"},
		{obj{"rope_scaling": obj{"type": "linear", "factor": 2}, "rope_parameters": obj{"rope_type": "default"}}, "rope_parameters and rope_scaling say different things"},
		{obj{"rope_scaling": obj{"type": "linear", "factor": 2}, "rope_parameters": obj{"rope_type": "linear", "factor": 4}}, "say different things"},
		{obj{"rope_parameters": obj{"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor is 0.5 in rope_parameters"},
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
		{obj{"attention_multiplier": 0.0078125}, "attention_multiplier is 0.0078125, which changes what the model computes: only 0.5 is supported"},
		{obj{"model_type": "granite"}, "attention_multiplier is 1"},
		{obj{"quantization_config": obj{"quant_method": "gptq", "bits": 4}}, "quantization_config says that the weights are quantised"},
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
		{obj{"rope_scaling": obj{"type": "yarn", "factor": 4, "original_max_position_embeddings": 64, "attention_factor": 0}}, "attention_factor is 0 in rope_scaling"},
		{obj{"tie_word_embeddings": 1}, "tie_word_embeddings is 1"},
	} {
		_, _, err := ParseConfig(with(t, c.changes))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q", c.changes, err, c.says)
		}
	}
}

// TestWhatSaysTheSameIsRead lists spellings under which the numbers are Llama's, with what changes in the configuration.
func TestWhatSaysTheSameIsRead(t *testing.T) {
	plain, _, err := ParseConfig(marshal(t, small()))
	if err != nil {
		t.Fatal(err)
	}
	scaled := func(s RopeScaling) func(*Config) { return func(c *Config) { c.RopeScaling = &s } }
	linear := scaled(RopeScaling{RopeType: "linear", Factor: 2})
	theta := func(c *Config) { c.RopeTheta = 500000 }
	none := func(*Config) {}
	windowed := func(n int) func(*Config) {
		return func(c *Config) { c.MaxPositionEmbeddings, c.SlidingWindow = n, n }
	}
	mistral := func(window any, more obj) obj {
		changes := obj{"model_type": "mistral", "num_key_value_heads": 2, "max_position_embeddings": 2048, "sliding_window": window}
		maps.Copy(changes, more)
		return changes
	}
	for _, x := range []struct {
		changes obj
		want    func(*Config)
		notes   string // keys
	}{
		{obj{"model_type": nil, "architectures": []string{"LlamaForCausalLM"}}, none, ""},
		{obj{"architectures": []string{"LlamaForCausalLM"}}, none, ""},
		{obj{"architectures": []string{"Qwen2ForCausalLM", "LlamaForCausalLM"}}, none, ""}, // model_type decides
		{obj{"rope_scaling": obj{"type": "linear", "factor": 2}}, linear, ""},
		{obj{"rope_scaling": obj{"rope_type": "linear", "factor": 2.0, "type": "linear"}}, linear, ""},
		{obj{"rope_parameters": obj{"type": "linear", "factor": 2, "rope_theta": 10000}}, linear, ""},
		{obj{"rope_parameters": obj{"rope_type": "linear", "factor": 2, "partial_rotary_factor": 1.0}, "rope_scaling": obj{"type": "linear", "factor": 2}}, linear, ""},
		{obj{"rope_scaling": obj{"type": "dynamic", "factor": 4}}, scaled(RopeScaling{RopeType: "dynamic", Factor: 4}), ""},
		{obj{"rope_scaling": obj{}}, none, ""},
		{obj{"rope_scaling": obj{"type": "default"}, "rope_parameters": obj{}}, none, ""},
		{obj{"rope_theta": 500000.0}, theta, ""},
		{obj{"rope_theta": 500000, "rope_parameters": obj{"rope_theta": 5e5, "rope_type": "default"}}, theta, ""},
		{obj{"rope_scaling": obj{"rope_theta": 5e5, "rope_type": "default"}}, theta, ""},
		{obj{"rope_scaling": obj{"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}, "original_max_position_embeddings": 64},
			scaled(RopeScaling{RopeType: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 64}), ""},
		{obj{"rope_scaling": obj{"type": "yarn", "factor": 4, "original_max_position_embeddings": 64, "finetuned": true}},
			scaled(RopeScaling{RopeType: "yarn", Factor: 4, OriginalMaxPositionEmbeddings: 64, AttentionFactor: 0.1*math.Log(4) + 1, BetaFast: 32, BetaSlow: 1}), ""},
		{obj{"rope_scaling": obj{"type": "yarn", "factor": 4, "original_max_position_embeddings": 64, "mscale": 0.7, "mscale_all_dim": 0.7, "beta_fast": 16, "truncate": true}},
			scaled(RopeScaling{RopeType: "yarn", Factor: 4, OriginalMaxPositionEmbeddings: 64, AttentionFactor: 1, BetaFast: 16, BetaSlow: 1}), ""},
		{obj{"hidden_act": "swish"}, none, ""},
		{obj{"pretraining_tp": 2, "use_cache": true, "torch_dtype": "bfloat16", "transformers_version": "4.40.0", "bos_token_id": 1, "temperature": 0.6}, none, ""},
		{obj{"sliding_window": nil, "attn_logit_softcapping": nil, "layer_types": []string{"full_attention"}}, none, ""},
		{obj{"sliding_window": 2048}, none, ""},
		{obj{"sliding_window": 256, "use_sliding_window": false}, none, ""},
		{obj{"sliding_window": 256}, none, "sliding_window"}, // Llama has none
		{obj{"sliding_window": 0}, none, "sliding_window"},
		{obj{"sliding_window": "many"}, none, "sliding_window"},
		{obj{"sliding_window": 256, "layer_types": []string{"sliding_attention", "full_attention"}}, none, "sliding_window layer_types"},
		{obj{"model_type": "granite", "attention_multiplier": 0.5, "sliding_window": 256}, none, "sliding_window"},
		{mistral(256, obj{}), windowed(256), "max_position_embeddings"},
		{mistral(256, obj{"use_sliding_window": false}), windowed(256), "max_position_embeddings"},
		{mistral(256, obj{"layer_types": []string{"sliding_attention", "full_attention"}}), windowed(256), "max_position_embeddings"},
		{mistral(256, obj{"layer_types": []string{"full_attention", "full_attention"}}), none, ""},
		{mistral(2048, obj{}), none, ""},
		{mistral(nil, obj{}), none, ""},
		{mistral(nil, obj{"max_position_embeddings": nil}), windowed(4096), "max_position_embeddings"},
		{obj{"attention_multiplier": 0.5, "logits_scaling": 1.0, "embedding_multiplier": 1, "residual_multiplier": 1}, none, ""},
		{obj{"model_type": "granite", "attention_multiplier": 0.5}, none, ""},
		{obj{"quantization_config": obj{}, "pruned_heads": obj{}, "is_causal": true}, none, ""},
		{obj{"attention_dropout": 0.1}, none, "attention_dropout"},
		{obj{"attention_dropout": 0.0, "new_false": false, "new_zero": 0, "new_empty": ""}, none, ""},
		{obj{"new_key": obj{"a": 1}, "tie_embeddings": true}, none, "new_key tie_embeddings"},
		{obj{"auto_map": obj{"AutoModelForCausalLM": "modeling.X"}}, none, "auto_map"},
	} {
		c, notes, err := ParseConfig(with(t, x.changes))
		want := plain
		x.want(&want)
		var keys []string
		for _, n := range notes {
			keys = append(keys, n.Key)
		}
		if err != nil || !reflect.DeepEqual(c, want) || strings.Join(keys, " ") != x.notes {
			t.Errorf("%v: %+v (%+v), notes %q, %v; want %+v, %q", x.changes, c, c.RopeScaling, keys, err, want, x.notes)
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

// TestTablesOfKeys holds each key of config.json to one table, where it has one meaning.
func TestTablesOfKeys(t *testing.T) {
	fields := map[string]bool{}
	for _, f := range Fields {
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
		if _, ok := families[name]; ok {
			t.Errorf("%s is supported and is not", name)
		}
	}
}

// TestFrequencies holds each kind of scaling to values computed by hand: theta 10000, 8 channels, so 1, 0.1, 0.01, 0.001.
func TestFrequencies(t *testing.T) {
	for _, x := range []struct {
		s     *RopeScaling
		want  []float64
		scale float64
	}{
		{nil, []float64{1, 0.1, 0.01, 0.001}, 1},
		{&RopeScaling{RopeType: "dynamic", Factor: 4}, []float64{1, 0.1, 0.01, 0.001}, 1},
		{&RopeScaling{RopeType: "linear", Factor: 4}, []float64{0.25, 0.025, 0.0025, 0.00025}, 1},
		// 2 pi/f is 6.28, 62.8, 628, 6283; the bounds are 64/1 and 64/4, so 62.8 is blended with (64/62.8 - 1)/3.
		{&RopeScaling{RopeType: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 64},
			[]float64{1, (1-0.0061972)*0.0125 + 0.0061972*0.1, 0.00125, 0.000125}, 1},
		// Turns 32 and 1 within 4096 are at channels 1.31 and 2.81: rounded to 1 and 3, channel 2 is half of each.
		{&RopeScaling{RopeType: "yarn", Factor: 4, OriginalMaxPositionEmbeddings: 4096, AttentionFactor: 1.25, BetaFast: 32, BetaSlow: 1},
			[]float64{1, 0.1, 0.01*0.5 + 0.0025*0.5, 0.00025}, 1.25},
	} {
		c := Config{HeadDim: 8, RopeTheta: 10000, RopeScaling: x.s}
		f, scale := c.Frequencies()
		for i := range x.want {
			if math.Abs(f[i]/x.want[i]-1) > 1e-5 || scale != x.scale {
				t.Errorf("%+v: %v times %g, want %v times %g", x.s, f, scale, x.want, x.scale)
				break
			}
		}
		cos, sin := c.RopeTables(3)
		if i := 2*4 + 1; math.Abs(float64(cos[i])-scale*math.Cos(2*f[1])) > 1e-6 || math.Abs(float64(sin[i])-scale*math.Sin(2*f[1])) > 1e-6 {
			t.Errorf("%+v: the tables differ from the frequencies", x.s)
		}
	}
}

// TestAllKeysOfTransformersAreKnown reads configurations with every key that transformers 4.44 has: none is new to the tables.
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
			if field := slices.ContainsFunc(Fields, func(f Field) bool { return f.Name == key }); !fixed && !harmless[key] && !elsewhere[key] && !field {
				t.Errorf("%s: %s = %s is in no table", name, key, v)
			}
		}
	}
}
