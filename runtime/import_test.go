package runtime_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hashicorp/hcl/v2"

	"stepflow/gpu"
	"stepflow/ops/arch"
	"stepflow/runtime/apply"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/plan"
)

// imported makes a pipeline whose model is read from a folder of this name, with attributes beside from.
func imported(t *testing.T, name, attrs string) (dir, folder string) {
	t.Helper()
	dir = t.TempDir()
	folder = filepath.Join(dir, name)
	must(t, os.Mkdir(folder, 0o755))
	for _, f := range []string{checkpoint.ConfigFile, checkpoint.ModelFile} {
		b, err := os.ReadFile(filepath.Join("train", "testdata", "parity", "tied_bias_llama3", f))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(folder, f), b, 0o644))
	}
	src := fmt.Sprintf("model \"llama\" \"m\" {\n  from = %q\n%s\n}\noutput \"n\" { value = "+
		"model.llama.m.num_parameters }\n", name, attrs)
	must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(src), 0o644))
	return dir, folder
}

func planImported(dir string) (*plan.Plan, string) {
	p, diags := plan.New(context.Background(), plan.Options{Path: dir,
		Caps: gpu.Caps{Kind: "cpu", Alignment: 64, DTypes: []gpu.DType{gpu.F32}}})
	var all strings.Builder
	for _, d := range diags {
		if d.Severity == hcl.DiagError {
			all.WriteString(d.Detail + "\n")
		}
	}
	return p, all.String()
}

func TestAttributesMayNotContradictFrom(t *testing.T) {
	other := map[string]string{"vocab_size": "49", "hidden_size": "34", "intermediate_size": "57",
		"num_hidden_layers": "4", "num_attention_heads": "2", "num_key_value_heads": "2",
		"head_dim": "16", "max_position_embeddings": "65", "rms_norm_eps": "1e-5", "rope_theta": "5001",
		"initializer_range": "0.02", "tie_word_embeddings": "false",
		"attention_bias": "false", "mlp_bias": "false", "rope_scaling": `{ rope_type = "default" }`, "layernorm_scaling": "true"}
	same := map[string]string{"vocab_size": "48", "hidden_size": "32", "intermediate_size": "56",
		"num_hidden_layers": "3", "num_attention_heads": "4", "num_key_value_heads": "4",
		"head_dim": "8", "max_position_embeddings": "64", "rms_norm_eps": "1e-6", "rope_theta": "5000",
		"initializer_range": "0.2", "tie_word_embeddings": "true", "hidden_act": `"silu"`,
		"attention_bias": "true", "mlp_bias": "true", "layernorm_scaling": "false", "rope_scaling": `{ rope_type = "llama3", factor = 4, high_freq_factor = 4, low_freq_factor = 1, original_max_position_embeddings = 16 }`}
	var all, sames []string
	for _, f := range arch.Lookup("llama").Fields {
		if f.Name == "layernorm_depths" { // only beside layernorm_scaling = true
			continue
		}
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
		if _, says := planImported(dir); !strings.Contains(says, f.Name+" is ") || !strings.Contains(says,
			"config.json. Leave it out") {
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

// TestWeightsAreTheModelsIdentity changes a byte of the weights: the block's recipe is another, whatever the folder
// is called.
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
		path := filepath.Join(folder, checkpoint.ModelFile)
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
			path := filepath.Join(f, checkpoint.ConfigFile)
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, []byte(strings.Replace(string(b), `"num_hidden_layers": 3`,
				`"num_hidden_layers": 1000000000000000`, 1)), 0o644)
		}, "config.json wants a tensor model.layers.3.input_layernorm.weight of [32]; the safetensors have none"},
		"pipe": {func(f string) error {
			os.Remove(filepath.Join(f, checkpoint.ConfigFile))
			return syscall.Mkfifo(filepath.Join(f, checkpoint.ConfigFile), 0o644)
		}, "is a pipe"},
		"device": {func(f string) error {
			os.Remove(filepath.Join(f, checkpoint.ConfigFile))
			return os.Symlink("/dev/zero", filepath.Join(f, checkpoint.ConfigFile))
		}, "is a device"},
		"large": {func(f string) error { return os.Truncate(filepath.Join(f, checkpoint.ConfigFile), 17<<20) },
			"larger than"},
	} {
		dir, folder := imported(t, "m", "")
		must(t, c.spoil(folder))
		if _, says := planImported(dir); !strings.Contains(says, c.says) {
			t.Errorf("%s: %q, want %q", name, says, c.says)
		}
	}
}

// raw is a tensor as a safetensors file holds it.
type raw struct {
	dtype string
	shape []int
	data  []byte
}

// tensorsOf reads all tensors of a safetensors file.
func tensorsOf(t *testing.T, path string) map[string]raw {
	t.Helper()
	f, err := checkpoint.Open(path)
	must(t, err)
	defer f.Close()
	all := map[string]raw{}
	for _, name := range f.Names() {
		b, dtype, err := f.Raw(name)
		must(t, err)
		shape, _ := f.Shape(name)
		all[name] = raw{dtype, shape, b}
	}
	return all
}

// writeRaw writes a safetensors file.
func writeRaw(t *testing.T, path string, all map[string]raw) {
	t.Helper()
	header, at := map[string]any{}, 0
	var data []byte
	for _, name := range slices.Sorted(maps.Keys(all)) {
		x := all[name]
		header[name] = map[string]any{"dtype": x.dtype, "shape": x.shape, "data_offsets": []int{at, at + len(x.data)}}
		at += len(x.data)
		data = append(data, x.data...)
	}
	b, err := json.Marshal(header)
	must(t, err)
	must(t, os.WriteFile(path, append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(b))), b...), data...),
		0o644))
}

func floats(x ...float32) raw { return raw{"F32", []int{len(x)}, gpu.Float32Bytes(x, gpu.F32)} }

// edited changes the config.json of a folder; nil takes a key away.
func edited(t *testing.T, folder string, changes map[string]any) {
	t.Helper()
	path := filepath.Join(folder, checkpoint.ConfigFile)
	b, err := os.ReadFile(path)
	must(t, err)
	m := map[string]any{}
	must(t, json.Unmarshal(b, &m))
	for k, v := range changes {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	b, err = json.Marshal(m)
	must(t, err)
	must(t, os.WriteFile(path, b, 0o644))
}

// TestTensorsWithoutAPlace adds, changes and takes away tensors: what would be left out of account is refused by
// name, copies of what is known anyway are not.
func TestTensorsWithoutAPlace(t *testing.T) {
	const proj = "model.layers.0.self_attn.q_proj"
	for name, c := range map[string]struct {
		config map[string]any
		change func(all map[string]raw)
		says   string // "" for nothing
	}{
		"same head": {nil, func(m map[string]raw) { m["lm_head.weight"] = m["model.embed_tokens.weight"] }, ""},
		"other head": {nil, func(m map[string]raw) {
			x := m["model.embed_tokens.weight"]
			x.data = append([]byte{x.data[0] ^ 1}, x.data[1:]...)
			m["lm_head.weight"] = x
		}, "hold a head that differs from the embedding table, though tie_word_embeddings is true there: lm_head.weight"},
		"no head": {map[string]any{"tie_word_embeddings": false}, nil,
			"wants a tensor lm_head.weight of [48,32]; the safetensors have none. If the embedding table is its head, " +
				"tie_word_embeddings there must be true"},
		"biases": {map[string]any{"attention_bias": false}, nil,
			"hold biases of attention, though attention_bias is false there: " + "model.layers.0.self_attn.k_proj.bias, " +
				"model.layers.0.self_attn.o_proj.bias, model.layers.0.self_attn.q_proj.bias and 9 more"},
		"mlp biases": {map[string]any{"mlp_bias": false}, nil, "biases of the feed-forward layers, though mlp_bias is " +
			"false there"},
		"fewer layers": {map[string]any{"num_hidden_layers": 2}, nil,
			"hold layers beyond its num_hidden_layers, which is 2: model.layers.2."},
		"missing bias": {nil, func(m map[string]raw) { delete(m, proj+".bias") },
			"wants a tensor " + proj + ".bias of [32]; the safetensors have none"},
		"norm of q": {nil, func(m map[string]raw) { m["model.layers.0.self_attn.q_norm.weight"] = floats(1) },
			"norms on q and k"},
		"further norm": {nil, func(m map[string]raw) { m["model.layers.0.pre_feedforward_layernorm.weight"] = floats(1) },
			"norms, which Llama does not have"},
		"classifier": {nil, func(m map[string]raw) { m["score.weight"] = floats(1) },
			"a head other than that of a language model: score.weight"},
		"anything": {nil, func(m map[string]raw) { m["mtp.proj\x1b[2J"] = floats(1) },
			`tensors that have no place in it: mtp.proj\x1b[2J`},
		"head's bias": {nil, func(m map[string]raw) { m["lm_head.bias"] = floats(1) }, "no place in it: lm_head.bias"},
		"adapter": {nil, func(m map[string]raw) { m["base_model.model."+proj+".lora_A.weight"] = floats(1) },
			"lora_A.weight: the weights are those of adapters"},
		"base layer": {nil, func(m map[string]raw) {
			m[proj+".base_layer.weight"] = m[proj+".weight"]
			delete(m,
				proj+".weight")
		}, "the weights are those of adapters"},
		"fp8": {nil, func(m map[string]raw) { m[proj+".weight_scale_inv"] = floats(1) },
			"weight_scale_inv: the weights are quantised"},
		"gptq": {nil, func(m map[string]raw) { m[proj+".qweight"] = floats(1); delete(m, proj+".weight") },
			"qweight: the weights are quantised"},
		"bitsandbytes": {nil, func(m map[string]raw) { m[proj+".weight.quant_state.bitsandbytes__nf4"] = floats(1) },
			"the weights are quantised"},
		"type F8": {nil, func(m map[string]raw) {
			x := m[proj+".weight"]
			m[proj+".weight"] = raw{"F8_E4M3", x.shape, x.data[:1024]}
		}, proj + ".weight beside "},
		"type I32": {nil, func(m map[string]raw) { x := m[proj+".weight"]; x.dtype = "I32"; m[proj+".weight"] = x },
			"is of type I32, which is not read as a weight"},
		"type C64": {nil, func(m map[string]raw) {
			x := m[proj+".weight"]
			m[proj+".weight"] = raw{"C64", x.shape, append(x.data, x.data...)}
		}, "is of type C64"},
		"type F64": {nil, func(m map[string]raw) {
			x := m[proj+".weight"]
			m[proj+".weight"] = raw{"F64", x.shape, make([]byte, 8192)}
		}, ""},
		"transposed": {nil, func(m map[string]raw) {
			x := m["model.layers.1.mlp.up_proj.weight"]
			x.shape = []int{32, 56}
			m["model.layers.1.mlp.up_proj.weight"] = x
		}, "wants a tensor model.layers.1.mlp.up_proj.weight of [56,32]; the safetensors have [32,56]"},
		"frequencies": {nil, func(m map[string]raw) {
			m["model.layers.0.self_attn.rotary_emb.inv_freq"] = floats(1, 0.118920, 0.0141421, 0.0016818)
		}, ""}, // 5000^(-i/4)
		"other rotation": {nil, func(m map[string]raw) {
			m["model.layers.0.self_attn.rotary_emb.inv_freq"] = floats(1, 0.1, 0.01, 0.001)
		}, "rotary frequencies that differ from those of its rope_theta and rope_scaling: " +
			"model.layers.0.self_attn.rotary_emb.inv_freq"},
		"fewer of them": {nil, func(m map[string]raw) { m["rotary_emb.inv_freq"] = floats(1, 0.118920) },
			"rotary frequencies that differ"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, folder := imported(t, "m", "")
			edited(t, folder, c.config)
			if c.change != nil {
				path := filepath.Join(folder, checkpoint.ModelFile)
				all := tensorsOf(t, path)
				c.change(all)
				writeRaw(t, path, all)
			}
			if _, says := planImported(dir); c.says == "" && says != "" || !strings.Contains(says, c.says) {
				t.Errorf("%q, want %q", says, c.says)
			}
		})
	}
}

// TestFoldersOfOtherForms holds folders whose weights are not read to a sentence that says what to do.
func TestFoldersOfOtherForms(t *testing.T) {
	moved := func(name string) func(folder string) error {
		return func(f string) error { return os.Rename(filepath.Join(f, checkpoint.ModelFile), filepath.Join(f, name)) }
	}
	for name, c := range map[string]struct {
		change func(folder string) error
		says   string
	}{
		"pickles": {moved("pytorch_model.bin"), `python -c "import sys, transformers as t; t.AutoModelForCausalLM.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])" '`},
		"shards":  {moved("pytorch_model-00001-of-00002.bin"), "weights as pickles of PyTorch"},
		"gguf":    {moved("m.Q4_K.gguf"), "gguf_file='m.Q4_K.gguf'"},
		"gguf, no config": {func(f string) error {
			return errorsOf(moved("m.gguf")(f), os.Remove(filepath.Join(f, checkpoint.ConfigFile)))
		}, "m.gguf, weights as GGUF"},
		"pickles, no config": {func(f string) error {
			return errorsOf(moved("pytorch_model.bin")(f), os.Remove(filepath.Join(f, checkpoint.ConfigFile)))
		}, "has no config.json"},
		"shards without their index": {moved("model-00001-of-00002.safetensors"), "without model.safetensors.index.json"},
		"meta":                       {moved("consolidated.00.pth"), "take the model's files for transformers"},
		"other name":                 {moved("weights.safetensors"), "weights.safetensors, safetensors under another name"},
		"nothing": {func(f string) error { return os.Remove(filepath.Join(f, checkpoint.ModelFile)) },
			"has neither model.safetensors nor model.safetensors.index.json"},
		"adapter": {func(f string) error {
			return os.WriteFile(filepath.Join(f, "adapter_config.json"), []byte("{}"), 0o644)
		}, "merge_and_unload"},
		"no folder": {os.RemoveAll, "no such file"},
		"file": {func(f string) error { return errorsOf(os.RemoveAll(f), os.WriteFile(f, []byte("GGUF"), 0o644)) },
			"is a file: from takes the folder"},
		"lfs pointer": {func(f string) error {
			return os.WriteFile(filepath.Join(f, checkpoint.ModelFile),
				[]byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), 0o644)
		}, "git lfs pull"},
	} {
		dir, folder := imported(t, "m", "")
		must(t, c.change(folder))
		if _, says := planImported(dir); !strings.Contains(says, c.says) {
			t.Errorf("%s: %q, want %q", name, says, c.says)
		}
	}
}

// TestAFolderWithoutConfigBlamesNothingElse takes config.json away: the weights have the right names, and nothing is
// said of them.
func TestAFolderWithoutConfigBlamesNothingElse(t *testing.T) {
	for _, name := range []string{checkpoint.ModelFile, checkpoint.ModelFile + ".index.json"} {
		dir, folder := imported(t, "m", "")
		must(t, errorsOf(os.Remove(filepath.Join(folder, checkpoint.ConfigFile)),
			os.Rename(filepath.Join(folder, checkpoint.ModelFile), filepath.Join(folder, name)),
			os.WriteFile(filepath.Join(folder, "model-00001-of-00002.safetensors"), nil, 0o644)))
		if _, says := planImported(dir); !strings.Contains(says,
			"has no config.json, which says what model it is") || strings.Contains(says, "safetensors") {
			t.Errorf("%s: %q", name, says)
		}
	}
	dir, folder := imported(t, "m", "") // GGUF needs none
	must(t, errorsOf(os.Remove(filepath.Join(folder, checkpoint.ConfigFile)),
		os.Rename(filepath.Join(folder, checkpoint.ModelFile), filepath.Join(folder, "m.gguf"))))
	if _, says := planImported(dir); !strings.Contains(says, "gguf_file='m.gguf'") || strings.Contains(says, "has no config.json") {
		t.Errorf("%q", says)
	}
}

func errorsOf(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestShardsAndTheirIndex splits the weights in two and lets the index and the shards contradict each other.
func TestShardsAndTheirIndex(t *testing.T) {
	for name, c := range map[string]struct {
		change func(folder string, index map[string]string, shards []map[string]raw)
		says   string
	}{
		"sound":   {nil, ""},
		"missing": {func(f string, _ map[string]string, s []map[string]raw) { s[1] = nil }, "b.safetensors"},
		"elsewhere": {func(_ string, x map[string]string, _ []map[string]raw) { x["model.norm.weight"] = "a.safetensors" },
			"it says that tensor model.norm.weight is in a.safetensors, which does not hold it"},
		"unnamed": {func(_ string, x map[string]string, _ []map[string]raw) { delete(x, "model.norm.weight") },
			"it does not name tensor model.norm.weight, which is in"},
		"twice": {func(_ string, x map[string]string, s []map[string]raw) {
			s[0]["model.norm.weight"] = s[1]["model.norm.weight"]
		}, "model.norm.weight is in both"},
		"nowhere": {func(_ string, x map[string]string, _ []map[string]raw) { x["model.more"] = "b.safetensors" },
			"which does not hold it"},
	} {
		dir, folder := imported(t, "m", "")
		path := filepath.Join(folder, checkpoint.ModelFile)
		index, shards := map[string]string{}, []map[string]raw{{}, {}}
		for tensor, x := range tensorsOf(t, path) {
			i := 0
			if tensor > "model.layers.1" {
				i = 1
			}
			index[tensor], shards[i][tensor] = []string{"a.safetensors", "b.safetensors"}[i], x
		}
		must(t, os.Remove(path))
		if c.change != nil {
			c.change(folder, index, shards)
		}
		for i, s := range shards {
			if s != nil {
				writeRaw(t, filepath.Join(folder, []string{"a.safetensors", "b.safetensors"}[i]), s)
			}
		}
		b, err := json.Marshal(map[string]any{"weight_map": index})
		must(t, err)
		must(t, os.WriteFile(filepath.Join(folder, checkpoint.ModelFile+".index.json"), b, 0o644))
		if _, says := planImported(dir); c.says == "" && says != "" || !strings.Contains(says,
			c.says) || strings.Contains(says, "another name") {
			t.Errorf("%s: %q, want %q", name, says, c.says)
		}
	}
}

// TestNotesOfAnImport reads folders with a window and a key that nobody knows: both are said. The window of a mistral
// bounds sequences, and is named where one is too long; that of a llama is ignored.
func TestNotesOfAnImport(t *testing.T) {
	mistral := map[string]any{"model_type": "mistral", "architectures": []string{"MistralForCausalLM"},
		"attention_bias": nil, "mlp_bias": nil, "sliding_window": 32, "odd_key": 3}
	asMistral := func(folder string) {
		edited(t, folder, mistral)
		path := filepath.Join(folder, checkpoint.ModelFile)
		all := tensorsOf(t, path)
		maps.DeleteFunc(all, func(name string, _ raw) bool { return strings.HasSuffix(name, ".bias") })
		writeRaw(t, path, all)
	}
	dir, folder := imported(t, "m", "")
	asMistral(folder)
	p, says := planImported(dir)
	if says != "" {
		t.Fatal(says)
	}
	w := strings.Join(p.Actions[0].Warnings, "\n")
	if !strings.Contains(w, "max_position_embeddings counts as 32 instead of 64") || !strings.Contains(w,
		"odd_key is 3 there") || p.Actions[0].Block.(*model.Model).Config.MaxPositionEmbeddings != 32 {
		t.Errorf("%q, %+v", w, p.Actions[0].Block.(*model.Model).Config)
	}
	if s := p.Actions[0].Block.(*model.Model).Longest(); !strings.HasPrefix(s, "sliding_window 32 ") {
		t.Error(s)
	}
	dir, folder = imported(t, "m", "")
	edited(t, folder, map[string]any{"sliding_window": 32})
	p, says = planImported(dir)
	if w := strings.Join(p.Actions[0].Warnings, "\n"); says != "" || !strings.Contains(w,
		"sliding_window is 32 there, which is ignored") || p.Actions[0].Block.(*model.Model).Longest() != "max_position_embeddings 64" {
		t.Errorf("%s, %q, %+v", says, w, p.Actions[0].Block.(*model.Model).Config)
	}
	dir, folder = imported(t, "m", "  max_position_embeddings = 64\n  seed = 3\n")
	asMistral(folder)
	if _, says := planImported(dir); !strings.Contains(says, "seed makes first weights") {
		t.Errorf("%q", says)
	}
	dir, folder = imported(t, "m", "  max_position_embeddings = 64\n")
	asMistral(folder)
	if _, says := planImported(dir); !strings.Contains(says,
		"max_position_embeddings is 64 here and 32 in") || !strings.Contains(says, "counts as 32 instead of 64") {
		t.Errorf("%q", says)
	}
}

// TestATokenizerOtherThanTheModelsIsSaid plans with the model's own tokenizer, the same in other words, and one whose
// ids mean other tokens.
func TestATokenizerOtherThanTheModelsIsSaid(t *testing.T) {
	const own = `{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "<|endoftext|>": 2}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
  "decoder": {"type": "ByteLevel"}, "added_tokens": [{"id": 2, "content": "<|endoftext|>", "special": true, "lstrip": false, "rstrip": false, "normalized": false, "single_word": false}]}`
	for name, c := range map[string]struct{ given, says string }{
		"own":     {own, ""},
		"rewrote": {strings.Replace(own, `"merges": []`, `"merges":   []`, 1), ""},
		"other":   {strings.Replace(own, `"a": 0, "b": 1`, `"a": 1, "b": 0`, 1), `token 0 is "b", and "a" in`},
		"longer":  {strings.Replace(own, `"b": 1,`, `"b": 1, "c": 3,`, 1), `token 3 is "c", and "" in`},
	} {
		dir, folder := imported(t, "m", "")
		must(t, os.WriteFile(filepath.Join(folder, checkpoint.TokenizerFile), []byte(own), 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "t.json"), []byte(c.given), 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "more.hcl"), []byte(`
tokenizer "huggingface" "t" { file = "t.json" }
evaluate "generation" "g" {
  model     = model.llama.m
  tokenizer = tokenizer.huggingface.t
  prompts   = ["ab"]
}
`), 0o644))
		p, says := planImported(dir)
		if says != "" {
			t.Fatal(says)
		}
		var w []string
		for _, a := range p.Actions {
			w = append(w, a.Warnings...)
		}
		if all := strings.Join(w, "\n"); c.says == "" && all != "" || !strings.Contains(all, c.says) {
			t.Errorf("%s: %q, want %q", name, all, c.says)
		}
	}
}

// TestBadWeightsAreRefusedBeforeAnythingRuns gives stages a model whose weights are NaN, beyond float32 or beyond
// bfloat16: apply names the tensor and the place before the stage without fault has run, and advises nothing about
// learning rates.
func TestBadWeightsAreRefusedBeforeAnythingRuns(t *testing.T) {
	const tensor = "model.layers.1.mlp.up_proj.weight"
	double := func(folder string, at int, x float64) {
		path := filepath.Join(folder, checkpoint.ModelFile)
		all := tensorsOf(t, path)
		old := all[tensor]
		wide := raw{"F64", old.shape, make([]byte, 2*len(old.data))}
		binary.LittleEndian.PutUint64(wide.data[8*at:], math.Float64bits(x))
		all[tensor] = wide
		writeRaw(t, path, all)
	}
	for _, x := range []struct {
		what, precision string
		make            func(folder string)
		says            string // "" for a run
		evaluates       string // the same of an evaluation
	}{
		{"sound", "fp32", func(string) {}, "", ""},
		{"NaN", "fp32", func(f string) { poke(t, filepath.Join(f, checkpoint.ModelFile), tensor, float32(math.NaN()), 33) },
			tensor + " holds 1 non-finite value of 1792, NaN at [1, 1]. Take another copy", ""},
		{"beyond float32", "fp32", func(f string) { double(f, 65, -1e300) },
			"holds -1e+300 at [2, 1], which is too large for float32", "holds -1e+300 at [2, 1], which is too large"},
		{"large in float32", "fp32", func(f string) { double(f, 65, 3.4e38) }, "", ""},
		{"beyond bfloat16", "bf16", func(f string) { double(f, 65, -3.4e38) },
			"are bad, read as bf16, and no training mends them: " + tensor + " holds 1 non-finite value of 1792, -Infinity " +
				"at [2, 1]", ""},
	} {
		dir, folder := imported(t, "m", "")
		x.make(folder)
		must(t, os.WriteFile(filepath.Join(dir, "d.jsonl"), []byte(strings.Repeat("{\"text\": \"one two three four five "+
			"six seven\"}\n", 9)), 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"),
			[]byte(`{"model": {"type": "BPE", "vocab": {"a": 0, "<|endoftext|>": 1}, "merges": []}, "added_tokens": [{"id": 1, "content": "<|endoftext|>", "special": true}]}`), 0o644))
		must(t, os.WriteFile(filepath.Join(dir, "main.hcl"), []byte(fmt.Sprintf(`
variable "stage" { default = 1 }
data "jsonl" "d" { source = "d.jsonl" }
tokenizer "huggingface" "t" { file = "tokenizer.json" }
optimizer "adamw" "o" { learning_rate = 1e-3 }
model "llama" "a" {
  vocab_size          = 48
  hidden_size         = 8
  intermediate_size   = 8
  num_hidden_layers   = 1
  num_attention_heads = 1
}
model "llama" "m" { from = "m" }
stage "a" {
  model = model.llama.a
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.huggingface.t
    optimizer       = optimizer.adamw.o
    sequence_length = 4
    batch_size      = 1
    steps           = 2
  }
}
stage "m" {
  count     = var.stage
  model     = model.llama.m
  precision = %q
  train {
    data            = data.jsonl.d
    tokenizer       = tokenizer.huggingface.t
    optimizer       = optimizer.adamw.o
    sequence_length = 4
    batch_size      = 1
    steps           = 1
    on_nonfinite    = "skip"
  }
}
evaluate "perplexity" "m" {
  count           = 1 - var.stage
  model           = model.llama.m
  tokenizer       = tokenizer.huggingface.t
  data            = data.jsonl.d.all
  sequence_length = 4
}
`, x.precision)), 0o644))
		for i, says := range []string{x.says, x.evaluates} {
			err := applyOn(t, cpuDevice(t, 1), planOf(t, dir, fmt.Sprintf("stage=%d", 1-i)))
			if says == "" {
				var flawed *apply.FlawedError
				if err != nil && !errors.As(err, &flawed) { // a result without a number is one
					t.Errorf("%s: %v", x.what, err)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(),
				tensor) || strings.Contains(err.Error(), "learning rate") {
				t.Errorf("%s: %v, want %q", x.what, err, says)
			}
			if _, err := os.Stat(filepath.Join(dir, ".stepflow", "state.json")); err == nil {
				t.Errorf("%s: something ran", x.what)
			}
		}
	}
}
