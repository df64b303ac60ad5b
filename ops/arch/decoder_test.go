package arch

import (
	"fmt"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/graph"
)

// llamas are models of Llama with every feature of it.
func llamas() (list []Model) {
	for _, c := range []Config{
		{VocabSize: 61, HiddenSize: 24, IntermediateSize: 40, NumHiddenLayers: 2, NumAttentionHeads: 4,
			NumKeyValueHeads: 2},
		{VocabSize: 48, HiddenSize: 32, IntermediateSize: 56, NumHiddenLayers: 3, NumAttentionHeads: 4,
			TieWordEmbeddings: true, AttentionBias: true, MLPBias: true, RopeTheta: 5000,
			RopeScaling: &RopeScaling{RopeType: "llama3", Factor: 4, LowFreqFactor: 1, HighFreqFactor: 4,
				OriginalMaxPositionEmbeddings: 16}},
		{VocabSize: 48, HiddenSize: 32, IntermediateSize: 56, NumHiddenLayers: 1, NumAttentionHeads: 4,
			NumKeyValueHeads: 1, HeadDim: 12, MLPBias: true},
		{VocabSize: 48, HiddenSize: 32, IntermediateSize: 56, NumHiddenLayers: 2, NumAttentionHeads: 4,
			AttentionBias: true},
	} {
		m := Model{llama, c}
		m.Fill()
		list = append(list, m)
	}
	return list
}

func ids(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("s0.%d", i))
	}
	return list
}

// program compiles a forward and a backward pass, with gradients of all parameters.
func program(t *testing.T, params []ops.Param, dtype gpu.DType, headDim int, mask bool, batch, seq int,
	loss func(g *graph.Graph, weight func(string) graph.Value, ids, targets, segments, cos, sin graph.Value) graph.Value,
) *gpu.Program {
	t.Helper()
	g := graph.New()
	leaf := func(name string, role gpu.Role, d gpu.DType, shape ...int) graph.Value {
		return g.Leaf(name, role, gpu.Type{Shape: shape, DType: d})
	}
	weights := map[string]graph.Value{}
	var wanted, grads []graph.Value
	for _, p := range params {
		weights[p.Name] = leaf(p.ID, gpu.RoleWeight, dtype, p.Shape...)
		wanted = append(wanted, weights[p.Name])
		grads = append(grads, leaf("grad/"+p.ID, gpu.RoleGradient, dtype, p.Shape...))
	}
	in := leaf("input/ids", gpu.RoleInput, gpu.I32, batch, seq)
	targets := leaf("input/targets", gpu.RoleInput, gpu.I32, batch, seq)
	scale := leaf("input/scale", gpu.RoleInput, gpu.F32, 1)
	var segments graph.Value
	if mask {
		segments = leaf("input/segments", gpu.RoleInput, gpu.I32, batch, seq)
	}
	cos := leaf("const/cos", gpu.RoleConst, gpu.F32, seq, headDim/2)
	sin := leaf("const/sin", gpu.RoleConst, gpu.F32, seq, headDim/2)
	out := leaf("output/nll", gpu.RoleOutput, gpu.F32, batch, seq)
	g.Segment("micro", gpu.Forward)
	nll := loss(g, func(name string) graph.Value { return weights[name] }, in, targets, segments, cos, sin)
	g.Update(out, nll)
	seed := g.Op1("broadcast", gpu.Attrs{}, scale, out)
	for i, d := range g.Grad(nll, seed, wanted, grads) {
		if d != grads[i] {
			g.Update(grads[i], d)
		}
	}
	p, err := graph.Compile(g, gpu.Caps{Alignment: 64, DTypes: []gpu.DType{gpu.F32, gpu.BF16}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lossProgram is program for a model.
func lossProgram(t *testing.T, m Model, dtype gpu.DType, mask bool, batch, seq int) *gpu.Program {
	return program(t, m.Declare(ids(m.NumHiddenLayers)), dtype, m.HeadDim, mask, batch, seq,
		func(g *graph.Graph, weight func(string) graph.Value, in, targets, segments, cos, sin graph.Value) graph.Value {
			inputs := Inputs{IDs: in, Segments: segments, Constants: map[string]graph.Value{"cos": cos, "sin": sin}}
			return m.Loss(g, weight, inputs, targets, 7, Plain)
		})
}

// TestProgramOfLlama holds the program of a Llama to the one of the version that introduced operators of version 5:
// checkpoints and results are found by what they were made with.
func TestProgramOfLlama(t *testing.T) {
	const want = "8112c609d1602d571a741feb313bee2a1316a549c5edbfcfe5a039accf33b082"
	if got := lossProgram(t, llamas()[0], gpu.F32, true, 2, 8).Hash(); got != want {
		t.Errorf("the program's hash is %s, not %s", got, want)
	}
}

// TestEveryParameterHasAGradient compiles a model of each architecture in bf16: all that it declares is used.
func TestEveryParameterHasAGradient(t *testing.T) {
	for _, a := range All() {
		m := tiny(a)
		p := lossProgram(t, m, gpu.BF16, false, 1, 4)
		written := map[int64]bool{}
		for _, l := range p.Launches {
			for _, o := range l.Out {
				written[o.Offset] = true
			}
		}
		for _, x := range m.Declare(ids(m.NumHiddenLayers)) {
			b, ok := p.Buffer("grad/" + x.ID)
			if !ok || !written[b.Operand.Offset] {
				t.Errorf("%s: %s has no gradient", a.Type, x.Name)
			}
		}
	}
}

// TestNoRopeLayers counts the rotations of a SmolLM3 of four layers: three layers rotate q and k, forward and back.
func TestNoRopeLayers(t *testing.T) {
	layers := map[int]int{}
	for _, l := range lossProgram(t, tiny(Lookup("smollm3")), gpu.F32, false, 1, 4).Launches {
		if l.Kernel == "rope" {
			layers[l.Layer]++
		}
	}
	if fmt.Sprint(layers) != "map[0:4 1:4 2:4]" {
		t.Error(layers)
	}
}

// TestResidualOutput names the tensors that are zero in a layer that begins as the identity.
func TestResidualOutput(t *testing.T) {
	for model, want := range map[string]string{
		"llama": "[self_attn.o_proj.weight self_attn.o_proj.bias mlp.down_proj.weight mlp.down_proj.bias]",
		"qwen2": "[self_attn.o_proj.weight mlp.down_proj.weight]",
		"olmo2": "[post_attention_layernorm.weight post_feedforward_layernorm.weight]",
	} {
		m := tiny(Lookup(model))
		m.AttentionBias, m.MLPBias = model == "llama", model == "llama"
		var got []string
		for _, p := range m.Declare([]string{"x"}) {
			if m.ResidualOutput(p) {
				got = append(got, p.Name[len(LayerPrefix(0)):])
			}
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v", model, got)
		}
	}
}
