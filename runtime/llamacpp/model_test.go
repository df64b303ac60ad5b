package llamacpp

import (
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/runtime/gguf"
)

// modelOf is a small model of an architecture.
func modelOf(t *testing.T, kind string, edit func(*arch.Model)) arch.Model {
	t.Helper()
	m := arch.Model{Arch: arch.Lookup(kind), Config: arch.Config{VocabSize: 7, HiddenSize: 8, IntermediateSize: 32,
		NumHiddenLayers: 4, NumAttentionHeads: 2, NumKeyValueHeads: 1, HeadDim: 4}}
	if edit != nil {
		edit(&m)
	}
	m.Fill()
	if ps := m.Check(); len(ps) > 0 {
		t.Fatal(ps)
	}
	return m
}

// TestCheckModel: all architectures are known, and what llama.cpp computes otherwise is refused by name.
func TestCheckModel(t *testing.T) {
	for _, a := range arch.All() {
		if err := CheckModel(modelOf(t, a.Type, nil)); err != nil {
			t.Errorf("%s: %v", a.Type, err)
		}
	}
	llama3 := &arch.RopeScaling{RopeType: "llama3", Factor: 4, LowFreqFactor: 1, HighFreqFactor: 4,
		OriginalMaxPositionEmbeddings: 16}
	yarn := &arch.RopeScaling{RopeType: "yarn", Factor: 4, OriginalMaxPositionEmbeddings: 16, AttentionFactor: 1,
		BetaFast: 16, BetaSlow: 1}
	for _, c := range []struct {
		kind string
		edit func(*arch.Model)
		want string
	}{
		{"qwen3", func(m *arch.Model) { m.AttentionBias = true }, "attention_bias cannot be true"},
		{"smollm3", func(m *arch.Model) { m.MLPBias = true }, "mlp_bias cannot be true"},
		{"qwen2", func(m *arch.Model) { m.HeadDim = 6 }, "= 4 channels: head_dim cannot be 6"},
		{"olmo2", func(m *arch.Model) { m.HeadDim = 6 }, "= 4 channels: head_dim cannot be 6"},
		{"smollm3", func(m *arch.Model) { m.NoRopeLayerInterval = 2 }, "every 4th: layer 1 is not like that"},
		{"smollm3", func(m *arch.Model) { m.NoRopeLayers = []int{1, 1, 1, 1} }, "every 4th: layer 3 is not like that"},
		{"qwen3", func(m *arch.Model) { m.RopeScaling = llama3 }, `does not know rope_type "llama3"`},
		{"llama", func(m *arch.Model) { m.RopeScaling = yarn }, "rope_scaling cannot have 16 and 1"},
	} {
		if err := CheckModel(modelOf(t, c.kind, c.edit)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.kind, err, c.want)
		}
	}
	if err := CheckModel(modelOf(t, "llama", func(m *arch.Model) {
		m.HeadDim, m.AttentionBias, m.MLPBias, m.RopeScaling = 6, true, true, llama3
	})); err != nil {
		t.Error(err)
	}
}

// params are those of a model.
func params(m arch.Model) []ops.Param { return m.Declare(make([]string, m.NumHiddenLayers)) }

// TestTensors: every parameter has a name of its own, and its type.
func TestTensors(t *testing.T) {
	for _, a := range arch.All() {
		m := modelOf(t, a.Type, func(m *arch.Model) { m.TieWordEmbeddings = true })
		seen := map[string]bool{}
		for _, x := range Tensors(m, params(m), gguf.Q8_0, nil) {
			if seen[x.Name] || strings.Contains(x.Name, "..") {
				t.Errorf("%s: a tensor %s", a.Type, x.Name)
			}
			seen[x.Name] = true
			want := gguf.F16 // rows of 8
			switch {
			case len(x.Shape) == 1:
				want = gguf.F32
			case strings.HasSuffix(x.Name, "ffn_down.weight"):
				want = gguf.Q8_0 // rows of 32
			}
			if x.Type != want {
				t.Errorf("%s: %s is %s, not %s", a.Type, x.Name, x.Type, want)
			}
		}
		if want := a.Type == "olmo2"; seen["output.weight"] != want {
			t.Errorf("%s: a tensor for the tied head: %t, want %t", a.Type, !want, want)
		}
	}
}

// TestOrderOfRows: of q, heads of 4 channels have channels 0 and 2, which turn together, beside one another.
func TestOrderOfRows(t *testing.T) {
	for kind, want := range map[string][]float32{
		"llama": {0, 2, 1, 3, 4, 6, 5, 7},
		"qwen2": {0, 1, 2, 3, 4, 5, 6, 7},
	} {
		m := modelOf(t, kind, nil)
		read := func(_ string, from, n int64) ([]float32, error) { // each element is the number of its row
			x := make([]float32, n)
			for i := range x {
				x[i] = float32((from + int64(i)) / int64(m.HiddenSize))
			}
			return x, nil
		}
		for _, x := range Tensors(m, params(m), gguf.F32, read) {
			if x.Name != "blk.1.attn_q.weight" {
				continue
			}
			var got []float32
			for _, c := range [][2]int{{0, 3}, {3, 5}} { // in two parts
				rows, err := x.Rows(c[0], c[1])
				if err != nil {
					t.Fatal(err)
				}
				for i := 0; i < len(rows); i += m.HiddenSize {
					got = append(got, rows[i])
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: rows %v, want %v", kind, got, want)
			}
		}
	}
	bias := ops.Param{Shape: gpu.Shape{4}}
	got, err := rows(bias, func(string, int64, int64) ([]float32, error) { return []float32{0, 1, 2, 3}, nil },
		func(row int) int { return halves(row, 4) })(0, 1)
	if err != nil || !slices.Equal(got, []float32{0, 2, 1, 3}) {
		t.Errorf("a bias: %v, %v", got, err)
	}
}
