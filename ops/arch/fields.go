package arch

import (
	"fmt"
	"math"
)

// maxLayers bounds the layers of a model: the deepest networks have some thousands.
const maxLayers = 10000

// usualNoRopeInterval is the default of no_rope_layer_interval.
const usualNoRopeInterval = 4

func at(x float64) *float64 { return &x }

// The rows of which architectures take theirs. The largest whole numbers are far beyond any model, and products of all
// do not overflow.
var (
	vocabSize = Field{
		Name: "vocab_size", Doc: "Rows of the embedding table",
		Needed: true, Counts: true, Export: true, Min: at(1), Max: at(1 << 24),
		at: func(c *Config) any { return &c.VocabSize },
	}
	hiddenSize = Field{
		Name: "hidden_size", Doc: "Width of the residual stream",
		Needed: true, Counts: true, Export: true, Min: at(1), Max: at(1 << 20),
		at:    func(c *Config) any { return &c.HiddenSize },
		check: checkHiddenSize,
	}
	intermediateSize = Field{
		Name: "intermediate_size", Doc: "Width of the SwiGLU feed-forward layer",
		Needed: true, Counts: true, Export: true, Min: at(1), Max: at(1 << 22),
		at: func(c *Config) any { return &c.IntermediateSize },
	}
	numHiddenLayers = Field{
		Name: "num_hidden_layers", Doc: "Layers of the full model",
		Needed: true, Free: true, Counts: true, Export: true, Min: at(0), Max: at(maxLayers),
		at: func(c *Config) any { return &c.NumHiddenLayers },
	}
	numAttentionHeads = Field{
		Name: "num_attention_heads", Doc: "Query heads",
		Needed: true, Counts: true, Min: at(1), Max: at(1 << 16),
		at: func(c *Config) any { return &c.NumAttentionHeads },
	}
	numKeyValueHeads = Field{
		Name: "num_key_value_heads", Doc: "Key-value heads", defaultText: "as many as query heads",
		Counts: true, Min: at(1), Max: at(1 << 16),
		at:    func(c *Config) any { return &c.NumKeyValueHeads },
		def:   func(c *Config) any { return c.NumAttentionHeads },
		check: checkKeyValueHeads,
	}
	headDim = Field{
		Name: "head_dim", Doc: "Channels of a head", defaultText: "hidden_size / num_attention_heads",
		Counts: true, Even: true, Min: at(2), Max: at(1 << 16),
		at:    func(c *Config) any { return &c.HeadDim },
		def:   func(c *Config) any { return c.HiddenSize / max(c.NumAttentionHeads, 1) },
		check: checkHeadDim,
	}
	hiddenAct = Field{
		Name: "hidden_act", Doc: "Activation", OneOf: []string{"silu"},
		at:    func(c *Config) any { return &c.HiddenAct },
		check: checkHiddenAct,
	}.defaultTo("silu")
	maxPositionEmbeddings = Field{
		Name: "max_position_embeddings", Doc: "Longest sequence",
		Free: true, Export: true, Min: at(1), Max: at(1 << 30),
		at: func(c *Config) any { return &c.MaxPositionEmbeddings },
	}.defaultTo(2048)
	rmsNormEps = Field{
		Name: "rms_norm_eps", Above: at(0), Max: at(1),
		at:    func(c *Config) any { return &c.RMSNormEps },
		check: checkEps,
	}.defaultTo(1e-6)
	ropeTheta = Field{
		Name: "rope_theta", Doc: "Base of the rotary frequencies", Above: at(1), Max: at(1e12),
		at:    func(c *Config) any { return &c.RopeTheta },
		check: checkTheta,
	}.defaultTo(10000.0)
	ropeScaling = Field{
		Name: "rope_scaling",
		Doc: "Object as in `config.json`: `rope_type` (`default`, `linear`, `dynamic`, `llama3` or `yarn`) and what " +
			"it takes: `factor`; `low_freq_factor`, `high_freq_factor` and `original_max_position_embeddings` (llama3); " +
			"`original_max_position_embeddings`, `attention_factor`, `beta_fast`, `beta_slow` (yarn)",
		at:    func(c *Config) any { return &c.RopeScaling },
		check: checkScaling,
	}
	tieWordEmbeddings = Field{
		Name: "tie_word_embeddings", Doc: "The output projection is the embedding table",
		Counts: true,
		at:     func(c *Config) any { return &c.TieWordEmbeddings },
	}.defaultTo(false)
	attentionBias = Field{
		Name: "attention_bias", Doc: "Biases on q, k, v and o",
		Counts: true,
		at:     func(c *Config) any { return &c.AttentionBias },
	}.defaultTo(false)
	mlpBias = Field{
		Name: "mlp_bias", Doc: "Biases on gate, up and down",
		Counts: true,
		at:     func(c *Config) any { return &c.MLPBias },
	}.defaultTo(false)
	initializerRange = Field{
		Name: "initializer_range", Doc: "Standard deviation of the first weights",
		Free: true, Above: at(0), Max: at(10),
		at:    func(c *Config) any { return &c.InitializerRange },
		check: checkInitializer,
	}.defaultTo(0.02)
	noRopeLayerInterval = Field{
		Name: "no_rope_layer_interval", Min: at(1), Max: at(maxLayers),
		Doc: "Of each so many layers the last one rotates nothing, unless `no_rope_layers` says otherwise",
		at:  func(c *Config) any { return &c.NoRopeLayerInterval },
	}.defaultTo(usualNoRopeInterval)
	noRopeLayers = Field{
		Name: "no_rope_layers", defaultText: "by `no_rope_layer_interval`", Min: at(0), Max: at(1),
		Doc: "A number for each layer: 1 where q and k are rotated by their position, 0 where they are not. " +
			"A layer stays what it is when a stage grows, and a stage with fewer layers takes the first numbers",
		at:    func(c *Config) any { return &c.NoRopeLayers },
		check: checkNoRopeLayers,
	}
)

func checkHiddenSize(c Config) (what, do string) {
	if c.HiddenSize%c.NumAttentionHeads == 0 || c.HeadDim != c.HiddenSize/c.NumAttentionHeads {
		return "", ""
	}
	return fmt.Sprintf("hidden_size %d is not divisible by num_attention_heads %d", c.HiddenSize, c.NumAttentionHeads),
		fmt.Sprintf("Choose a multiple of %d, or set head_dim.", c.NumAttentionHeads)
}

func checkKeyValueHeads(c Config) (what, do string) {
	heads, kv := c.NumAttentionHeads, c.NumKeyValueHeads
	if heads%kv == 0 {
		return "", ""
	}
	return fmt.Sprintf("num_attention_heads %d is not divisible by num_key_value_heads %d", heads, kv),
		"Every key-value head serves the same number of query heads: choose a divisor."
}

func checkHeadDim(c Config) (what, do string) {
	if c.HeadDim%2 == 0 && c.HeadDim >= 2 && c.HeadDim <= 1<<16 {
		return "", ""
	}
	return fmt.Sprintf("head_dim is %d; it must be even, from 2 to 65536", c.HeadDim),
		"Rotary positions turn pairs of channels: choose another head_dim, or if it is not set, hidden_size and " +
			"num_attention_heads whose quotient is even."
}

func checkHiddenAct(c Config) (what, do string) {
	if c.HiddenAct == "silu" {
		return "", ""
	}
	return fmt.Sprintf("hidden_act %q is not supported", c.HiddenAct), `Use "silu".`
}

func checkEps(c Config) (what, do string) {
	if c.RMSNormEps > 0 && c.RMSNormEps <= math.MaxFloat32 {
		return "", ""
	}
	return fmt.Sprintf("rms_norm_eps is %g; it is a small positive number", c.RMSNormEps),
		"Give a small positive number, such as 1e-5."
}

func checkTheta(c Config) (what, do string) {
	if c.RopeTheta > 1 && c.RopeTheta <= math.MaxFloat32 {
		return "", ""
	}
	return fmt.Sprintf("rope_theta is %g; it is a number above 1", c.RopeTheta),
		"Use 10000, or the value of the model you continue."
}

func checkScaling(c Config) (what, do string) {
	if c.RopeScaling == nil {
		return "", ""
	}
	if what = c.RopeScaling.check(); what == "" {
		return "", ""
	}
	return "rope_scaling: " + what, "Take the settings of the model you continue."
}

func checkInitializer(c Config) (what, do string) {
	if c.InitializerRange >= 0 && c.InitializerRange <= math.MaxFloat32 {
		return "", ""
	}
	return fmt.Sprintf("initializer_range is %g; it is a small number of at least 0", c.InitializerRange),
		"Give a small number of at least 0, such as 0.02."
}

func checkNoRopeLayers(c Config) (what, do string) {
	n := len(c.NoRopeLayers)
	if n == 0 || n == c.NumHiddenLayers {
		return "", ""
	}
	return fmt.Sprintf("no_rope_layers has %d numbers for %d layers", n, c.NumHiddenLayers),
		"Give as many numbers as there are layers, or none."
}
