// Package llamacpp says a model in the words of llama.cpp: the metadata, names and order of tensors, and the vocabulary
// that it expects in a GGUF file. What it cannot run is an error that names it.
//
// llama.cpp names an architecture in src/llama-arch.cpp, reads its metadata and tensors in src/models, and makes its files
// in conversion; what is said of it here was read there in version 0.5.0.
package llamacpp

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/runtime/gguf"
)

// family is an architecture of llama.cpp.
type family struct {
	name string
	// paired says that rotary positions turn channels beside one another (LLAMA_ROPE_TYPE_NORM). transformers turns channel
	// i with i + head_dim/2, so the rows of q and k change places.
	paired  bool
	factors bool // reads rope_freqs, and so knows llama3's scaling
	biases  bool // reads biases of the output projection and of the feed-forward layer
	anyHead bool // heads may be wider or narrower than hidden_size / num_attention_heads
	ownHead bool // the head is a tensor of its own even where it is tied
	noRope  int  // of each so many layers the last one rotates nothing; 0 where all rotate
}

// families holds them by model_type.
var families = map[string]family{
	"llama":   {name: "llama", paired: true, factors: true, biases: true, anyHead: true},
	"mistral": {name: "llama", paired: true, factors: true, biases: true, anyHead: true},
	"olmo2":   {name: "olmo2", ownHead: true},
	"qwen2":   {name: "qwen2"},
	"qwen3":   {name: "qwen3", anyHead: true},
	"smollm3": {name: "smollm3", paired: true, anyHead: true, noRope: 4},
}

// CheckModel returns why llama.cpp cannot run a model; nil if it can.
func CheckModel(m arch.Model) error {
	f, ok := families[m.Arch.Type]
	if !ok {
		return fmt.Errorf("llama.cpp has no architecture for %s", m.Arch.Title)
	}
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("llama.cpp's %s %s", f.name, fmt.Sprintf(format, args...))
	}
	usual := m.HiddenSize / m.NumAttentionHeads
	switch {
	case m.NumHiddenLayers == 0:
		return errors.New("llama.cpp runs no model without layers")
	case m.AttentionBias && !f.biases:
		return refuse("has no bias on the output projection of attention: attention_bias cannot be true")
	case m.MLPBias && !f.biases:
		return refuse("has no biases in the feed-forward layer: mlp_bias cannot be true")
	case m.HeadDim != usual && !f.anyHead:
		return refuse("has heads of hidden_size / num_attention_heads = %d channels: head_dim cannot be %d", usual, m.HeadDim)
	}
	for i := range m.NumHiddenLayers {
		if want := f.noRope == 0 || (i+1)%f.noRope != 0; m.Rotates(i) != want {
			return refuse("rotates q and k in all layers but every %dth: layer %d is not like that (no_rope_layers and "+
				"no_rope_layer_interval)", f.noRope, i)
		}
	}
	s := m.RopeScaling
	switch {
	case s == nil:
	case s.RopeType == "llama3" && !f.factors:
		return refuse("does not know rope_type \"llama3\"")
	case s.RopeType == "yarn" && (s.BetaFast != 32 || s.BetaSlow != 1):
		return refuse("has beta_fast 32 and beta_slow 1 in YaRN: rope_scaling cannot have %g and %g", s.BetaFast, s.BetaSlow)
	}
	return nil
}

// Metadata returns what a file says of a model that CheckModel passes.
func Metadata(m arch.Model, t gguf.Type) []gguf.KV {
	name := families[m.Arch.Type].name
	list := []gguf.KV{{Key: "general.architecture", Value: name}, {Key: "general.type", Value: "model"}}
	number := func(key string, n int) { list = append(list, gguf.KV{Key: name + "." + key, Value: uint32(n)}) }
	float := func(key string, x float64) { list = append(list, gguf.KV{Key: name + "." + key, Value: float32(x)}) }
	number("vocab_size", m.VocabSize)
	number("context_length", m.MaxPositionEmbeddings)
	number("embedding_length", m.HiddenSize)
	number("block_count", m.NumHiddenLayers)
	number("feed_forward_length", m.IntermediateSize)
	number("attention.head_count", m.NumAttentionHeads)
	number("attention.head_count_kv", m.NumKeyValueHeads)
	number("attention.key_length", m.HeadDim)
	number("attention.value_length", m.HeadDim)
	float("attention.layer_norm_rms_epsilon", m.RMSNormEps)
	number("rope.dimension_count", m.HeadDim)
	float("rope.freq_base", m.RopeTheta)
	if s := m.RopeScaling; s != nil && (s.RopeType == "linear" || s.RopeType == "yarn") {
		list = append(list, gguf.KV{Key: name + ".rope.scaling.type", Value: s.RopeType})
		float("rope.scaling.factor", s.Factor)
		if s.RopeType == "yarn" {
			number("rope.scaling.original_context_length", s.OriginalMaxPositionEmbeddings)
			// llama.cpp multiplies cos and sin by this and by 1 + 0.1 ln(factor).
			float("rope.scaling.attn_factor", s.AttentionFactor/(1+0.1*math.Log(max(s.Factor, 1))))
		}
	}
	types := map[gguf.Type]uint32{gguf.F32: 0, gguf.F16: 1, gguf.Q8_0: 7, gguf.BF16: 32}
	return append(list, gguf.KV{Key: "general.file_type", Value: types[t]},
		gguf.KV{Key: "general.quantization_version", Value: uint32(2)})
}

// modules names the modules of a layer, by their names in transformers.
var modules = map[string]string{
	"input_layernorm":  "attn_norm",
	"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
	"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
	"self_attn.o_proj":         "attn_output",
	"post_attention_layernorm": "ffn_norm",
	"mlp.gate_proj":            "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
	"post_feedforward_layernorm": "post_ffw_norm",
}

// outside names the modules outside the layers.
var outside = map[string]string{"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}

// name is a parameter's name.
func name(m arch.Model, p ops.Param) string {
	inLayer := strings.TrimPrefix(p.Name, arch.LayerPrefix(p.Layer))
	at := strings.LastIndexByte(inLayer, '.')
	module, what := inLayer[:at], inLayer[at:]
	switch {
	case p.Layer < 0:
		return outside[module] + what
	case m.Arch.Features.PostNorm && module == "post_attention_layernorm":
		module = "post_attention_norm"
	default:
		module = modules[module]
	}
	return fmt.Sprintf("blk.%d.%s%s", p.Layer, module, what)
}

// Read returns n elements of a parameter from an element on.
type Read func(name string, from, n int64) ([]float32, error)

// TypeOf returns the type of a parameter in a file of a type. Vectors stay F32, as in llama.cpp's own files, and rows
// that are not a whole number of blocks of Q8_0 are F16.
func TypeOf(p ops.Param, t gguf.Type) gguf.Type {
	switch {
	case len(p.Shape) < 2:
		return gguf.F32
	case !t.Takes(p.Shape[len(p.Shape)-1]):
		return gguf.F16
	}
	return t
}

// Tensors returns the tensors of a file: the parameters of the model, and what llama.cpp has besides.
func Tensors(m arch.Model, params []ops.Param, t gguf.Type, read Read) (list []gguf.Tensor) {
	f := families[m.Arch.Type]
	if s := m.RopeScaling; s != nil && s.RopeType == "llama3" {
		list = append(list, ropeFreqs(m))
	}
	add := func(name string, p ops.Param, order func(row int) int) {
		list = append(list, gguf.Tensor{Name: name, Shape: p.Shape, Type: TypeOf(p, t), Rows: rows(p, read, order)})
	}
	for _, p := range params {
		var order func(int) int
		if f.paired && (strings.Contains(p.Name, ".self_attn.q_proj.") || strings.Contains(p.Name, ".self_attn.k_proj.")) {
			order = func(row int) int { return halves(row, m.HeadDim) }
		}
		add(name(m, p), p, order)
		if p.Name == arch.EmbedTokens && m.TieWordEmbeddings && f.ownHead {
			add("output.weight", p, nil)
		}
	}
	return list
}

// halves is the row, where channels i and i + dim/2 of a head turn together, of what is row where channels 2i and 2i + 1
// do.
func halves(row, dim int) int {
	in := row % dim
	return row - in + in%2*(dim/2) + in/2
}

// rows reads rows of a parameter, in another order if there is one. The elements of a bias that change places are rows of
// one each.
func rows(p ops.Param, read Read, order func(row int) int) func(first, n int) ([]float32, error) {
	width := p.Shape[len(p.Shape)-1]
	return func(first, n int) ([]float32, error) {
		if order == nil {
			return read(p.Name, int64(first)*int64(width), int64(n)*int64(width))
		}
		if len(p.Shape) == 1 {
			x, err := read(p.Name, 0, int64(width))
			if err != nil {
				return nil, err
			}
			list := make([]float32, width)
			for i := range list {
				list[i] = x[order(i)]
			}
			return list, nil
		}
		list := make([]float32, 0, n*width)
		for i := range n {
			x, err := read(p.Name, int64(order(first+i))*int64(width), int64(width))
			if err != nil {
				return nil, err
			}
			list = append(list, x...)
		}
		return list, nil
	}
}

// ropeFreqs is the tensor by which llama.cpp divides the frequencies of rotary positions.
func ropeFreqs(m arch.Model) gguf.Tensor {
	scaled, _ := m.Frequencies()
	plain := m
	plain.RopeScaling = nil
	freq, _ := plain.Frequencies()
	return gguf.Tensor{Name: "rope_freqs.weight", Shape: []int{len(freq)}, Type: gguf.F32,
		Rows: func(int, int) ([]float32, error) {
			list := make([]float32, len(freq))
			for i := range list {
				list[i] = float32(freq[i] / scaled[i])
			}
			return list, nil
		}}
}
