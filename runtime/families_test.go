package runtime

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stepflow/runtime/checkpoint"
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
				expected
				Refusal *string `json:"refusal"`
			}
			must(t, json.Unmarshal(b, &want))
			dir := t.TempDir()
			src := fmt.Sprintf("model \"llama\" \"m\" { from = %q }\noutput \"n\" { value = model.llama.m.num_parameters }\n", folder)
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
			cfg := p.Actions[0].model.Config
			if want.Seq > cfg.MaxPositionEmbeddings {
				t.Fatalf("max_position_embeddings is %d", cfg.MaxPositionEmbeddings)
			}
			want.file, err = checkpoint.Open(filepath.Join(folder, "expected.safetensors"))
			must(t, err)
			defer want.file.Close()
			f, err := checkpoint.OpenFolder(folder)
			must(t, err)
			defer f.Close()
			got := logits(t, cfg, &want.expected, func(n string) []float32 { v, err := f.Float32(n); must(t, err); return v })
			near(t, "logits", got, want.floats(t, "logits"), 2e-5)
		})
	}
}
