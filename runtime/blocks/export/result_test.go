package export

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/program"
)

// TestResultIsFolded reads the weights of a model with LayerNorm scaling in bf16, whole and in parts: the gains of norms before
// the branches have their factors, rounded as the kernel rounds them, and nothing else changes.
func TestResultIsFolded(t *testing.T) {
	m := arch.Model{Arch: arch.Lookup("llama"), Config: arch.Config{VocabSize: 3, HiddenSize: 4, IntermediateSize: 4,
		NumHiddenLayers: 3, NumAttentionHeads: 2, LayerNormScaling: true}}
	m.Fill()
	s := &stage.Stage{Stage: program.Stage{Model: m, Params: m.Declare([]string{"a", "b", "c"}), DType: gpu.BF16}}
	dir := t.TempDir()
	var tensors []checkpoint.Tensor
	raw := map[string][]byte{}
	for _, p := range s.Params {
		v := make([]float32, p.Shape.Elems())
		for i := range v {
			v[i] = 1 + float32(i)/8
		}
		raw[p.Name] = gpu.Float32Bytes(v, gpu.BF16)
		tensors = append(tensors, checkpoint.Tensor{Name: p.Name, Shape: p.Shape, DType: gpu.BF16,
			Data: func() ([]byte, error) { return raw[p.Name], nil }})
	}
	f, err := os.Create(filepath.Join(dir, checkpoint.ModelFile))
	if err == nil {
		err = checkpoint.Tensors(checkpoint.ModelFile, tensors).Fill(f)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	r, err := openResult(dir, s)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	folded := 0
	for _, p := range s.Params {
		want := raw[p.Name]
		if p.Layer > 0 && (p.Name == arch.LayerPrefix(p.Layer)+"input_layernorm.weight" ||
			p.Name == arch.LayerPrefix(p.Layer)+"post_attention_layernorm.weight") {
			factor := map[int]float32{1: 0.70710677, 2: 0.57735026}[p.Layer] // 1/sqrt(2) and 1/sqrt(3) in fp32
			folded++
			v := gpu.BytesFloat32(want, gpu.BF16)
			for i := range v {
				v[i] *= factor
			}
			want = gpu.Float32Bytes(v, gpu.BF16)
		}
		var got []byte
		err := r.Pieces(p.Name, func(b []byte, _ int) error { got = append(got, b...); return nil })
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v, not %x", p.Name, got, err, want)
		}
		if got, err := r.Elements(p.Name, 1, 2); err != nil || !bytes.Equal(got, want[2:6]) {
			t.Errorf("two elements of %s: %x, %v, not %x", p.Name, got, err, want[2:6])
		}
	}
	if folded != 4 {
		t.Errorf("%d tensors with a factor", folded)
	}
}
