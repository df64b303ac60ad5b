package program

import (
	"fmt"
	"strings"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/ops/graph"
)

// A streamed pass is a Pass with the weights of one layer at a time in memory. The host runs SegEmbed, then writes the weights of
// each layer and runs its SegLayer, and last SegProbe. The losses have the bits of the pass's.
const SegEmbed = "embed"

// SegLayer is the segment of a layer.
func SegLayer(i int) string { return fmt.Sprintf("layer %d", i) }

// BufHidden is the residual stream between the segments, [batch, seq, hidden].
const BufHidden = "output/hidden"

// streamedLayer is the id of the layer in whose buffers the weights of all layers lie in turn.
const streamedLayer = "layer"

// BufStreamed is the buffer that a parameter of the model is written to.
func BufStreamed(p ops.Param) string {
	if !ops.InLayers(p) {
		return p.Name
	}
	return streamedLayer + "/" + strings.TrimPrefix(p.Name, arch.LayerPrefix(p.Layer))
}

// Streamed makes the program of a streamed pass.
func (p *Programs) Streamed(x Pass) (*gpu.Program, error) {
	key := asked("streamed %s %v %d %d %t", x.Model.Key(), x.DType, x.Batch, x.Seq, x.Mask)
	return p.once(key, func() *graph.Graph { return streamedGraph(x, p.caps) })
}

func streamedGraph(p Pass, caps gpu.Caps) *graph.Graph {
	layers := p.Model.NumHiddenLayers
	one := p.Model.WithLayers(min(1, layers))
	b := newBuilder(one.Declare([]string{streamedLayer}[:one.NumHiddenLayers]), p.DType, plain(p.DType), widened(one, nil, caps))
	g := b.g
	in := b.modelInputs(p.Model, p.Batch, p.Seq, p.Mask)
	targets := b.input(BufTargets, gpu.I32, p.Batch, p.Seq)
	out := b.output(BufNLL, p.Batch, p.Seq)
	shape := gpu.Shape{p.Batch, p.Seq, p.Model.HiddenSize}
	hidden := g.Padded(BufHidden, gpu.RoleOutput, gpu.Type{Shape: shape, DType: p.DType},
		gpu.Shape{p.Batch, p.Seq, caps.Widen(p.Model.HiddenSize)})
	g.Segment(SegEmbed, gpu.Forward)
	g.Update(hidden, p.Model.Embed(g, b.weight, in))
	for i := range layers {
		prefix := arch.LayerPrefix(i)
		weight := func(name string) graph.Value { return b.weight(arch.LayerPrefix(0) + strings.TrimPrefix(name, prefix)) }
		g.Segment(SegLayer(i), gpu.Forward)
		g.Update(hidden, p.Model.Layer(g, weight, in, arch.Plain, i, hidden))
	}
	g.Segment(SegProbe, gpu.Forward)
	g.Update(out, p.Model.LossAbove(g, b.weight, hidden, targets, ChunkRows(caps, p.Batch*p.Seq, p.Model.VocabSize)))
	return g
}
