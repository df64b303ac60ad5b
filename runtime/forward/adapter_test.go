package forward

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/runtime/checkpoint"
)

// write writes a folder with an adapter of rank 1 on a weight [2, 3], and its configuration.
func write(t *testing.T, config string) string {
	t.Helper()
	tensor := func(name string, shape gpu.Shape, v ...float32) checkpoint.Tensor {
		return checkpoint.Tensor{Name: checkpoint.AdapterPrefix + "q." + name, Shape: shape, DType: gpu.F32,
			Data: func() ([]byte, error) { return gpu.Float32Bytes(v, gpu.F32), nil }}
	}
	dir := t.TempDir()
	for _, p := range []checkpoint.Part{
		checkpoint.Tensors(checkpoint.AdapterFile, []checkpoint.Tensor{tensor("lora_A.weight", gpu.Shape{1, 3}, 1, 2, 3),
			tensor("lora_B.weight", gpu.Shape{2, 1}, 10, 100)}),
		checkpoint.Bytes(checkpoint.AdapterConfigFile, []byte(config)),
	} {
		if _, err := p.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestMerge(t *testing.T) {
	a, err := OpenAdapter(write(t, `{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "bias": "none"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	w := []float32{1, 1, 1, 1, 1, 1}
	if err := a.Merge("q.weight", gpu.Shape{2, 3}, 0, w); err != nil || !slices.Equal(w, []float32{21, 41, 61, 201, 401, 601}) {
		t.Errorf("%v, %v", w, err)
	}
	for from := range 6 { // a part of the weight
		for to := from; to <= 6; to++ {
			part := []float32{1, 1, 1, 1, 1, 1}[from:to]
			if err := a.Merge("q.weight", gpu.Shape{2, 3}, from, part); err != nil || !slices.Equal(part, w[from:to]) {
				t.Errorf("elements %d to %d: %v, %v", from, to, part, err)
			}
		}
	}
	for _, name := range []string{"k.weight", "q.bias", "q"} {
		if err := a.Merge(name, gpu.Shape{6}, 0, w); err != nil || w[0] != 21 {
			t.Errorf("%s: %v, %v", name, w, err)
		}
	}
	if err := a.Merge("q.weight", gpu.Shape{3, 2}, 0, w); err == nil || !strings.Contains(err.Error(), "do not make [3,2]") {
		t.Error(err)
	}
}

func TestNoAdapter(t *testing.T) {
	if a, err := OpenAdapter(t.TempDir()); a != nil || err != nil || a.Merge("q.weight", gpu.Shape{1}, 0, []float32{1}) != nil || a.Close() != nil {
		t.Errorf("%v, %v", a, err)
	}
}

func TestRefusedAdapters(t *testing.T) {
	for config, says := range map[string]string{
		`{"peft_type": "IA3", "r": 1}`:                          `peft_type is "IA3"`,
		`{"peft_type": "LORA"}`:                                 "r is 0",
		`{"peft_type": "LORA", "r": 1, "use_dora": true}`:       "DoRA",
		`{"peft_type": "LORA", "r": 1, "bias": "all"}`:          "biases",
		`{"peft_type": "LORA", "r": 1, "fan_in_fan_out": true}`: "transposed",
		`{"peft_type": `:                                        checkpoint.AdapterConfigFile,
	} {
		if _, err := OpenAdapter(write(t, config)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", config, err)
		}
	}
	dir := write(t, "{}")
	if err := os.Remove(filepath.Join(dir, checkpoint.AdapterConfigFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAdapter(dir); err == nil || !strings.Contains(err.Error(), "no adapter_config.json") {
		t.Error(err)
	}
}
