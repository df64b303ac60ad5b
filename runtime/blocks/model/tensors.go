package model

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"stepflow/foreign"
	"stepflow/ops/llama"
	"stepflow/runtime/checkpoint"
)

// foreignTensors are names that say that the weights are in another form altogether.
var foreignTensors = []struct {
	name *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`\.(weight_scale(_inv|_2)?|input_scale|output_scale|absmax|quant_map|nested_absmax|nested_quant_map|qweight|qzeros|scales|g_idx|SCB|weight_packed|weight_zero_point|weight_shape|biases)$|\.quant_state\.`),
		"the weights are quantised, which cannot be read: save the model in float32 or bfloat16 first"},
	{regexp.MustCompile(`(^|\.)(lora_[A-Za-z_]+|base_layer|modules_to_save|ia3_l|hada_w1_a)(\.|$)`),
		"the weights are those of adapters beside a model: merge them with PEFT's merge_and_unload first"},
}

// strayTensors are tensors beside those that the configuration wants: what they are, the first row that fits.
var strayTensors = []struct {
	name *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`^model\.layers\.[0-9]+\.self_attn\.[qkvo]_proj\.bias$`), "biases of attention, though attention_bias is false there"},
	{regexp.MustCompile(`^model\.layers\.[0-9]+\.mlp\.(gate|up|down)_proj\.bias$`), "biases of the feed-forward layers, though mlp_bias is false there"},
	{regexp.MustCompile(`\.(q_norm|k_norm|q_layernorm|k_layernorm|query_norm|key_norm)\.`), "norms on q and k, which Llama does not have"},
	{regexp.MustCompile(`norm`), "norms, which Llama does not have"},
	{regexp.MustCompile(`^(score|classifier|qa_outputs|v_head)\b`), "a head other than that of a language model"},
	{regexp.MustCompile(``), "tensors that have no place in it"},
}

var layerName = regexp.MustCompile(`^model\.layers\.([0-9]+)\.`)

// checkTensors holds the tensors of a folder to the configuration: each is there, of its shape and floating point, and no
// other is there but copies of what the configuration says already.
func checkTensors(f *checkpoint.Folder, c llama.Config, path string) error {
	names := f.Names()
	for _, x := range foreignTensors {
		if i := slices.IndexFunc(names, x.name.MatchString); i >= 0 {
			return fmt.Errorf("the safetensors beside %s hold a tensor %s: %s", path, foreign.Shown(names[i]), x.what)
		}
	}
	placed := map[string]bool{}
	for x := range llama.Wants(c) {
		shape, ok := f.Shape(x.Name)
		has := "have none"
		if ok {
			has = fmt.Sprintf("have %v", shape)
		}
		if !ok || !shape.Equal(x.Shape) {
			err := fmt.Errorf("%s wants a tensor %s of %v; the safetensors %s", path, x.Name, x.Shape, has)
			if x.Name == llama.LMHead {
				err = fmt.Errorf("%w. If the embedding table is its head, tie_word_embeddings there must be true", err)
			}
			return err
		}
		if dtype := f.DType(x.Name); !checkpoint.Floating(dtype) {
			return fmt.Errorf("tensor %s beside %s is of type %s, which is not read as a weight: save the model in float32 or bfloat16 first", x.Name, path, dtype)
		}
		placed[x.Name] = true
	}
	stray := map[string][]string{}
	var kinds []string
	for _, name := range names {
		if placed[name] {
			continue
		}
		what, err := strayTensor(f, c, name)
		if err != nil {
			return err
		}
		if what != "" && stray[what] == nil {
			kinds = append(kinds, what)
		}
		stray[what] = append(stray[what], name)
	}
	var all []error
	for _, what := range kinds {
		all = append(all, fmt.Errorf("the safetensors beside %s hold %s: %s", path, what, some(stray[what])))
	}
	return errors.Join(all...)
}

// some shows the first of a list of names, and how many there are.
func some(names []string) string {
	const most = 3
	text := foreign.Shown(strings.Join(names[:min(most, len(names))], ", "))
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// strayTensor says what a tensor is that the configuration does not want; empty if it changes nothing.
func strayTensor(f *checkpoint.Folder, c llama.Config, name string) (string, error) {
	switch {
	case name == llama.LMHead:
		same, err := f.Same(name, llama.EmbedTokens)
		if err != nil || same {
			return "", err
		}
		return "a head that differs from the embedding table, though tie_word_embeddings is true there", nil
	case strings.HasSuffix(name, "rotary_emb.inv_freq"):
		v, err := f.Float32(name)
		if err != nil {
			return "", err
		}
		plain := c
		plain.RopeScaling = nil // older programs kept these and scaled positions
		if frequencies(v, c) || frequencies(v, plain) {
			return "", nil
		}
		return "rotary frequencies that differ from those of its rope_theta and rope_scaling", nil
	}
	if m := layerName.FindStringSubmatch(name); m != nil {
		if n, err := strconv.Atoi(m[1]); err != nil || n >= c.NumHiddenLayers {
			return fmt.Sprintf("layers beyond its num_hidden_layers, which is %d", c.NumHiddenLayers), nil
		}
	}
	for _, x := range strayTensors {
		if x.name.MatchString(name) {
			return x.what, nil
		}
	}
	return "", nil
}

// frequencies reports whether v are the rotary frequencies of a configuration, as far as bfloat16 can show it.
func frequencies(v []float32, c llama.Config) bool {
	want, _ := c.Frequencies()
	return slices.EqualFunc(v, want, func(a float32, b float64) bool { return math.Abs(float64(a)-b) <= b/128+1e-7 })
}
