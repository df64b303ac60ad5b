package export

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/runtime/blocks/model"
)

// generation is what generation_config.json says besides the ids of the tokens that begin and end a text.
type generation struct {
	given    bool
	settings map[string]any
	stop     []string // tokens that end a text beside the tokenizer's
}

// drawing are the settings of which transformers makes use only where tokens are drawn.
var drawing = []string{"temperature", "top_k", "top_p"}

func (h *huggingFace) planGeneration(d *dsl.Decoded) hcl.Diagnostics {
	b := d.Block("generation_config")
	if b == nil {
		return nil
	}
	g := generation{given: true, settings: map[string]any{"do_sample": b.Bool("do_sample")}, stop: b.Strs("stop_tokens")}
	for _, name := range drawing {
		if b.Has(name) && !b.Bool("do_sample") {
			return hcl.Diagnostics{b.Error(name, "Setting without effect",
				fmt.Sprintf("%s chooses among tokens that are drawn, and the likeliest is taken: set do_sample = true, or leave it out.",
					name))}
		}
	}
	for _, name := range append([]string{"repetition_penalty"}, drawing...) {
		if b.Has(name) {
			g.settings[name] = b.Float(name)
		}
	}
	for _, name := range []string{"top_k", "max_new_tokens"} {
		if b.Has(name) {
			g.settings[name] = b.Int(name)
		}
	}
	h.generation = g
	if tok := h.Stage.Tokenizer.Own(); tok != nil {
		if _, err := h.ends(tok); err != nil {
			return hcl.Diagnostics{b.Error("stop_tokens", "Unknown token", err.Error()+".")}
		}
	}
	return nil
}

// ends returns the id of the token that ends a text, or the list of all.
func (h *huggingFace) ends(tok *tokenizer.Tokenizer) (any, error) {
	var list []int32
	seen := map[int32]bool{}
	add := func(id int32) {
		if id >= 0 && !seen[id] {
			list, seen[id] = append(list, id), true
		}
	}
	add(tok.EOS)
	for _, name := range h.generation.stop {
		id, ok := tok.ID(name)
		if !ok {
			return nil, fmt.Errorf("%s has no token %q", h.Stage.Tokenizer.Addr, foreign.Shown(name))
		}
		add(id)
	}
	if id, ok := h.endOfTurn(tok); ok && len(h.generation.stop) == 0 {
		add(id)
	}
	if len(list) > 1 || len(h.generation.stop) > 0 {
		return list, nil
	}
	return model.Special(tok.EOS), nil
}

// generationConfig returns generation_config.json.
func (h *huggingFace) generationConfig(tok *tokenizer.Tokenizer) (map[string]any, error) {
	ends, err := h.ends(tok)
	if err != nil {
		return nil, err
	}
	m := map[string]any{"bos_token_id": model.Special(tok.BOS), "eos_token_id": ends}
	if _, several := ends.([]int32); !several && !h.generation.given {
		m["_from_model_config"] = true
	}
	for name, v := range h.generation.settings {
		m[name] = v
	}
	return m, nil
}
