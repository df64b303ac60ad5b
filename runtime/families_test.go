package runtime_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
)

// TestFamilies imports tiny models of many families that transformers saved (tools/parity/families.py): logits are equal, or
// the refusal names why.
func TestFamilies(t *testing.T) {
	root := given(t, "STEPFLOW_FAMILIES")
	entries, err := os.ReadDir(root)
	must(t, err)
	if len(entries) < 20 {
		t.Fatalf("%s holds %d models", root, len(entries))
	}
	for _, entry := range entries {
		t.Run(entry.Name(), func(t *testing.T) {
			folder := filepath.Join(root, entry.Name())
			b, err := os.ReadFile(filepath.Join(folder, "expected.json"))
			must(t, err)
			var want struct {
				Batch   int     `json:"batch"`
				Seq     int     `json:"seq"`
				Refusal *string `json:"refusal"`
				Type    string  `json:"type"` // model_type
			}
			must(t, json.Unmarshal(b, &want))
			dir := t.TempDir()
			if arch.Lookup(want.Type) == nil { // one that is read as a Llama, or refused
				want.Type = "llama"
			}
			src := fmt.Sprintf("model %q \"m\" { from = %q }\n", want.Type, folder)
			must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(src), 0o644))
			p, says := planImported(dir)
			if want.Refusal != nil {
				if !strings.Contains(says, *want.Refusal) {
					t.Errorf("%q, want a refusal with %q", says, *want.Refusal)
				}
				t.Log(strings.TrimSpace(says))
				return
			}
			if says != "" {
				t.Fatal(says)
			}
			t.Log(p.Actions[0].Warnings)
			cfg := p.Actions[0].Block.(*model.Model).Model
			if want.Seq > cfg.MaxPositionEmbeddings {
				t.Fatalf("max_position_embeddings is %d", cfg.MaxPositionEmbeddings)
			}
			sameLogits(t, cfg, folder, want.Batch, want.Seq)
		})
	}
}

// sameLogits compares the logits of the model in a folder with those in expected.safetensors, a token at a time.
func sameLogits(t *testing.T, cfg arch.Model, folder string, batch, seq int) {
	t.Helper()
	expected, err := checkpoint.Open(filepath.Join(folder, "expected.safetensors"))
	must(t, err)
	defer expected.Close()
	want, err := expected.Float32("logits")
	must(t, err)
	ids, _, err := expected.Raw("ids")
	must(t, err)
	params := cfg.Declare(make([]string, cfg.NumHiddenLayers))
	for i := range params {
		params[i].ID = params[i].Name
	}
	pass := program.Pass{Model: cfg, Params: params, DType: gpu.F32, Batch: 1, Seq: seq, Logits: true}
	d := cpuDevice(t, 2)
	program, err := program.NewPrograms(d.Caps()).Pass(pass)
	must(t, err)
	f, err := forward.Load(t.Context(), d, program, pass, folder)
	must(t, err)
	defer f.Close()
	var worst, scale float64
	for i := range batch * seq {
		row := make([]int32, i%seq+1)
		for j := range row {
			row[j] = int32(binary.LittleEndian.Uint32(ids[4*(i/seq*seq+j):]))
		}
		logits, err := f.Logits(row)
		must(t, err)
		for j, x := range logits {
			w := float64(want[i*cfg.VocabSize+j])
			worst, scale = max(worst, math.Abs(float64(x)-w)), max(scale, math.Abs(w))
		}
	}
	if !(worst <= 2e-5*scale) {
		t.Errorf("logits differ by %.2g of their largest magnitude %.3g", worst/scale, scale)
	}
}
