package arch

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"stepflow/ops"
)

// Names of tensors outside the layers.
const (
	EmbedTokens = "model.embed_tokens.weight"
	FinalNorm   = "model.norm.weight"
	LMHead      = "lm_head.weight"
)

// Names of the modules of a layer. attentionNorm stands before the feed-forward layer or, with PostNorm, after
// attention.
const (
	inputNorm       = "input_layernorm"
	qProj           = "self_attn.q_proj"
	kProj           = "self_attn.k_proj"
	vProj           = "self_attn.v_proj"
	qNorm           = "self_attn.q_norm"
	kNorm           = "self_attn.k_norm"
	oProj           = "self_attn.o_proj"
	attentionNorm   = "post_attention_layernorm"
	gateProj        = "mlp.gate_proj"
	upProj          = "mlp.up_proj"
	downProj        = "mlp.down_proj"
	feedForwardNorm = "post_feedforward_layernorm"
)

// module is the name of a tensor's module.
func module(tensor string) string { return strings.TrimSuffix(tensor, ".weight") }

// LayerPrefix is the start of the names of layer i.
func LayerPrefix(i int) string { return fmt.Sprintf("model.layers.%d.", i) }

// Head is the name of the weight that gives the logits.
func (m Model) Head() string {
	if m.TieWordEmbeddings {
		return EmbedTokens
	}
	return LMHead
}

// Declare lists the parameters of the model with layers, bottom first, of these stable ids.
func (m Model) Declare(layers []string) []ops.Param {
	var list []ops.Param
	outside := func(name string, kind ops.Kind, shape ...int) {
		list = append(list, ops.Param{ID: name, Name: name, Shape: shape, Layer: -1, Kind: kind})
	}
	outside(EmbedTokens, ops.KindEmbedding, m.VocabSize, m.HiddenSize)
	list[0].Tied = m.TieWordEmbeddings
	for i, id := range layers {
		for _, p := range m.layer() {
			p.ID, p.Name, p.Layer = id+"/"+p.Name, LayerPrefix(i)+p.Name, i
			list = append(list, p)
		}
	}
	outside(FinalNorm, ops.KindNorm, m.HiddenSize)
	if !m.TieWordEmbeddings {
		outside(LMHead, ops.KindHead, m.VocabSize, m.HiddenSize)
	}
	return list
}

// layer lists the parameters of one layer, under their names in it.
func (m Model) layer() (list []ops.Param) {
	h, inner, f := m.HiddenSize, m.IntermediateSize, m.Arch.Features
	q, kv := m.NumAttentionHeads*m.HeadDim, m.NumKeyValueHeads*m.HeadDim
	add := func(name string, kind ops.Kind, shape ...int) {
		list = append(list, ops.Param{Name: name, Shape: shape, Kind: kind})
	}
	norm := func(module string, width int) { add(module+".weight", ops.KindNorm, width) }
	linear := func(module string, out, in int, biased bool) {
		add(module+".weight", ops.KindLinear, out, in)
		if biased {
			add(module+".bias", ops.KindBias, out)
		}
	}
	if !f.PostNorm {
		norm(inputNorm, h)
	}
	linear(qProj, q, h, m.AttentionBias || f.QKVBias)
	linear(kProj, kv, h, m.AttentionBias || f.QKVBias)
	linear(vProj, kv, h, m.AttentionBias || f.QKVBias)
	switch f.QKNorm {
	case QKNormPerHead:
		norm(qNorm, m.HeadDim)
		norm(kNorm, m.HeadDim)
	case QKNormWhole:
		norm(qNorm, q)
		norm(kNorm, kv)
	}
	linear(oProj, h, q, m.AttentionBias)
	norm(attentionNorm, h)
	linear(gateProj, inner, h, m.MLPBias)
	linear(upProj, inner, h, m.MLPBias)
	linear(downProj, h, inner, m.MLPBias)
	if f.PostNorm {
		norm(feedForwardNorm, h)
	}
	return list
}

// Wants yields the parameters of the model one by one, for checks that end at the first that is missing: the number
// of layers may be absurd.
func (m Model) Wants() iter.Seq[ops.Param] {
	return func(yield func(ops.Param) bool) {
		for _, p := range m.Declare(nil) {
			if !yield(p) {
				return
			}
		}
		for i := range m.NumHiddenLayers {
			for _, p := range m.layer() {
				p.Name, p.Layer = LayerPrefix(i)+p.Name, i
				if !yield(p) {
					return
				}
			}
		}
	}
}

// ResidualOutput reports whether p is one of the last tensors of a branch that a layer adds to the residual stream.
// Where all of them are zero the layer is the identity, and they still receive gradient, so that it can leave it.
//
// With norms before the branches they are the output projections, as in LLaMA Pro (Wu et al. 2024, arXiv 2401.02415).
// With norms after them they are the gains of these norms: zero output projections would make the layer the identity
// too, but what follows them would be a norm of zeros, which multiplies the gradient by 1/sqrt(rms_norm_eps), some
// hundred times its size.
func (m Model) ResidualOutput(p ops.Param) bool {
	last := []string{oProj, downProj}
	if m.Arch.Features.PostNorm {
		last = []string{attentionNorm, feedForwardNorm}
	}
	name, ok := strings.CutPrefix(p.Name, LayerPrefix(p.Layer))
	return ok && slices.ContainsFunc(last, func(module string) bool { return strings.HasPrefix(name, module+".") })
}

// Init returns the first value of a parameter: normal(0, initializer_range) for matrices, 1 for gains, 0 for biases.
// It depends on the seed and the stable id alone.
func (m Model) Init(p ops.Param, seed uint64) []float32 {
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
			v[i] = float32(r.NormFloat64() * m.InitializerRange)
		}
	}
	return v
}
