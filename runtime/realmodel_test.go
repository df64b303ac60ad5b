package runtime_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"stepflow/runtime/blocks/tokenizer"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/state"
)

// given is the folder that an environment variable names, as make parity sets it: a test of what others computed passes over where
// there is none.
func given(t *testing.T, variable string) string {
	t.Helper()
	folder := os.Getenv(variable)
	if folder == "" {
		t.Skipf("%s names no folder: make parity makes one", variable)
	}
	return folder
}

// TestRealModel continues text with a model that was trained elsewhere, token by token as published.
func TestRealModel(t *testing.T) {
	data := given(t, "STEPFLOW_TEST_DATA")
	folder := filepath.Join(data, "models", "stories260K-hf")
	var reference struct {
		Greedy struct {
			IDs []int32 `json:"ids"`
		} `json:"greedy"`
	}
	b, err := os.ReadFile(filepath.Join(folder, "reference.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &reference))
	tok, err := tokenizer.Read(filepath.Join(folder, checkpoint.TokenizerFile))
	must(t, err)
	want := tok.Decode(reference.Greedy.IDs, true)
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(fmt.Sprintf(`
model "llama" "m" { from = %q }
tokenizer "huggingface" "t" { file = %q }
evaluate "generation" "g" {
  model          = model.llama.m
  tokenizer      = tokenizer.huggingface.t
  prompts        = [""]
  max_new_tokens = 256
}
`, folder, filepath.Join(folder, checkpoint.TokenizerFile))), 0o644))
	must(t, applyOn(t, cpuDevice(t, 2), planOf(t, dir)))
	st, err := state.Read(filepath.Join(dir, ".stepflow"))
	must(t, err)
	if got := st.State.Blocks["evaluate.generation.g"].Values["texts"].([]any)[0]; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
