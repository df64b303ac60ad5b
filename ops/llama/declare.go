package llama

import (
	"fmt"
	"iter"
	"strings"

	"stepflow/gpu"
	"stepflow/ops"
)

// Names of tensors outside the layers.
const (
	EmbedTokens = "model.embed_tokens.weight"
	FinalNorm   = "model.norm.weight"
	LMHead      = "lm_head.weight"
)

// Declare lists the parameters of a model whose layers, bottom first, have these stable ids.
func Declare(c Config, layers []string) []ops.Param {
	h, m, kv := c.HiddenSize, c.IntermediateSize, c.NumKeyValueHeads*c.HeadDim
	q := c.NumAttentionHeads * c.HeadDim
	list := []ops.Param{{ID: EmbedTokens, Name: EmbedTokens, Shape: gpu.Shape{c.VocabSize, h}, Layer: -1, Kind: ops.KindEmbedding}}
	for i, id := range layers {
		add := func(name string, kind ops.Kind, shape ...int) {
			list = append(list, ops.Param{ID: id + "/" + name, Name: LayerPrefix(i) + name, Shape: shape, Layer: i, Kind: kind})
		}
		linear := func(name string, out, in int, bias bool) {
			add(name+".weight", ops.KindLinear, out, in)
			if bias {
				add(name+".bias", ops.KindBias, out)
			}
		}
		add("input_layernorm.weight", ops.KindNorm, h)
		linear("self_attn.q_proj", q, h, c.AttentionBias)
		linear("self_attn.k_proj", kv, h, c.AttentionBias)
		linear("self_attn.v_proj", kv, h, c.AttentionBias)
		linear("self_attn.o_proj", h, q, c.AttentionBias)
		add("post_attention_layernorm.weight", ops.KindNorm, h)
		linear("mlp.gate_proj", m, h, c.MLPBias)
		linear("mlp.up_proj", m, h, c.MLPBias)
		linear("mlp.down_proj", h, m, c.MLPBias)
	}
	list = append(list, ops.Param{ID: FinalNorm, Name: FinalNorm, Shape: gpu.Shape{h}, Layer: -1, Kind: ops.KindNorm})
	if !c.TieWordEmbeddings {
		list = append(list, ops.Param{ID: LMHead, Name: LMHead, Shape: gpu.Shape{c.VocabSize, h}, Layer: -1, Kind: ops.KindHead})
	}
	return list
}

// Wants gives the parameters of a model one by one, for checks that end at the first that is not there: the number of
// layers may be absurd.
func Wants(c Config) iter.Seq[ops.Param] {
	return func(yield func(ops.Param) bool) {
		for _, p := range Declare(c, nil) {
			if !yield(p) {
				return
			}
		}
		for i := range c.NumHiddenLayers {
			for _, p := range Declare(c, []string{"x"}) {
				if !ops.InLayers(p) {
					continue
				}
				p.Name, p.Layer = LayerPrefix(i)+strings.TrimPrefix(p.Name, LayerPrefix(0)), i
				if !yield(p) {
					return
				}
			}
		}
	}
}

// Head is the name of the weight that gives the logits.
func (c Config) Head() string {
	if c.TieWordEmbeddings {
		return EmbedTokens
	}
	return LMHead
}

// LayerPrefix is the start of the names of layer i.
func LayerPrefix(i int) string { return fmt.Sprintf("model.layers.%d.", i) }

// LayerParams counts the parameters of one layer: 4h²+3hm+2h without biases and grouped heads.
func LayerParams(c Config) int64 { return ops.Count(Declare(c, []string{"x"}), ops.InLayers) }

// Init gives a parameter its first value: normal(0, initializer_range) for matrices, 1 for gains,
// 0 for biases. It depends on the seed and the stable id alone.
func Init(c Config, p ops.Param, seed uint64) []float32 {
	v := make([]float32, p.Shape.Elems())
	switch p.Kind {
	case ops.KindNorm:
		for i := range v {
			v[i] = 1
		}
	case ops.KindBias:
	default:
		r := ops.Rand(seed, p.ID)
		for i := range v {
			v[i] = float32(r.NormFloat64() * c.InitializerRange)
		}
	}
	return v
}

// ResidualOutput reports whether a layer adds to the residual stream through the parameter.
func ResidualOutput(p ops.Param) bool {
	return ops.InLayers(p) && (strings.Contains(p.Name, ".self_attn.o_proj.") || strings.Contains(p.Name, ".mlp.down_proj."))
}
