// Package llama is the LLaMA architecture as a graph: RMSNorm, rotary positions, grouped-query
// attention, SwiGLU (Touvron et al. 2023), with the names of Hugging Face's config.json and tensors.
package llama

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
)

// Config is the part of Hugging Face's config.json that fixes the architecture. Fields is the table of its fields, without
// SlidingWindow, which only says where MaxPositionEmbeddings comes from.
type Config struct {
	VocabSize             int
	HiddenSize            int
	IntermediateSize      int
	NumHiddenLayers       int
	NumAttentionHeads     int
	NumKeyValueHeads      int
	HeadDim               int
	HiddenAct             string
	MaxPositionEmbeddings int
	RMSNormEps            float64
	RopeTheta             float64
	RopeScaling           *RopeScaling // nil for none
	InitializerRange      float64
	TieWordEmbeddings     bool
	AttentionBias         bool
	MLPBias               bool

	SlidingWindow int // of attention in an imported model: what MaxPositionEmbeddings was lowered to; 0 where it was not
}

// Field is a field of Config, with the name it has in config.json and as an attribute of a model block.
type Field struct {
	Name   string
	Needed bool                // has no default
	Free   bool                // may differ between models whose weights fit each other
	at     func(c *Config) any // a pointer to it
	def    func(c *Config) any // Hugging Face's default, which may follow from fields above; nil for the zero value
	most   int                 // of a whole number, which is at least 1: far beyond any model, and products of all do not overflow
}

// Fields are all fields of Config.
var Fields = []Field{
	{Name: "vocab_size", Needed: true, most: 1 << 24, at: func(c *Config) any { return &c.VocabSize }},
	{Name: "hidden_size", Needed: true, most: 1 << 20, at: func(c *Config) any { return &c.HiddenSize }},
	{Name: "intermediate_size", Needed: true, most: 1 << 22, at: func(c *Config) any { return &c.IntermediateSize }},
	{Name: "num_hidden_layers", Needed: true, Free: true, most: 10000, at: func(c *Config) any { return &c.NumHiddenLayers }},
	{Name: "num_attention_heads", Needed: true, most: 1 << 16, at: func(c *Config) any { return &c.NumAttentionHeads }},
	{Name: "num_key_value_heads", most: 1 << 16, at: func(c *Config) any { return &c.NumKeyValueHeads }, def: func(c *Config) any { return c.NumAttentionHeads }},
	{Name: "head_dim", most: 1 << 16, at: func(c *Config) any { return &c.HeadDim }, def: func(c *Config) any { return c.HiddenSize / max(c.NumAttentionHeads, 1) }},
	{Name: "hidden_act", at: func(c *Config) any { return &c.HiddenAct }, def: func(*Config) any { return "silu" }},
	{Name: "max_position_embeddings", Free: true, most: 1 << 30, at: func(c *Config) any { return &c.MaxPositionEmbeddings }, def: func(*Config) any { return 2048 }},
	{Name: "rms_norm_eps", at: func(c *Config) any { return &c.RMSNormEps }, def: func(*Config) any { return 1e-6 }},
	{Name: "rope_theta", at: func(c *Config) any { return &c.RopeTheta }, def: func(*Config) any { return 10000.0 }},
	{Name: "rope_scaling", at: func(c *Config) any { return &c.RopeScaling }},
	{Name: "initializer_range", Free: true, at: func(c *Config) any { return &c.InitializerRange }, def: func(*Config) any { return 0.02 }},
	{Name: "tie_word_embeddings", at: func(c *Config) any { return &c.TieWordEmbeddings }},
	{Name: "attention_bias", at: func(c *Config) any { return &c.AttentionBias }},
	{Name: "mlp_bias", at: func(c *Config) any { return &c.MLPBias }},
}

// At is a pointer to the field in c: *int, *float64, *string, *bool or **RopeScaling.
func (f Field) At(c *Config) any { return f.at(c) }

// Value is the field's value in c.
func (f Field) Value(c Config) any { return reflect.ValueOf(f.at(&c)).Elem().Interface() }

// Same reports whether two configurations agree in the field. Scaling of type default is none.
func (f Field) Same(a, b Config) bool {
	a.plain()
	b.plain()
	return reflect.DeepEqual(f.Value(a), f.Value(b))
}

// Show is the field's value in c for a message.
func (f Field) Show(c Config) string {
	b, err := json.Marshal(f.Value(c))
	if err != nil {
		return fmt.Sprint(f.Value(c))
	}
	return string(b)
}

// plain leaves out scaling that changes nothing.
func (c *Config) plain() {
	if c.RopeScaling != nil && c.RopeScaling.RopeType == "default" {
		c.RopeScaling = nil
	}
}

// Fill sets fields that hold zero to Hugging Face's defaults, but for those that were given.
func (c *Config) Fill(given ...string) {
	c.plain()
	for _, f := range Fields {
		if v := reflect.ValueOf(f.at(c)).Elem(); f.def != nil && v.IsZero() && !slices.Contains(given, f.Name) {
			v.Set(reflect.ValueOf(f.def(c)))
		}
	}
}

// With is the configuration with some whole-number fields changed, by their names.
func (c Config) With(changed map[string]int) Config {
	for _, f := range Fields {
		if n, ok := changed[f.Name]; ok {
			*f.at(&c).(*int) = n
		}
	}
	return c
}

// Longest says in words how long a sequence may be, and why.
func (c Config) Longest() string {
	if c.SlidingWindow > 0 {
		return fmt.Sprintf("sliding_window %d (in the model that was trained, attention sees no further back; here it would)", c.SlidingWindow)
	}
	return fmt.Sprintf("max_position_embeddings %d", c.MaxPositionEmbeddings)
}

// Problem is what is wrong with one attribute of a configuration.
type Problem struct{ Attribute, What, Do string }

// Check lists everything that makes the configuration impossible.
func (c Config) Check() (ps []Problem) {
	bad := func(attr, do, what string, args ...any) {
		ps = append(ps, Problem{attr, fmt.Sprintf(what, args...), do})
	}
	for _, f := range Fields {
		n, whole := f.at(&c).(*int)
		switch {
		case !whole || f.Name == "head_dim":
		case *n < 1:
			bad(f.Name, "Give a whole number of at least 1.", "%s is %d; the least is 1", f.Name, *n)
		case *n > f.most:
			bad(f.Name, fmt.Sprintf("Give a whole number of at most %d.", f.most), "%s is %d; the most is %d", f.Name, *n, f.most)
		}
	}
	if len(ps) > 0 {
		return ps
	}
	if c.HiddenSize%c.NumAttentionHeads != 0 && c.HeadDim == c.HiddenSize/c.NumAttentionHeads {
		bad("hidden_size", fmt.Sprintf("Choose a multiple of %d, or set head_dim.", c.NumAttentionHeads), "hidden_size %d is not divisible by num_attention_heads %d", c.HiddenSize, c.NumAttentionHeads)
	}
	if c.NumAttentionHeads%c.NumKeyValueHeads != 0 {
		bad("num_key_value_heads", "Every key-value head serves the same number of query heads: choose a divisor.", "num_attention_heads %d is not divisible by num_key_value_heads %d", c.NumAttentionHeads, c.NumKeyValueHeads)
	}
	if c.HeadDim%2 != 0 || c.HeadDim < 2 || c.HeadDim > 1<<16 {
		bad("head_dim", "Rotary positions turn pairs of channels: choose an even head_dim from 2 to 65536.", "head_dim is %d; it is even, from 2 to 65536", c.HeadDim)
	}
	if c.HiddenAct != "silu" {
		bad("hidden_act", `Use "silu".`, "hidden_act %q is not supported", c.HiddenAct)
	}
	if !(c.RMSNormEps > 0 && c.RMSNormEps <= math.MaxFloat32) {
		bad("rms_norm_eps", "Give a small positive number, such as 1e-5.", "rms_norm_eps is %g; it is a small positive number", c.RMSNormEps)
	}
	if !(c.RopeTheta > 1 && c.RopeTheta <= math.MaxFloat32) {
		bad("rope_theta", "Use 10000, or the value of the model you continue.", "rope_theta is %g; it is a number above 1", c.RopeTheta)
	}
	if !(c.InitializerRange >= 0 && c.InitializerRange <= math.MaxFloat32) {
		bad("initializer_range", "Give a small number of at least 0, such as 0.02.", "initializer_range is %g; it is a small number of at least 0", c.InitializerRange)
	}
	if s := c.RopeScaling; s != nil {
		if what := s.check(); what != "" {
			bad("rope_scaling", "Take the settings of the model you continue.", "rope_scaling: %s", what)
		}
	}
	if n, most := c.params(), 1e15; len(ps) == 0 && n > most {
		bad("hidden_size", fmt.Sprintf("A model has at most %g parameters: choose smaller sizes.", most), "the model has %.3g parameters", n)
	}
	return ps
}

// params is about the number of parameters, in floating point: it does not overflow.
func (c Config) params() float64 {
	h, m, d := float64(c.HiddenSize), float64(c.IntermediateSize), float64(c.HeadDim)
	layer := h*d*(2*float64(c.NumAttentionHeads)+2*float64(c.NumKeyValueHeads)) + 3*h*m
	return float64(c.NumHiddenLayers)*layer + 2*h*float64(c.VocabSize)
}

// SameArchitecture reports whether weights of one configuration fit the other, their number of
// layers apart, and mean the same there; it names the first difference.
func SameArchitecture(a, b Config) (attribute string, same bool) {
	for _, f := range Fields {
		if !f.Free && !f.Same(a, b) {
			return f.Name, false
		}
	}
	return "", true
}
