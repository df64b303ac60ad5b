// Package llama is the LLaMA architecture as a graph: RMSNorm, rotary positions, grouped-query
// attention, SwiGLU (Touvron et al. 2023), with the names of Hugging Face's config.json and tensors.
package llama

import (
	"encoding/json"
	"fmt"
	"math"
)

// Config is the part of Hugging Face's config.json that fixes the architecture.
type Config struct {
	VocabSize             int          `json:"vocab_size"`
	HiddenSize            int          `json:"hidden_size"`
	IntermediateSize      int          `json:"intermediate_size"`
	NumHiddenLayers       int          `json:"num_hidden_layers"`
	NumAttentionHeads     int          `json:"num_attention_heads"`
	NumKeyValueHeads      int          `json:"num_key_value_heads"`
	HeadDim               int          `json:"head_dim"`
	HiddenAct             string       `json:"hidden_act"`
	MaxPositionEmbeddings int          `json:"max_position_embeddings"`
	RMSNormEps            float64      `json:"rms_norm_eps"`
	RopeTheta             float64      `json:"rope_theta"`
	RopeScaling           *RopeScaling `json:"rope_scaling"`
	InitializerRange      float64      `json:"initializer_range"`
	TieWordEmbeddings     bool         `json:"tie_word_embeddings"`
	AttentionBias         bool         `json:"attention_bias"`
	MLPBias               bool         `json:"mlp_bias"`
}

// RopeScaling stretches the rotary frequencies. Kinds: "default" and "llama3" (Llama 3.1).
type RopeScaling struct {
	RopeType                      string  `json:"rope_type"`
	Factor                        float64 `json:"factor,omitempty"`
	LowFreqFactor                 float64 `json:"low_freq_factor,omitempty"`
	HighFreqFactor                float64 `json:"high_freq_factor,omitempty"`
	OriginalMaxPositionEmbeddings int     `json:"original_max_position_embeddings,omitempty"`
}

// Fill sets what config.json may leave out to Hugging Face's defaults.
func (c *Config) Fill() {
	if c.NumKeyValueHeads == 0 {
		c.NumKeyValueHeads = c.NumAttentionHeads
	}
	if c.HeadDim == 0 && c.NumAttentionHeads > 0 {
		c.HeadDim = c.HiddenSize / c.NumAttentionHeads
	}
	if c.HiddenAct == "" {
		c.HiddenAct = "silu"
	}
	if c.MaxPositionEmbeddings == 0 {
		c.MaxPositionEmbeddings = 2048
	}
	if c.RMSNormEps == 0 {
		c.RMSNormEps = 1e-6
	}
	if c.RopeTheta == 0 {
		c.RopeTheta = 10000
	}
	if c.InitializerRange == 0 {
		c.InitializerRange = 0.02
	}
}

// Problem is what is wrong with one attribute of a configuration.
type Problem struct{ Attribute, What, Do string }

// Check lists everything that makes the configuration impossible.
func (c Config) Check() (ps []Problem) {
	bad := func(attr, do, what string, args ...any) {
		ps = append(ps, Problem{attr, fmt.Sprintf(what, args...), do})
	}
	for _, x := range []struct {
		name string
		v    int
	}{{"vocab_size", c.VocabSize}, {"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize},
		{"num_hidden_layers", c.NumHiddenLayers}, {"num_attention_heads", c.NumAttentionHeads},
		{"num_key_value_heads", c.NumKeyValueHeads}, {"max_position_embeddings", c.MaxPositionEmbeddings}} {
		if x.v < 1 {
			bad(x.name, "Give a whole number of at least 1.", "%s is %d", x.name, x.v)
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
	if c.HeadDim%2 != 0 || c.HeadDim < 2 {
		bad("head_dim", "Rotary positions turn pairs of channels: choose an even head_dim.", "head_dim is %d", c.HeadDim)
	}
	if c.HiddenAct != "silu" {
		bad("hidden_act", `Use "silu".`, "hidden_act %q is not supported", c.HiddenAct)
	}
	if !(c.RMSNormEps > 0) {
		bad("rms_norm_eps", "Give a small positive number, such as 1e-5.", "rms_norm_eps is %g", c.RMSNormEps)
	}
	if !(c.RopeTheta > 1) {
		bad("rope_theta", "Use 10000, or the value of the model you continue.", "rope_theta is %g", c.RopeTheta)
	}
	if s := c.RopeScaling; s != nil {
		switch s.RopeType {
		case "default":
		case "llama3":
			if !(s.Factor >= 1 && s.LowFreqFactor > 0 && s.HighFreqFactor > s.LowFreqFactor && s.OriginalMaxPositionEmbeddings > 0) {
				bad("rope_scaling", "llama3 takes factor >= 1, low_freq_factor < high_freq_factor and original_max_position_embeddings.", "rope_scaling is incomplete")
			}
		default:
			bad("rope_scaling", `Use rope_type "default" or "llama3".`, "rope_type %q is not supported", s.RopeType)
		}
	}
	return ps
}

// ParseConfig reads a Hugging Face config.json of model_type llama. Newer files keep the rotary
// settings in rope_parameters; both places are read.
func ParseConfig(b []byte) (Config, error) {
	var f struct {
		Config
		ModelType      string          `json:"model_type"`
		Architectures  []string        `json:"architectures"`
		RopeParameters json.RawMessage `json:"rope_parameters"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return Config{}, fmt.Errorf("reading config.json: %w", err)
	}
	if f.ModelType != "" && f.ModelType != "llama" {
		return Config{}, fmt.Errorf("config.json is of model_type %q; only llama is supported", f.ModelType)
	}
	if len(f.RopeParameters) > 0 && string(f.RopeParameters) != "null" {
		var p struct {
			RopeScaling
			RopeTheta float64 `json:"rope_theta"`
		}
		if err := json.Unmarshal(f.RopeParameters, &p); err != nil {
			return Config{}, fmt.Errorf("reading rope_parameters of config.json: %w", err)
		}
		if p.RopeTheta > 0 {
			f.Config.RopeTheta = p.RopeTheta
		}
		if p.RopeType != "" && p.RopeType != "default" {
			f.Config.RopeScaling = &p.RopeScaling
		}
	}
	f.Config.Fill()
	for _, p := range f.Config.Check() {
		return Config{}, fmt.Errorf("config.json: %s", p.What)
	}
	return f.Config, nil
}

// SameArchitecture tells whether weights of one configuration fit the other, their number of
// layers apart, and names the first difference.
func SameArchitecture(a, b Config) (attribute string, same bool) {
	for _, x := range []struct {
		name string
		same bool
	}{{"vocab_size", a.VocabSize == b.VocabSize}, {"hidden_size", a.HiddenSize == b.HiddenSize},
		{"intermediate_size", a.IntermediateSize == b.IntermediateSize}, {"num_attention_heads", a.NumAttentionHeads == b.NumAttentionHeads},
		{"num_key_value_heads", a.NumKeyValueHeads == b.NumKeyValueHeads}, {"head_dim", a.HeadDim == b.HeadDim},
		{"rope_theta", a.RopeTheta == b.RopeTheta}, {"rms_norm_eps", a.RMSNormEps == b.RMSNormEps},
		{"tie_word_embeddings", a.TieWordEmbeddings == b.TieWordEmbeddings}, {"attention_bias", a.AttentionBias == b.AttentionBias}, {"mlp_bias", a.MLPBias == b.MLPBias}} {
		if !x.same {
			return x.name, false
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
