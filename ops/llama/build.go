package llama

import (
	"strings"

	"stepflow/gpu"
	"stepflow/ops/graph"
)

// Inputs are the buffers a forward pass reads besides the weights.
type Inputs struct {
	IDs      graph.Value // [batch, seq] i32
	Segments graph.Value // [batch, seq] i32; none when attention crosses documents
	Cos, Sin graph.Value // [seq, head_dim/2]
}

// Plain is the projection without adapters.
func Plain(g *graph.Graph, _ string, x, w, b graph.Value) graph.Value { return g.Linear(x, w, b) }

// Logits adds the forward pass and gives the logits [batch, seq, vocab].
func Logits(g *graph.Graph, c Config, weight func(name string) graph.Value, in Inputs, linear graph.Projection) graph.Value {
	x := Hidden(g, c, weight, in, linear)
	g.At(-1, "lm_head")
	return linear(g, strings.TrimSuffix(LMHead, ".weight"), x, weight(c.Head()), graph.Value{})
}

// Loss adds the forward pass and gives the loss of each target [batch, seq], -log softmax(logits)[target].
// Of the logits no more than chunk rows, [chunk, vocab] f32, are in memory at a time.
func Loss(g *graph.Graph, c Config, weight func(name string) graph.Value, in Inputs, targets graph.Value, chunk int, linear graph.Projection) graph.Value {
	x := Hidden(g, c, weight, in, linear)
	g.At(-1, "lm_head")
	return g.Op("linear_cross_entropy", gpu.Attrs{Chunk: chunk}, x, weight(c.Head()), targets)[0]
}

// Hidden adds the forward pass up to the final norm and gives what the head reads, [batch, seq, hidden].
func Hidden(g *graph.Graph, c Config, weight func(name string) graph.Value, in Inputs, linear graph.Projection) graph.Value {
	bias := func(on bool, module string) graph.Value {
		if on {
			return weight(module + ".bias")
		}
		return graph.Value{}
	}
	norm := func(x graph.Value, name string) graph.Value {
		return g.Op1("rmsnorm", gpu.Attrs{Eps: c.RMSNormEps}, x, weight(name))
	}
	rope := func(x graph.Value, heads int) graph.Value {
		return g.Op1("rope", gpu.Attrs{Heads: heads}, x, in.Cos, in.Sin)
	}
	g.At(-1, "model.embed_tokens")
	x := g.Op1("embedding", gpu.Attrs{}, in.IDs, weight(EmbedTokens))
	for i := 0; i < c.NumHiddenLayers; i++ {
		p := LayerPrefix(i)
		at := func(module string) string { g.At(i, p+module); return p + module }
		proj := func(module string, x graph.Value, biased bool) graph.Value {
			m := at(module)
			return linear(g, m, x, weight(m+".weight"), bias(biased, m))
		}
		h := norm(x, at("input_layernorm")+".weight")
		q := proj("self_attn.q_proj", h, c.AttentionBias)
		k := proj("self_attn.k_proj", h, c.AttentionBias)
		v := proj("self_attn.v_proj", h, c.AttentionBias)
		at("self_attn.rotary_emb")
		q, k = rope(q, c.NumAttentionHeads), rope(k, c.NumKeyValueHeads)
		at("self_attn")
		operands := []graph.Value{q, k, v}
		if in.Segments.Valid() {
			operands = append(operands, in.Segments)
		}
		a := g.Op("attention", gpu.Attrs{Heads: c.NumAttentionHeads, KVHeads: c.NumKeyValueHeads}, operands...)[0]
		o := proj("self_attn.o_proj", a, c.AttentionBias)
		at("residual")
		x = g.Add(x, o)
		h = norm(x, at("post_attention_layernorm")+".weight")
		gate, up := proj("mlp.gate_proj", h, c.MLPBias), proj("mlp.up_proj", h, c.MLPBias)
		at("mlp.act_fn")
		down := proj("mlp.down_proj", g.Op1("swiglu", gpu.Attrs{}, gate, up), c.MLPBias)
		at("residual")
		x = g.Add(x, down)
	}
	g.At(-1, "model.norm")
	return norm(x, FinalNorm)
}
