package dsl

import "github.com/zclconf/go-cty/cty"

// Architectures are types of the model block that their package adds. Here a small one stands for all.
func init() {
	size := func(name string, most float64) Attr {
		return Attr{Name: name, Type: cty.Number, Whole: true, Min: at(1), Max: at(most)}
	}
	Extend("model", []string{"llama"}, []Attr{
		size("vocab_size", 1<<24), size("hidden_size", 1<<20), size("intermediate_size", 1<<22), size("num_hidden_layers", maxLayers),
		size("num_attention_heads", 1<<16), size("num_key_value_heads", 1<<16), size("max_position_embeddings", 1<<30),
		{Name: "rope_theta", Type: cty.Number, Above: at(1), Max: at(1e12)},
		{Name: "rope_scaling", Type: cty.DynamicPseudoType},
		{Name: "rms_norm_eps", Type: cty.Number, Above: at(0), Max: at(1)},
		{Name: "initializer_range", Type: cty.Number, Above: at(0), Max: at(10)},
		{Name: "tie_word_embeddings", Type: cty.Bool},
	}, []Export{{Name: "vocab_size", Type: cty.Number}, {Name: "hidden_size", Type: cty.Number}, {Name: "num_hidden_layers", Type: cty.Number},
		{Name: "num_parameters", Type: cty.Number, From: []string{"hidden_size", "num_hidden_layers"}}})
}
