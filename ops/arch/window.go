package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"stepflow/foreign"
)

// window says which layers of an architecture attend to the last sliding_window positions only. Such attention is
// attention to all positions in sequences that are no longer, so that the window bounds max_position_embeddings.
type window struct {
	gated bool // sliding_window counts only where use_sliding_window is true
	keys  bool // use_sliding_window and max_window_layers are read
	// usual reports whether some layer has the window where layer_types does not say it.
	usual func(c Config, k windowKeys) bool
}

// windowKeys are what config.json says of the window besides layer_types.
type windowKeys struct {
	size      int
	use       bool // use_sliding_window
	maxLayers int  // max_window_layers: the first layer with the window
}

const fullAttention, slidingAttention = "full_attention", "sliding_attention"

// readWindow reads layer_types, sliding_window and what goes with it, and lowers max_position_embeddings to a window
// that counts.
func readWindow(raw map[string]json.RawMessage, family *Architecture, c *Config) ([]Note, error) {
	var types []string
	if err := read(raw, "layer_types", &types); err != nil {
		return nil, err
	}
	for _, t := range types {
		if t != fullAttention && t != slidingAttention {
			return nil, fmt.Errorf("layer_types has %q; here all layers are of %q, or of %q where model_type has "+
				"a window", foreign.Shown(t), fullAttention, slidingAttention)
		}
	}
	if family.window == nil {
		return ignoredWindow(raw, types, family, c), nil
	}
	var k windowKeys
	err := read(raw, "sliding_window", &k.size)
	if family.window.keys {
		err = errors.Join(err, read(raw, "use_sliding_window", &k.use), read(raw, "max_window_layers", &k.maxLayers))
	}
	if err != nil {
		return nil, err
	}
	slides := slices.Contains(types, slidingAttention)
	if family.window.gated && !k.use {
		if slides {
			return nil, fmt.Errorf("layer_types has %q, and use_sliding_window is not true: "+
				"leave the one that is right", slidingAttention)
		}
		return nil, nil
	}
	if len(types) == 0 {
		slides = family.window.usual(*c, k)
	}
	switch {
	case raw["sliding_window"] == nil || !slides:
		return nil, nil
	case k.size < 1:
		return nil, fmt.Errorf("sliding_window is %d", k.size)
	case k.size >= c.MaxPositionEmbeddings:
		return nil, nil
	}
	text := fmt.Sprintf("max_position_embeddings counts as %d instead of %d: attention there sees the last %d "+
		"positions (sliding_window), here all of them, which is the same in sequences no longer than that",
		k.size, c.MaxPositionEmbeddings, k.size)
	if string(raw["use_sliding_window"]) == "false" {
		text += fmt.Sprintf("; use_sliding_window is not read in model_type %s", family.Type)
	}
	c.MaxPositionEmbeddings, c.SlidingWindow = k.size, k.size
	return []Note{{maxPositionEmbeddings.Name, text}}, nil
}

// ignoredWindow notes a window in the configuration of an architecture that has none.
func ignoredWindow(raw map[string]json.RawMessage, types []string, family *Architecture, c *Config) (notes []Note) {
	ignored := func(key string) {
		text := fmt.Sprintf("%s is %s there, which is ignored, as it is by transformers: layers of model_type %s "+
			"attend to all positions", key, foreign.Shown(cut(oneLine(raw[key]))), family.Type)
		notes = append(notes, Note{key, text})
	}
	n := 0
	_ = read(raw, "sliding_window", &n) // of whatever form it is
	if raw["sliding_window"] != nil && n < c.MaxPositionEmbeddings && string(raw["use_sliding_window"]) != "false" {
		ignored("sliding_window")
	}
	if slices.Contains(types, slidingAttention) {
		ignored("layer_types")
	}
	return notes
}
