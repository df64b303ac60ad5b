package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"stepflow/gpu"
	"stepflow/ops/llama"
)

// imported makes a pipeline whose model is read from a folder of this name, with attributes beside from.
func imported(t *testing.T, name, attrs string) (dir, folder string) {
	t.Helper()
	dir = t.TempDir()
	folder = filepath.Join(dir, name)
	must(t, os.Mkdir(folder, 0o755))
	for _, f := range []string{fileConfig, fileModel} {
		b, err := os.ReadFile(filepath.Join("testdata", "parity", "tied_bias_llama3", f))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(folder, f), b, 0o644))
	}
	src := fmt.Sprintf("model \"llama\" \"m\" {\n  from = %q\n%s\n}\noutput \"n\" { value = model.llama.m.num_parameters }\n", name, attrs)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(src), 0o644))
	return dir, folder
}

func planImported(dir string) (*Plan, string) {
	p, diags := NewPlan(Options{Path: dir, Caps: gpu.Caps{Kind: "cpu", Alignment: 64, DTypes: []gpu.DType{gpu.F32}}})
	var all strings.Builder
	for _, d := range diags {
		all.WriteString(d.Detail + "\n")
	}
	return p, all.String()
}

func TestAttributesMayNotContradictFrom(t *testing.T) {
	other := map[string]string{"vocab_size": "49", "hidden_size": "34", "intermediate_size": "57", "num_hidden_layers": "4", "num_attention_heads": "2", "num_key_value_heads": "2",
		"head_dim": "16", "max_position_embeddings": "65", "rms_norm_eps": "1e-5", "rope_theta": "5001", "initializer_range": "0.02", "tie_word_embeddings": "false",
		"attention_bias": "false", "mlp_bias": "false", "rope_scaling": `{ rope_type = "default" }`}
	same := map[string]string{"vocab_size": "48", "hidden_size": "32", "intermediate_size": "56", "num_hidden_layers": "3", "num_attention_heads": "4", "num_key_value_heads": "4",
		"head_dim": "8", "max_position_embeddings": "64", "rms_norm_eps": "1e-6", "rope_theta": "5000", "initializer_range": "0.2", "tie_word_embeddings": "true", "hidden_act": `"silu"`,
		"attention_bias": "true", "mlp_bias": "true", "rope_scaling": `{ rope_type = "llama3", factor = 4, high_freq_factor = 4, low_freq_factor = 1, original_max_position_embeddings = 16 }`}
	var all, sames []string
	for _, f := range llama.Fields {
		if v, ok := same[f.Name]; ok {
			sames = append(sames, fmt.Sprintf("  %s = %s", f.Name, v))
		} else {
			t.Errorf("%s is not tried", f.Name)
		}
		v, ok := other[f.Name]
		if !ok { // there is one activation only
			continue
		}
		all = append(all, fmt.Sprintf("  %s = %s", f.Name, v))
		dir, _ := imported(t, "m", all[len(all)-1])
		if _, says := planImported(dir); !strings.Contains(says, f.Name+" is ") || !strings.Contains(says, "config.json. Leave it out") {
			t.Errorf("%s = %s: %q", f.Name, v, says)
		}
	}
	dir, _ := imported(t, "m", strings.Join(all, "\n"))
	if _, says := planImported(dir); strings.Count(says, "Leave it out") != len(other) {
		t.Errorf("of %d contradictions these are told:\n%s", len(other), says)
	}
	dir, _ = imported(t, "m", strings.Join(sames, "\n"))
	if _, says := planImported(dir); says != "" {
		t.Errorf("attributes that agree: %s", says)
	}
}

// TestWeightsAreTheModelsIdentity changes a byte of the weights: the block's recipe is another, whatever the folder is called.
func TestWeightsAreTheModelsIdentity(t *testing.T) {
	for _, name := range []string{"m", "m[1]", "run [lr=1e-3]", "*", "a?b", `back\slash`, "two  words", "ümlaut"} {
		dir, folder := imported(t, name, "")
		recipe := func() string {
			p, says := planImported(dir)
			if says != "" {
				t.Fatalf("%q: %s", name, says)
			}
			return p.Actions[0].Recipe
		}
		before := recipe()
		if recipe() != before {
			t.Errorf("%q: the recipe changes by itself", name)
		}
		path := filepath.Join(folder, fileModel)
		b, err := os.ReadFile(path)
		must(t, err)
		b[len(b)-1] ^= 1
		must(t, os.WriteFile(path, b, 0o644))
		if recipe() == before {
			t.Errorf("%q: other weights, the same recipe", name)
		}
	}
}

func TestImpossibleFolders(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(folder string) error
		says  string
	}{
		"layers": {func(f string) error {
			path := filepath.Join(f, fileConfig)
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, []byte(strings.Replace(string(b), `"num_hidden_layers": 3`, `"num_hidden_layers": 1000000000000000`, 1)), 0o644)
		}, "config.json wants a tensor model.layers.3.input_layernorm.weight of [32]; the safetensors have none"},
		"pipe": {func(f string) error {
			os.Remove(filepath.Join(f, fileConfig))
			return syscall.Mkfifo(filepath.Join(f, fileConfig), 0o644)
		}, "is a pipe"},
		"device": {func(f string) error {
			os.Remove(filepath.Join(f, fileConfig))
			return os.Symlink("/dev/zero", filepath.Join(f, fileConfig))
		}, "is a device"},
		"large": {func(f string) error { return os.Truncate(filepath.Join(f, fileConfig), 17<<20) }, "larger than"},
	} {
		dir, folder := imported(t, "m", "")
		must(t, c.spoil(folder))
		if _, says := planImported(dir); !strings.Contains(says, c.says) {
			t.Errorf("%s: %q, want %q", name, says, c.says)
		}
	}
}
