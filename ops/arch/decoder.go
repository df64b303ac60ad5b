package arch

import (
	"stepflow/gpu"
	"stepflow/ops/graph"
)

// Inputs are the values a forward pass reads besides the weights.
type Inputs struct {
	IDs       graph.Value            // [batch, seq] i32
	Segments  graph.Value            // [batch, seq] i32; none when attention crosses documents
	Constants map[string]graph.Value // those that Model.Constants lists, by name

	Noise      graph.Value // [2] f32, of uniform_noise, which is added to the embeddings; none for none
	NoiseScale float64

	Cache     *Cache      // of earlier tokens; nil where all tokens of a text are in its row
	Positions graph.Value // [batch, seq] i32, of the tokens in their texts; none without a cache
}

// Constant is a table that a program reads and that the host writes once.
type Constant struct {
	Name   string
	Shape  gpu.Shape        // of fp32 numbers
	Values func() []float32 // row-major
}

// Constants lists what programs for sequences of this length read besides weights and inputs: cos and sin of the
// rotary positions, [seq, head_dim/2].
func (m Model) Constants(seq int) []Constant {
	shape := gpu.Shape{seq, m.HeadDim / 2}
	return []Constant{
		{"cos", shape, func() []float32 { cos, _ := m.RopeTables(seq); return cos }},
		{"sin", shape, func() []float32 { _, sin := m.RopeTables(seq); return sin }},
	}
}

// Plain is the projection without adapters.
func Plain(g *graph.Graph, _ string, x, w, b graph.Value) graph.Value { return g.Linear(x, w, b) }

// Logits adds the forward pass and returns the logits [batch, seq, vocab]. weight finds a parameter by its name; it may
// be padded with zeros to the shape that it has in a Widened model, and then so is what is computed.
func (m Model) Logits(g *graph.Graph, weight func(name string) graph.Value, in Inputs,
	linear graph.Projection) graph.Value {
	x := m.hidden(g, weight, in, linear)
	g.At(-1, module(LMHead))
	return linear(g, module(LMHead), x, weight(m.Head()), graph.Value{})
}

// CrossEntropy returns the loss of each target [batch, seq] by logits as Logits returns them.
func (m Model) CrossEntropy(g *graph.Graph, logits, targets graph.Value) graph.Value {
	return g.Op("cross_entropy", gpu.Attrs{Cols: counted(logits, gpu.Shape.Cols, m.VocabSize)}, logits, targets)[0]
}

// Loss adds the forward pass and returns the loss of each target [batch, seq], -log softmax(logits)[target].
// Of the logits no more than chunk rows, [chunk, vocab] f32, are in memory at a time.
func (m Model) Loss(g *graph.Graph, weight func(name string) graph.Value, in Inputs, targets graph.Value, chunk int,
	linear graph.Projection) graph.Value {
	return m.lossOf(g, weight, m.hidden(g, weight, in, linear), targets, chunk)
}

// lossOf is the loss of each target, given what the head reads.
func (m Model) lossOf(g *graph.Graph, weight func(name string) graph.Value, x, targets graph.Value, chunk int) graph.Value {
	g.At(-1, module(LMHead))
	return g.Op("linear_cross_entropy", m.head(weight, chunk), x, weight(m.Head()), targets)[0]
}

// head is the attributes of a loss that multiplies with the head itself.
func (m Model) head(weight func(name string) graph.Value, chunk int) gpu.Attrs {
	return gpu.Attrs{Chunk: chunk, Cols: counted(weight(m.Head()), gpu.Shape.Rows, m.VocabSize)}
}

// hidden adds the forward pass up to the final norm and returns what the head reads, [batch, seq, hidden].
func (m Model) hidden(g *graph.Graph, weight func(name string) graph.Value, in Inputs,
	linear graph.Projection) graph.Value {
	x := m.Embed(g, weight, in)
	for i := range m.NumHiddenLayers {
		x = m.Layer(g, weight, in, linear, i, x)
	}
	return m.finalNorm(g, weight, x)
}

// Embed begins a forward pass: it returns the residual stream below the layers, [batch, seq, hidden]. Layer and LossAbove go on
// with it, in programs that do not hold the weights of all layers at once.
func (m Model) Embed(g *graph.Graph, weight func(name string) graph.Value, in Inputs) graph.Value {
	g.At(-1, module(EmbedTokens))
	x := g.Op1("embedding", gpu.Attrs{}, in.IDs, weight(EmbedTokens))
	if in.Noise.Valid() {
		x = g.Op1("uniform_noise", gpu.Attrs{Alpha: in.NoiseScale, Cols: counted(x, gpu.Shape.Cols, m.HiddenSize)}, x, in.Noise)
	}
	return x
}

// Layer adds layer i to the residual stream.
func (m Model) Layer(g *graph.Graph, weight func(name string) graph.Value, in Inputs, linear graph.Projection, i int,
	x graph.Value) graph.Value {
	l := layer{Model: m, g: g, weight: weight, in: in, linear: linear, index: i}
	x = l.add(x, l.attention, inputNorm, attentionNorm)
	return l.add(x, l.feedForward, attentionNorm, feedForwardNorm)
}

// LossAbove is the loss of each target, as in Loss, given the residual stream above the layers.
func (m Model) LossAbove(g *graph.Graph, weight func(name string) graph.Value, x, targets graph.Value, chunk int) graph.Value {
	return m.lossOf(g, weight, m.finalNorm(g, weight, x), targets, chunk)
}

// finalNorm is what the head reads.
func (m Model) finalNorm(g *graph.Graph, weight func(name string) graph.Value, x graph.Value) graph.Value {
	g.At(-1, module(FinalNorm))
	return m.norm(g, x, weight(FinalNorm), m.HiddenSize)
}

// norm is RMSNorm over n columns; if x has more, the others are padding.
func (m Model) norm(g *graph.Graph, x, gain graph.Value, n int) graph.Value {
	return g.Op1("rmsnorm", gpu.Attrs{Eps: m.RMSNormEps, Cols: counted(x, gpu.Shape.Cols, n)}, x, gain)
}

// counted is the attribute Cols of an operation on what has n columns without its padding; extent is how many it has.
func counted(x graph.Value, extent func(gpu.Shape) int, n int) int {
	if !x.Valid() || extent(x.Shape()) == n {
		return 0
	}
	return n
}

// layer builds one layer.
type layer struct {
	Model
	g      *graph.Graph
	weight func(name string) graph.Value
	in     Inputs
	linear graph.Projection
	index  int
}

// add is x [batch, seq, hidden] plus a branch of it: branch(norm(x)), or with PostNorm norm(branch(x)). before and
// after name the norm in the two cases.
func (l layer) add(x graph.Value, branch func(graph.Value) graph.Value, before, after string) graph.Value {
	h := x
	if !l.Arch.Features.PostNorm {
		gain := l.scaled(l.g, l.weight(l.at(before)+".weight"), l.index)
		h = l.Model.norm(l.g, h, gain, l.HiddenSize)
	}
	h = branch(h)
	if l.Arch.Features.PostNorm {
		h = l.norm(after, h, l.HiddenSize)
	}
	l.at("residual")
	return l.g.Add(x, h)
}

// attention is causal grouped-query attention, of x [batch, seq, hidden] to the same shape.
func (l layer) attention(x graph.Value) graph.Value {
	biased := l.AttentionBias || l.Arch.Features.QKVBias
	q := l.project(qProj, x, biased)
	k := l.project(kProj, x, biased)
	v := l.project(vProj, x, biased)
	q, k = l.normHeads(qNorm, q), l.normHeads(kNorm, k)
	if l.Rotates(l.index) {
		l.at("self_attn.rotary_emb")
		q, k = l.rotate(q, l.NumAttentionHeads), l.rotate(k, l.NumKeyValueHeads)
	}
	l.at("self_attn")
	return l.project(oProj, l.attend(q, k, v), l.AttentionBias)
}

// attend is attention of queries to keys and values.
func (l layer) attend(q, k, v graph.Value) graph.Value {
	if l.in.Cache != nil {
		return l.in.Cache.attend(l, q, k, v)
	}
	operands := []graph.Value{q, k, v}
	if l.in.Segments.Valid() {
		operands = append(operands, l.in.Segments)
	}
	return l.g.Op("attention", gpu.Attrs{Heads: l.NumAttentionHeads, KVHeads: l.NumKeyValueHeads}, operands...)[0]
}

// feedForward is SwiGLU (Shazeer 2020), of x [batch, seq, hidden] to the same shape.
func (l layer) feedForward(x graph.Value) graph.Value {
	gate, up := l.project(gateProj, x, l.MLPBias), l.project(upProj, x, l.MLPBias)
	l.at("mlp.act_fn")
	return l.project(downProj, l.g.Op1("swiglu", gpu.Attrs{}, gate, up), l.MLPBias)
}

// normHeads normalises q or k, [batch, seq, heads·head_dim], as the architecture does before it rotates them.
func (l layer) normHeads(name string, x graph.Value) graph.Value {
	if !x.Valid() { // the graph holds the error
		return x
	}
	s := x.Shape()
	switch l.Arch.Features.QKNorm {
	case QKNormWhole:
		return l.norm(name, x, s[2])
	case QKNormPerHead:
		heads := l.g.Reshape(x, s[0], s[1], s[2]/l.HeadDim, l.HeadDim)
		return l.g.Reshape(l.norm(name, heads, l.HeadDim), s...)
	}
	return x
}

// at says that the next nodes belong to a module of the layer, and returns its name.
func (l layer) at(module string) string {
	name := LayerPrefix(l.index) + module
	l.g.At(l.index, name)
	return name
}

func (l layer) norm(module string, x graph.Value, n int) graph.Value {
	return l.Model.norm(l.g, x, l.weight(l.at(module)+".weight"), n)
}

func (l layer) rotate(x graph.Value, heads int) graph.Value {
	operands := []graph.Value{x, l.in.Constants["cos"], l.in.Constants["sin"]}
	if l.in.Positions.Valid() {
		operands = append(operands, l.in.Positions)
	}
	return l.g.Op1("rope", gpu.Attrs{Heads: heads}, operands...)
}

func (l layer) project(module string, x graph.Value, biased bool) graph.Value {
	name := l.at(module)
	var b graph.Value
	if biased {
		b = l.weight(name + ".bias")
	}
	return l.linear(l.g, name, x, l.weight(name+".weight"), b)
}
