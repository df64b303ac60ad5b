package arch

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Tensors are the tensors of a folder.
type Tensors interface {
	Float32(name string) ([]float32, error)
	Same(a, b string) (bool, error) // reports whether two tensors hold the same values
}

var layerName = regexp.MustCompile(`^model\.layers\.([0-9]+)\.`)

// strays are tensors besides those that a configuration wants: what they are, the first row that fits, and the field
// that would place them, if there is one.
var strays = []struct {
	name  *regexp.Regexp
	what  string
	field string
}{
	{regexp.MustCompile(`^model\.layers\.[0-9]+\.self_attn\.[qkvo]_proj\.bias$`),
		"biases of attention", attentionBias.Name},
	{regexp.MustCompile(`^model\.layers\.[0-9]+\.mlp\.(gate|up|down)_proj\.bias$`),
		"biases of the feed-forward layers", mlpBias.Name},
	{regexp.MustCompile(`\.(q_norm|k_norm|q_layernorm|k_layernorm|query_norm|key_norm)\.`), "norms on q and k", ""},
	{regexp.MustCompile(`norm`), "norms", ""},
}

// otherHead are names of the weights of a head for another task.
var otherHead = regexp.MustCompile(`^(score|classifier|qa_outputs|v_head)\b`)

// Stray says what a tensor is that Wants does not list; empty if it changes nothing, as a copy of what is known anyway.
func (m Model) Stray(f Tensors, name string) (string, error) {
	switch {
	case name == LMHead:
		same, err := f.Same(name, EmbedTokens)
		if err != nil || same {
			return "", err
		}
		return "a head that differs from the embedding table, though tie_word_embeddings is true there", nil
	case strings.HasSuffix(name, "rotary_emb.inv_freq"):
		v, err := f.Float32(name)
		if err != nil {
			return "", err
		}
		plain := m.Config
		plain.RopeScaling = nil // older programs kept these and scaled positions
		if m.frequenciesAre(v) || plain.frequenciesAre(v) {
			return "", nil
		}
		return "rotary frequencies that differ from those of its rope_theta and rope_scaling", nil
	}
	if x := layerName.FindStringSubmatch(name); x != nil {
		if n, err := strconv.Atoi(x[1]); err != nil || n >= m.NumHiddenLayers {
			return fmt.Sprintf("layers beyond its num_hidden_layers, which is %d", m.NumHiddenLayers), nil
		}
	}
	for _, x := range strays {
		switch {
		case !x.name.MatchString(name):
			continue
		case x.field == "":
			return fmt.Sprintf("%s, which %s does not have", x.what, m.Arch.Title), nil
		case m.Arch.Has(x.field):
			return fmt.Sprintf("%s, though %s is false there", x.what, x.field), nil
		}
		return fmt.Sprintf("%s that %s does not have", x.what, m.Arch.Title), nil
	}
	if otherHead.MatchString(name) {
		return "a head other than that of a language model", nil
	}
	return "tensors that have no place in it", nil
}

// frequenciesAre reports whether v are the rotary frequencies of the configuration, as far as bfloat16 can show it.
func (c Config) frequenciesAre(v []float32) bool {
	want, _ := c.Frequencies()
	return slices.EqualFunc(v, want, func(a float32, b float64) bool { return math.Abs(float64(a)-b) <= b/128+1e-7 })
}
