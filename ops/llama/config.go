// Package llama is the LLaMA architecture as a graph: RMSNorm, rotary positions, grouped-query
// attention, SwiGLU (Touvron et al. 2023), with the names of Hugging Face's config.json and tensors.
package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"stepflow/foreign"
)

// Config is the part of Hugging Face's config.json that fixes the architecture. Fields is the table of its fields.
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
}

// RopeScaling stretches the rotary frequencies. Kinds: "default" and "llama3" (Llama 3.1).
type RopeScaling struct {
	RopeType                      string  `json:"rope_type"`
	Factor                        float64 `json:"factor,omitempty"`
	LowFreqFactor                 float64 `json:"low_freq_factor,omitempty"`
	HighFreqFactor                float64 `json:"high_freq_factor,omitempty"`
	OriginalMaxPositionEmbeddings int     `json:"original_max_position_embeddings,omitempty"`
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
			bad(f.Name, "Give a whole number of at least 1.", "%s is %d", f.Name, *n)
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
		bad("head_dim", "Rotary positions turn pairs of channels: choose an even head_dim from 2 to 65536.", "head_dim is %d", c.HeadDim)
	}
	if c.HiddenAct != "silu" {
		bad("hidden_act", `Use "silu".`, "hidden_act %q is not supported", c.HiddenAct)
	}
	if !(c.RMSNormEps > 0 && c.RMSNormEps <= math.MaxFloat32) {
		bad("rms_norm_eps", "Give a small positive number, such as 1e-5.", "rms_norm_eps is %g", c.RMSNormEps)
	}
	if !(c.RopeTheta > 1 && c.RopeTheta <= math.MaxFloat32) {
		bad("rope_theta", "Use 10000, or the value of the model you continue.", "rope_theta is %g", c.RopeTheta)
	}
	if !(c.InitializerRange >= 0 && c.InitializerRange <= math.MaxFloat32) {
		bad("initializer_range", "Give a small number of at least 0, such as 0.02.", "initializer_range is %g", c.InitializerRange)
	}
	if s := c.RopeScaling; s != nil {
		switch s.RopeType {
		case "default":
		case "llama3":
			if !(s.Factor >= 1 && s.Factor <= math.MaxFloat32 && s.LowFreqFactor > 0 && s.HighFreqFactor > s.LowFreqFactor && s.HighFreqFactor <= math.MaxFloat32 && s.OriginalMaxPositionEmbeddings > 0) {
				bad("rope_scaling", "llama3 takes factor >= 1, low_freq_factor < high_freq_factor and original_max_position_embeddings.", "rope_scaling is incomplete")
			}
		default:
			bad("rope_scaling", `Use rope_type "default" or "llama3".`, "rope_type %q is not supported", s.RopeType)
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

// MaxConfigBytes bounds a config.json.
const MaxConfigBytes = 16 << 20

// ParseConfig reads a Hugging Face config.json of model_type llama. Newer files keep the rotary
// settings in rope_parameters; both places are read. That the number of layers is not absurd is for the weights beside it
// to tell. The caller names the file in errors.
func ParseConfig(b []byte) (c Config, err error) {
	members, err := foreign.Object(b)
	if err != nil {
		return c, err
	}
	raw := map[string]json.RawMessage{}
	for _, m := range members {
		if string(m.Value) != "null" {
			raw[m.Name] = m.Value
		}
	}
	var kind string
	var architectures []string
	if err := errors.Join(read(raw, "model_type", &kind), read(raw, "architectures", &architectures)); err != nil {
		return c, err
	}
	if kind != "" && kind != "llama" {
		return c, fmt.Errorf("it is of model_type %q; only llama is supported", kind)
	}
	if kind == "" && len(architectures) > 0 && architectures[0] != "LlamaForCausalLM" {
		return c, fmt.Errorf("it is of the architecture %q; only LlamaForCausalLM is supported", architectures[0])
	}
	var given []string
	for _, f := range Fields {
		if raw[f.Name] == nil {
			if f.Needed {
				return c, fmt.Errorf("%s is missing", f.Name)
			}
			continue
		}
		if err := read(raw, f.Name, f.at(&c)); err != nil {
			return c, err
		}
		given = append(given, f.Name)
	}
	if raw["rope_parameters"] != nil {
		var scaling RopeScaling
		var theta struct {
			RopeTheta *float64 `json:"rope_theta"`
		}
		if err := errors.Join(read(raw, "rope_parameters", &scaling), read(raw, "rope_parameters", &theta)); err != nil {
			return c, err
		}
		if theta.RopeTheta != nil {
			c.RopeTheta, given = *theta.RopeTheta, append(given, "rope_theta")
		}
		if scaling.RopeType != "" && scaling.RopeType != "default" {
			c.RopeScaling = &scaling
		}
	}
	c.Fill(given...)
	for _, p := range c.Check() {
		if p.Attribute != "num_hidden_layers" || c.NumHiddenLayers < 1 {
			return c, errors.New(p.What)
		}
	}
	return c, nil
}

// read decodes a member that is there.
func read(raw map[string]json.RawMessage, name string, into any) error {
	b, ok := raw[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		want := "of another form"
		switch into.(type) {
		case *int:
			want = "not a whole number in range"
		case *float64:
			want = "not a number in range"
		case *bool:
			want = "neither true nor false"
		case *string:
			want = "not a string"
		}
		return fmt.Errorf("%s is %s, %s", name, foreign.Shown(string(b[:min(len(b), 60)])), want)
	}
	return nil
}

// UnmarshalJSON reads the object of config.json, in which older files call rope_type type.
func (s *RopeScaling) UnmarshalJSON(b []byte) error {
	type plain RopeScaling
	var f struct {
		plain
		Type string `json:"type"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	if *s = RopeScaling(f.plain); s.RopeType == "" {
		s.RopeType = f.Type
	}
	return nil
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

// RopeTables gives cos and sin of position times frequency, each [seq, head_dim/2] row-major.
// The frequency of pair i is theta^(-2i/d) (Su et al. 2021); llama3 scaling divides low
// frequencies by factor and blends those between the two bounds (Llama 3.1 model code).
func (c Config) RopeTables(seq int) (cos, sin []float32) {
	half := c.HeadDim / 2
	cos, sin = make([]float32, seq*half), make([]float32, seq*half)
	for i := 0; i < half; i++ {
		f := math.Pow(c.RopeTheta, -float64(2*i)/float64(c.HeadDim))
		if s := c.RopeScaling; s != nil && s.RopeType == "llama3" {
			wavelength := 2 * math.Pi / f
			old := float64(s.OriginalMaxPositionEmbeddings)
			switch {
			case wavelength > old/s.LowFreqFactor:
				f /= s.Factor
			case wavelength >= old/s.HighFreqFactor:
				smooth := (old/wavelength - s.LowFreqFactor) / (s.HighFreqFactor - s.LowFreqFactor)
				f = (1-smooth)*f/s.Factor + smooth*f
			}
		}
		for t := 0; t < seq; t++ {
			sn, cs := math.Sincos(float64(t) * f)
			cos[t*half+i], sin[t*half+i] = float32(cs), float32(sn)
		}
	}
	return cos, sin
}
