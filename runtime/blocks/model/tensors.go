package model

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"stepflow/foreign"
	"stepflow/ops/arch"
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

// checkTensors holds the tensors of a folder to the configuration: each is there, of its shape and floating point,
// and no other is there but copies of what the configuration says already.
func checkTensors(f *checkpoint.Folder, m arch.Model, path string) error {
	names := f.Names()
	for _, x := range foreignTensors {
		if i := slices.IndexFunc(names, x.name.MatchString); i >= 0 {
			return fmt.Errorf("the safetensors beside %s hold a tensor %s: %s", path, foreign.Shown(names[i]), x.what)
		}
	}
	placed := map[string]bool{}
	for x := range m.Wants() {
		shape, ok := f.Shape(x.Name)
		has := "have none"
		if ok {
			has = fmt.Sprintf("have %v", shape)
		}
		if !ok || !shape.Equal(x.Shape) {
			err := fmt.Errorf("%s wants a tensor %s of %v; the safetensors %s", path, x.Name, x.Shape, has)
			if x.Name == arch.LMHead {
				err = fmt.Errorf("%w. If the embedding table is its head, tie_word_embeddings there must be true", err)
			}
			return err
		}
		if dtype := f.DType(x.Name); !checkpoint.Floating(dtype) {
			return fmt.Errorf("tensor %s beside %s is of type %s, which is not read as a weight: save the model in float32 "+
				"or bfloat16 first", x.Name, path, dtype)
		}
		placed[x.Name] = true
	}
	stray := map[string][]string{}
	var kinds []string
	for _, name := range names {
		if placed[name] {
			continue
		}
		what, err := m.Stray(f, name)
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
