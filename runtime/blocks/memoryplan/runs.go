package memoryplan

import (
	"maps"
	"math"
	"slices"
	"strconv"

	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/model"
	"stepflow/runtime/state"
)

// Run is what a finished stage came to, together with the stages that it continues.
type Run struct {
	Stage      string  `json:"stage"`
	Parameters float64 `json:"mean_parameters"` // over its tokens
	Tokens     float64 `json:"tokens"`
	Loss       float64 `json:"loss"`
	Law        float64 `json:"law_loss"` // the loss by the scaling law
}

// runs are the finished stages that the law is about, of models with a vocabulary of the same size: they began with random
// weights, trained on plain text for long enough, and their learning rate went down to the end of its schedule.
func runs(w *blocks.World, vocab int) (list []Run) {
	if w.State == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(w.State.Blocks)) {
		b := w.State.Blocks[name]
		ended, ok := b.Values["loss"].(float64)
		if !ok || math.IsNaN(ended) || b.Status != state.Done || number(b, "train.stop_at") != 1 {
			continue
		}
		t, ok := trained(w, name, vocab)
		if !ok || t.tokens == 0 {
			continue
		}
		n := t.sum / t.tokens
		if law := loss(n, t.tokens); law < guessing(vocab) {
			list = append(list, Run{name, n, t.tokens, ended, law})
		}
	}
	return list
}

// guessing is the loss of a model that knows nothing. Where the law says more, it does not hold: it was fitted to larger models
// and more tokens.
func guessing(vocab int) float64 { return math.Log(float64(vocab)) }

// training is what a stage and those before it trained.
type training struct {
	model       *model.Model
	layers      int
	tokens, sum float64 // sum of the parameters at each token
}

// trained follows a stage to the model that it began with.
func trained(w *blocks.World, name string, vocab int) (t training, ok bool) {
	b := w.State.Blocks[name]
	if a, err := addr.Parse(name); err != nil || a.Kind != "stage" {
		return t, false
	}
	if b.Status != state.Done || b.Import != nil || b.Attrs["train.objective"] != "" {
		return t, false
	}
	for _, input := range slices.Sorted(maps.Keys(b.Inputs)) {
		a, err := addr.Parse(input)
		if err != nil {
			continue
		}
		switch a.Kind {
		case "stage":
			if before := w.State.Blocks[input]; before == nil || before.Content != b.Inputs[input] {
				return t, false
			}
			if t, ok = trained(w, input, vocab); !ok {
				return t, false
			}
			t.layers += int(number(b, "grow.layers"))
		case "model":
			m := w.Find(a)
			if m == nil || w.ID(a) != b.Inputs[input] {
				return t, false
			}
			t.model, _ = m.Block.(*model.Model)
			if t.model == nil || t.model.VocabSize != vocab {
				return t, false
			}
			if t.layers = int(number(b, "layers")); t.layers == 0 {
				t.layers = t.model.NumHiddenLayers
			}
		}
	}
	if t.model == nil {
		return t, false
	}
	tokens := float64(b.Step) * number(b, "train.batch_size") * number(b, "train.sequence_length")
	t.tokens += tokens
	t.sum += tokens * t.model.WithLayers(t.layers).Params()
	return t, true
}

// number is a number among a block's attributes; 0 for none.
func number(b *state.Block, attr string) float64 {
	n, _ := strconv.ParseFloat(b.Attrs[attr], 64)
	return n
}
